"""Telling a person, or a program, what a build does."""
