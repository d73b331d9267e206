"""Foreign architectures and their registration; machines, and whether they boot."""
