"""Answers to the few system calls that a user namespace refuses, such that a script's intent is kept.

This is compatibility and no boundary of security: what a process asks is read from memory that it can still change.
"""
