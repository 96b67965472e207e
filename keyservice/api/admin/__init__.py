"""What only those who oversee see: publishers, their pools, and who may call."""
