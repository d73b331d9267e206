"""Killing builds: kill -9 at random instants, and whether a right build follows with nothing left over."""
