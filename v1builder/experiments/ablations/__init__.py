"""Ablations: named, composable functions from network to network.

    mean = parse_ablation("mean(population)")
    both = parse_ablation("no_asc") | mean  # as parse_ablation("no_asc | mean(population)")
    ablated = both(network)
    shuffled = parse_ablation("shuffle_within")(network, seed=1)

An ablated network is a network: it can be saved as SONATA, loaded into torch, and ablated again.
"""

from v1builder.experiments.ablations.base import Ablation, Composition
from v1builder.experiments.ablations.names import ABLATIONS, catalogue, parse_ablation, usage

__all__ = ["ABLATIONS", "Ablation", "Composition", "catalogue", "parse_ablation", "usage"]
