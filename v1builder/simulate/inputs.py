"""What drives a simulation: spikes of its input populations. Currents are in `simulate.currents`."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from v1builder.load import Network, NodePopulation
from v1builder.load.selection import select_cells
from v1builder.schema.errors import ConfigError
from v1builder.sonata.node_sets import nobody_problem, resolve_node_set
from v1builder.sonata.simulation_config import Input, Simulation
from v1builder.sonata.spikes import Spikes, read_spikes


@dataclass(frozen=True)
class Train:
    """Input spikes of one population, sorted by step: row and source of each."""

    row: NDArray[np.int64]
    source: NDArray[np.int64]
    n_source: int

    def dense(self, start: int, stop: int) -> torch.Tensor:
        """[1, stop - start, n_source] number of spikes: uint8, or float64 where that is too narrow."""
        first, last = np.searchsorted(self.row, [start, stop])
        bins = (self.row[first:last] - start) * self.n_source + self.source[first:last]
        used, number = np.unique(bins, return_counts=True)
        narrow = number.max(initial=0) <= np.iinfo(np.uint8).max
        counts = np.zeros((stop - start) * self.n_source, np.uint8 if narrow else np.float64)
        counts[used] = number
        return torch.from_numpy(counts.reshape(1, stop - start, self.n_source))


def input_spikes(simulation: Simulation, network: Network, n_steps: int) -> dict[str, Train]:
    """The spike trains of every input population; those without a file are silent.

    Raises:
        ConfigError: an input's spikes belong to no population, its node set selects nobody, or a spike is of
            no node or no step.
        NetworkError: a file is not a spike file.
    """
    found: dict[str, list[tuple[NDArray[np.int64], NDArray[np.int64]]]] = {
        edges.source: [] for edges in network.edges.values() if edges.source != network.simulated
    }
    for key, settings in simulation.config.inputs.items():
        if settings.input_type != "spikes" or not settings.enabled:
            continue
        where = f"{simulation.path}, inputs.{key}"
        path = simulation.input_path(settings.input_file or "")
        spikes = read_spikes(path, settings.separator)
        population = _source_of(settings, spikes, network, where)
        nodes = network.nodes[population]
        chosen = _chosen(simulation, settings, network, nodes, where)
        train = spikes[population] if population in spikes else spikes[""]
        rows, sources = _rows_of(train, nodes, chosen, simulation, where)
        rows = rows + int(settings.use_parrot_neurons)  # a relay that is reached a step later
        if population in found:
            found[population].append((rows, sources))
    trains = {}
    for name, parts in found.items():
        row = np.concatenate([rows for rows, _ in parts]) if parts else np.empty(0, np.int64)
        source = np.concatenate([ids for _, ids in parts]) if parts else np.empty(0, np.int64)
        order = np.argsort(row, kind="stable")
        order = order[row[order] < n_steps]
        trains[name] = Train(row[order], source[order], len(network.nodes[name]))
    return trains


def _source_of(settings: Input, spikes: Mapping[str, Spikes], network: Network, where: str) -> str:
    """The virtual population an input's spikes come from."""
    virtual = [name for name, nodes in network.nodes.items() if name != network.simulated]
    named = settings.source or settings.node_set
    if isinstance(named, dict):
        named = named.get("population")
    if isinstance(named, str) and named in virtual and (named in spikes or "" in spikes):
        return named
    present = [name for name in spikes if name in virtual]
    if len(present) != 1 or settings.source is not None:
        raise ConfigError.of(
            "the spikes belong to no single input population",
            f"{where}, file {settings.input_file}",
            f"node_set {settings.node_set!r}, populations in the file: {', '.join(spikes) or '-'}",
            f"name one of the populations {', '.join(virtual)} as node_set, and have it in the file",
        )
    return present[0]


def _chosen(
    simulation: Simulation, settings: Input, network: Network, nodes: NodePopulation, where: str
) -> NDArray[np.int64]:
    """Positions of the nodes whose spikes count."""
    everyone = np.arange(len(nodes))
    if settings.module == "synapse_replay":
        # libsonata's node_set are the cells that hear the spikes.
        heard = select_cells(network, settings.node_set, where, simulation.node_sets)
        run = simulation.config.run
        if len(heard) < network.n_cells:
            raise ConfigError.of(
                "spikes that only some cells hear are not supported",
                f"{where}.node_set",
                f"{len(heard)} of {network.n_cells} cells",
                "name a node set of all simulated cells",
            )
        end = settings.duration
        if isinstance(end, float | int) and end < run.tstop:
            raise ConfigError.of(
                "spikes that end before the run are not supported",
                f"{where}.duration",
                f"{end} ms of {run.tstop} ms",
                "leave the later spikes out of the file",
            )
        return everyone
    if settings.duration is not None:
        raise ConfigError.of("spikes of a file have no duration", f"{where}.duration")
    if settings.source is not None:
        return everyone
    chosen = resolve_node_set(
        settings.node_set, nodes.name, nodes.node_id, nodes.attributes, simulation.node_sets, where
    )
    if not len(chosen):
        virtual = {n: p.attributes for n, p in network.nodes.items() if n != network.simulated}
        raise ConfigError(
            [nobody_problem(settings.node_set, virtual, simulation.node_sets, where, "input unit")]
        )
    return chosen


def _rows_of(
    spikes: Spikes,
    nodes: NodePopulation,
    chosen: NDArray[np.int64],
    simulation: Simulation,
    where: str,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Step and position of every spike of the chosen nodes."""
    run = simulation.config.run
    where = f"{where}, population {nodes.name}"
    position = {int(node): index for index, node in enumerate(nodes.node_id)}
    unknown = [int(node) for node in np.unique(spikes.node_ids) if int(node) not in position]
    if unknown:
        raise ConfigError.of(
            "a spike comes from a node that does not exist",
            where,
            f"node id {unknown[0]} ({len(unknown)} unknown in all)",
            f"the population has {len(nodes)} nodes",
        )
    if len(spikes) and spikes.timestamps[0] <= 0:
        raise ConfigError.of(
            "a spike at time 0 belongs to no step",
            where,
            f"{spikes.timestamps[0]} ms",
            "spike times must be positive, as NEST wants them",
        )
    source = np.array([position[int(node)] for node in spikes.node_ids], dtype=np.int64)
    # Up to the end of a step; 1e-9 steps absorb the rounding of a product such as 3 * 0.1.
    row = np.ceil(spikes.timestamps / run.dt - 1e-9).astype(np.int64) - 1
    if not run.precise_times and not run.allow_offgrid_spikes:
        off = np.flatnonzero(abs(spikes.timestamps - (row + 1) * run.dt) > 1e-6 * run.dt)
        if len(off):
            raise ConfigError.of(
                "a spike lies between two steps",
                where,
                f"{spikes.timestamps[off[0]]} ms at a step of {run.dt} ms",
                "set run.precise_times or run.allow_offgrid_spikes: it counts when its step ends",
            )
    wanted = np.isin(source, chosen)
    return row[wanted], source[wanted]
