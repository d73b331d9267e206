"""Elements: their files, and what they declare."""
