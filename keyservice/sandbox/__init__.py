"""A publisher that is not real: it speaks their protocols, keeps a ledger of its own, and misbehaves when told to."""
