"""Locks: what a build used, and building from that again."""
