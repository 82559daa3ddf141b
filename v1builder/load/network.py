"""A network in memory, as arrays: what a SONATA folder says, joined and indexed by position.

Node and type ids of the files are kept (`node_id`, `node_type_id`), but everything that points at a
cell here is a position (`source_index`, `target_index`, `model_of`), never an id.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

#: Column of virtual nodes whose spikes are in a SONATA file, see `inputs.recorded`. In files relative to the
#: types table.
SPIKES_FILE: Final = "spikes_file"
#: Column of simulated nodes into which a current of a file is injected, see `inputs.injected`; as above.
CURRENT_FILE: Final = "current_file"


@dataclass(frozen=True)
class Part:
    """One of several simulated populations of the files, inside the one that stands for them all.

    Attributes:
        name: SONATA population name.
        start, stop: its positions.
        node_id: [stop - start] ids as in the file.
        type_offset: node_type_id here minus that in the file.
        columns: attributes that the population has.
        type_columns: columns of its types table.
    """

    name: str
    start: int
    stop: int
    node_id: NDArray[np.int64]
    type_offset: int
    columns: tuple[str, ...]
    type_columns: tuple[str, ...]


@dataclass(frozen=True)
class NodePopulation:
    """One SONATA node population with its types table joined.

    Attributes:
        name: SONATA population name.
        node_id: [n] ids as in the file.
        node_type_id: [n] ids as in the file.
        attributes: [n]-arrays by name: columns of the types table spread over the nodes, overridden
            by the node's own values. Always has `model_type`.
        types: the types table, indexed by node_type_id.
        parts: the populations of the files, where this one stands for several (see
            `load.populations`): node_id then counts along all of them.
    """

    name: str
    node_id: NDArray[np.int64]
    node_type_id: NDArray[np.int64]
    attributes: dict[str, NDArray[Any]]
    types: pd.DataFrame
    parts: tuple[Part, ...] = ()

    def __len__(self) -> int:
        return len(self.node_id)

    @property
    def is_virtual(self) -> bool:
        """True when the population only sends spikes and is not simulated."""
        return bool(np.all(self.attributes["model_type"] == "virtual"))

    def part(self, positions: NDArray[np.integer]) -> "NodePopulation":
        """Some of the nodes, without `parts`."""
        return replace(
            self,
            node_id=self.node_id[positions],
            node_type_id=self.node_type_id[positions],
            attributes={name: values[positions] for name, values in self.attributes.items()},
            parts=(),
        )


@dataclass(frozen=True)
class EdgePopulation:
    """One SONATA edge population, every edge with its own values; integers as narrow as these allow.

    Attributes:
        name: SONATA population name, for example "v1_to_v1".
        source: name of the source node population.
        target: name of the target node population.
        source_index: [e] position of the source in its population.
        target_index: [e] position of the target in its population.
        edge_type_id: [e] ids as in the file.
        weight: [e] pA (mV at a port of shape delta), effect of the first spike after a long rest:
            syn_weight * nsyns, times U where the edge has short-term plasticity. Negative for
            inhibitory sources.
        nsyns: [e] number of synapses the edge stands for.
        delay: [e] ms.
        receptor: [e] receptor index from 0 (file: receptor_type from 1).
        types: the types table, indexed by edge_type_id.
        plasticity: short-term plasticity (`schema.parameters.PLASTICITY_UNITS`), one row per synapse
            model; `group_of` [e] is -1 where an edge is static. None when all edges are.
    """

    name: str
    source: str
    target: str
    source_index: NDArray[np.int32]
    target_index: NDArray[np.int32]
    edge_type_id: NDArray[np.integer]
    weight: NDArray[np.float64]
    nsyns: NDArray[np.integer]
    delay: NDArray[np.float32]
    receptor: NDArray[np.integer]
    types: pd.DataFrame
    plasticity: "GroupedValues | None" = None

    def __len__(self) -> int:
        return len(self.source_index)


@dataclass(frozen=True)
class GroupedValues:
    """Parameters as one row of values per group and an index from cells (or edges) to rows.

    Attributes:
        values: by parameter name, [n_groups] or [n_groups, k] (k after-spike currents or
            receptors).
        group_of: [n_cells] row of each cell.
        labels: [n_groups] name of each row, for people (for example "475585413" or "e23Cux2").
    """

    values: dict[str, NDArray[np.float64]]
    group_of: NDArray[np.integer]
    labels: tuple[str, ...]

    def per_cell(self, name: str) -> NDArray[np.float64]:
        """The values of one parameter, one row per cell."""
        return self.values[name][self.group_of]


@dataclass(frozen=True)
class Network:
    """A whole network: one simulated node population, its inputs, and all edges into it.

    Attributes:
        nodes: node populations by name.
        edges: edge populations by name.
        simulated: name of the node population that is simulated.
        membrane: GLIF parameters (`schema.parameters.GLIF_UNITS`) of the simulated cells, or those of
            another neuron by the names of its files, NaN where a file is silent. Rows are the cell models.
        receptors: receptor parameters (`schema.parameters.RECEPTOR_UNITS`), [n_groups, n_receptors].
            Kept apart from `membrane`, so that exchanging membranes between cells leaves the
            kinetics of the synapses onto them alone.
        bias_current: [n_cells] pA, constant current into each simulated cell (0 as built; rate
            matching of ablated networks sets it).
        provenance: what made the network.
        initial_voltage: [n_cells] mV above E_L at time 0, as the component files say (NaN: as the neuron
            says); None for cells at rest. `simulate` starts there, training at rest.
        node_sets: named selections of nodes (`sonata.node_sets`) of the configuration.
    """

    nodes: dict[str, NodePopulation]
    edges: dict[str, EdgePopulation]
    simulated: str
    membrane: GroupedValues
    receptors: GroupedValues
    bias_current: NDArray[np.float64]
    provenance: dict[str, Any] = field(default_factory=dict)
    initial_voltage: NDArray[np.float64] | None = None
    node_sets: dict[str, Any] = field(default_factory=dict)

    @property
    def cells(self) -> NodePopulation:
        """The simulated population."""
        return self.nodes[self.simulated]

    @property
    def n_cells(self) -> int:
        """Number of simulated cells."""
        return len(self.cells)

    def without_recurrence(self) -> "Network":
        """The network with the edges among its simulated cells removed."""
        inputs = {name: e for name, e in self.edges.items() if e.source != self.simulated}
        return replace(self, edges=inputs)
