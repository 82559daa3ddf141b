"""Putting the published tables into a store. The only part that may reach a network."""

from v1builder.fetch.snapshot import fetch

__all__ = ["fetch"]
