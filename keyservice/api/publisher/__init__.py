"""What publishers and admins do with pools, batches and the catalogue. JSON members are in snake case."""
