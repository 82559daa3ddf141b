"""Derived quantities of a network: what its cells, synapses and connections amount to."""

from v1builder.characterize.run import characterize

__all__ = ["characterize"]
