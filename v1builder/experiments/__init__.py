"""Experiments: ablate a network, match its firing rates, train it again, compare.

Import from the modules: `ablations` (networks to networks), `matching` (one bias current per
population), `statistics` (paired seeds, intervals, families of tests).
"""
