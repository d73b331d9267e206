"""Foreign architectures: names, interpreters and their registration."""
