"""What is known of distributions and their releases: facts in one YAML file a family, with their sources."""
