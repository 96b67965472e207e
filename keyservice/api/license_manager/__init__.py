"""The reference's license manager, as a door onto connectors and key requests."""
