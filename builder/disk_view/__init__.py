"""Disks as text: those that there will be, and those that there are."""
