"""Exporters: each turns a finished tree into one kind of output."""
