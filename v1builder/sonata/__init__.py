"""The SONATA file format: nodes, edges, types, components, configurations, spikes, reports."""

from v1builder.sonata.circuit import PopulationFile, write_circuit_config
from v1builder.sonata.components import write_cell_model, write_synaptic_model
from v1builder.sonata.edges import EdgeTable, EdgeWriter, iterate_edges, read_edges
from v1builder.sonata.nodes import NodeTable, read_nodes, write_nodes
from v1builder.sonata.types import read_types, write_types

__all__ = [
    "EdgeTable",
    "EdgeWriter",
    "NodeTable",
    "PopulationFile",
    "iterate_edges",
    "read_edges",
    "read_nodes",
    "read_types",
    "write_cell_model",
    "write_circuit_config",
    "write_nodes",
    "write_synaptic_model",
    "write_types",
]
