"""What only admins see: all publishers and all their pools."""
