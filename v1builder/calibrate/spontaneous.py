"""Cells on a gray screen, without one another: LGN units at their spontaneous rates and background.

With recurrence off every cell is independent, so any of them can be simulated without the rest and
for as long as its rate needs. The trials of a batch are virtual replicas of each cell: the same
synapses, other spike trains. A measurement with the same `seed` uses the same spike trains whatever
the weights (common random numbers), so that rates at two weights differ by the weights alone.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v1builder.inputs import input_sources
from v1builder.lgn import poisson_spikes
from v1builder.load import Network
from v1builder.model import V1Network
from v1builder.model.device import device_of
from v1builder.model.edges import Edges
from v1builder.model.observation import SpikeCounts, observe, segment_steps
from v1builder.schema.errors import NetworkError
from v1builder.schema.names import BKG

Array = NDArray[np.float64]

#: Replicas of a cell; their scatter gives the error of a rate.
N_TRIALS: Final = 8
#: Discarded at the start of a trial; the slowest after-spike current of the published models has 333 ms.
WARM_UP_MS: Final = 1000.0


def gray_rates(network: Network, dt: float) -> dict[str, Array]:
    """Rates of the units of every input while the screen is gray, [n_units] Hz.

    Raises:
        NetworkError: the nodes of an input do not say how they fire, see `inputs.input_sources`.
    """
    sources = input_sources(network, dt=dt, dtype=torch.float64)
    return {name: source.gray_rates().numpy() for name, source in sources.items()}


def only_cells(network: Network, cells: NDArray[np.int64], *, all_inputs: bool = False) -> Network:
    """Some of the cells with their inputs.

    Args:
        network: without recurrence.
        cells: [k] positions, ascending.
        all_inputs: keep the input units that reach none of the cells too.

    Returns:
        The network; `nodes[input].node_id` says which units are left.
    """
    new_position = np.full(network.n_cells, -1, np.int32)
    new_position[cells] = np.arange(len(cells))
    nodes = dict(network.nodes)
    nodes[network.simulated] = network.cells.part(cells)
    kept = {name: new_position[e.target_index] >= 0 for name, e in network.edges.items()}
    units: dict[str, NDArray[np.int64]] = {}
    for name, population in network.edges.items():
        reaching = population.source_index[kept[name]].astype(np.int64)
        if all_inputs:
            reaching = np.arange(len(network.nodes[population.source]))
        units[population.source] = np.union1d(units.get(population.source, reaching), reaching)
    for source, positions in units.items():
        nodes[source] = network.nodes[source].part(positions)
    edges = {}
    for name, population in network.edges.items():
        here = kept[name]
        source = np.searchsorted(units[population.source], population.source_index[here])
        columns = {
            key: getattr(population, key)[here]
            for key in ("edge_type_id", "weight", "nsyns", "delay", "receptor")
        }
        plasticity = population.plasticity
        if plasticity is not None:
            columns["plasticity"] = replace(plasticity, group_of=plasticity.group_of[here])
        edges[name] = replace(
            population,
            source_index=source.astype(np.int32),
            target_index=new_position[population.target_index[here]],
            **columns,
        )
    return replace(
        network,
        nodes=nodes,
        edges=edges,
        membrane=replace(network.membrane, group_of=network.membrane.group_of[cells]),
        receptors=replace(network.receptors, group_of=network.receptors.group_of[cells]),
        bias_current=network.bias_current[cells],
    )


def poisson_trains(
    rates: dict[str, Array], n_trials: int, dt: float, seed: int
) -> Callable[[int, int], dict[str, Tensor]]:
    """Spike counts of units that each fire at a constant rate, drawn segment after segment.

    Args:
        rates: [n_units] Hz by name.
        n_trials: independent trials.
        dt: ms.
        seed: same seed and segments, same trains.

    Returns:
        From the first step and the last of a segment to [n_trials, steps, n_units] uint8 by name.
    """
    generator = torch.Generator().manual_seed(seed)

    def drawn(start: int, stop: int) -> dict[str, Tensor]:
        return {
            name: poisson_spikes(torch.from_numpy(values), dt, generator, (n_trials, stop - start))
            for name, values in rates.items()
        }

    return drawn


class IndependentCells:
    """Some cells of a network without recurrence, ready to be measured at any background weight.

    Attributes:
        n_cells: number of them, k.
    """

    def __init__(
        self,
        network: Network,
        rates: dict[str, Array],
        *,
        dt: float,
        backend: str = "auto",
        accelerator: str = "cpu",
    ):
        """Make the model.

        Args:
            network: of `only_cells`, with background edges.
            rates: of the inputs, [n_units] Hz by name.
            dt: ms.
            backend: of the model.
            accelerator: where it computes, see `model.device`.
        """
        self.n_cells = network.n_cells
        self._network, self._rates = network, rates
        self._options: dict[str, Any] = {"dt": dt, "backend": backend, "accelerator": accelerator}
        background = network.edges[background_edges(network)]
        self._nsyns = torch.from_numpy(background.nsyns.astype(np.float64))
        self._target = torch.from_numpy(background.target_index.astype(np.int64))
        model = V1Network(network, dt=dt, trainable=(), backend=backend)
        self._model, self._dt = model.to(device_of(accelerator)), dt
        self._edges = cast(Edges, self._model.edges[background.name])

    def part(self, cells: NDArray[np.int64]) -> "IndependentCells":
        """Some of these cells, which get the same spike trains as here for the same seed."""
        network = only_cells(self._network, cells, all_inputs=True)
        return IndependentCells(network, self._rates, **self._options)

    def counts(self, weight: Array, seconds: float, seed: int) -> Array:
        """Spikes of every cell in every trial.

        Args:
            weight: [k] pA of one background synapse of each cell.
            seconds: measured time per cell, all trials together.
            seed: of the spike trains.

        Returns:
            [N_TRIALS, k] spikes within `seconds` / N_TRIALS each.
        """
        self._edges.base.copy_(torch.from_numpy(weight)[self._target] * self._nsyns)
        warm_up = round(WARM_UP_MS / self._dt)
        n_steps = warm_up + round(seconds * 1000 / self._dt / N_TRIALS)
        spikes = SpikeCounts(warm_up)
        observe(
            self._model,
            poisson_trains(self._rates, N_TRIALS, self._dt, seed),
            [spikes],
            n_steps=n_steps,
            steps=segment_steps(N_TRIALS, self.n_cells),
        )
        return spikes.counts


def background_edges(network: Network) -> str:
    """Name of the edge population from the background.

    Raises:
        NetworkError: there is none, or more than one.
    """
    names = [name for name, edges in network.edges.items() if edges.source == BKG]
    if len(names) != 1:
        raise NetworkError.of(
            "a network to calibrate needs one edge population from its background",
            "edge populations",
            ", ".join(f"{name} from {edges.source}" for name, edges in network.edges.items()),
            f"name the node population of the background '{BKG}'",
        )
    return names[0]
