"""Experiments: ablate a network, match its firing rates, train it again, compare.

`ablations` turns networks into networks, `matching` finds one bias current per population,
`statistics` knows paired seeds, intervals and families of tests, `comparison` runs it all. `battery` trains
intact networks on several tasks beside their baselines.
"""

from v1builder.experiments.ablations import parse_ablation
from v1builder.experiments.battery import run_battery
from v1builder.experiments.comparison import compare
from v1builder.experiments.measure_network import measure_network

__all__ = ["compare", "measure_network", "parse_ablation", "run_battery"]
