"""The store, and running stages into its layers."""
