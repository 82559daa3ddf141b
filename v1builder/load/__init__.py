"""SONATA folder to `Network` in memory and back. Knows neither torch nor how it was built."""

from v1builder.load.groups import LEVELS, Groups, group_cells
from v1builder.load.network import EdgePopulation, GroupedValues, Network, NodePopulation
from v1builder.load.reader import load_circuit, load_network
from v1builder.load.writer import save_network

__all__ = [
    "LEVELS",
    "EdgePopulation",
    "GroupedValues",
    "Groups",
    "Network",
    "NodePopulation",
    "group_cells",
    "load_circuit",
    "load_network",
    "save_network",
]
