"""Encrypted and verified volumes around a file system."""
