"""Keys that are asked of their publishers, against the sandbox publisher."""
