"""Derived quantities of a network: what its cells, synapses and connections amount to."""
