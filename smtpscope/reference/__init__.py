"""The documented table and the registries."""
