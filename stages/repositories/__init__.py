"""Package and source repositories: where they are, their state, what they list."""
