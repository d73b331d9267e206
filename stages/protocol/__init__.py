"""What host and build container say to each other, and how each reads what the other says."""
