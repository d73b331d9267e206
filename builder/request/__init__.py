"""From what the user says to a request that a build container answers."""
