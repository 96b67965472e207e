"""keyservice delivers license keys for software that is sold online."""
