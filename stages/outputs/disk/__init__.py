"""Disk images of a finished tree."""
