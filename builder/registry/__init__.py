"""Registries: the client, credentials, pushing and signing."""
