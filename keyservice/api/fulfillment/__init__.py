"""The order pipeline's own API."""
