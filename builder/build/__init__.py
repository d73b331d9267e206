"""One build: the request goes to a build container, and what comes back is checked and put into its place."""
