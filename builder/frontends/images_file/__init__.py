"""Images files: many images in one YAML document."""
