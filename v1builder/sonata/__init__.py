"""The SONATA file format: nodes, edges, types, components, configurations, spikes, reports.

JavierGalvan9/V1_GLIF_model reads, from the same folder: network/{v1,lgn,bkg}_nodes.h5 with node ids
0..n-1 and v1 attributes x y z tuning_angle in group 0; v1_node_types.csv with node_type_id pop_name;
network/{v1,lgn,bkg}_v1_edges.h5, populations <source>_to_v1, with syn_weight in group 0 (nsyns is not
read there); *_edge_types.csv with edge_type_id (kept in 16 bits) model_template delay dynamics_params,
and for bkg syn_weight; components/cell_models/<node_type_id>_glif_lif_asc_config.json with V_m (its
V_reset) V_th g E_L C_m t_ref asc_amps asc_decay; components/synaptic_models/<name>.json with
receptor_type.
"""

from v1builder.sonata.circuit import Circuit, PopulationFile, read_circuit, write_circuit_config
from v1builder.sonata.components import write_cell_model, write_synaptic_model
from v1builder.sonata.edges import EdgeTable, EdgeWriter, iterate_edges, read_edges
from v1builder.sonata.node_sets import resolve_node_set
from v1builder.sonata.nodes import NodeTable, read_nodes, write_nodes
from v1builder.sonata.reports import Report, read_report, write_report
from v1builder.sonata.simulation_config import Simulation, SimulationConfig, read_simulation
from v1builder.sonata.spikes import Spikes, read_spikes, write_spikes
from v1builder.sonata.types import read_types, write_types
from v1builder.sonata.validate import validate

__all__ = [
    "Circuit",
    "EdgeTable",
    "EdgeWriter",
    "NodeTable",
    "PopulationFile",
    "Report",
    "Simulation",
    "SimulationConfig",
    "Spikes",
    "iterate_edges",
    "read_circuit",
    "read_edges",
    "read_nodes",
    "read_report",
    "read_simulation",
    "read_spikes",
    "read_types",
    "resolve_node_set",
    "validate",
    "write_cell_model",
    "write_circuit_config",
    "write_nodes",
    "write_report",
    "write_spikes",
    "write_synaptic_model",
    "write_types",
]
