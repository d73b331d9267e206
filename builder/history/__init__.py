"""What was built on this machine: a small file for each build, the newest kept, in the user's cache folder."""
