"""The lowest floor: what everything else may use and what uses nothing of the project."""
