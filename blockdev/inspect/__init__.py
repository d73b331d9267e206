"""Reads a disk image back: partition table, file systems, volumes, boot loaders. Nothing is mounted or written."""
