"""What a model has learned, back into arrays: the network it came from with the trained values."""

from dataclasses import replace
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from v1builder.load.network import EdgePopulation, GroupedValues, Network
from v1builder.model.cells import Cells, table_of
from v1builder.model.delays import LearnedDelays
from v1builder.model.edges import PLASTICITY_BOUNDS, Edges
from v1builder.model.neurons.neuron import Neuron
from v1builder.schema.errors import NetworkError
from v1builder.schema.names import LEARNED_DELAYS


class LearnedModel(Protocol):
    """What is asked of a model; `V1Network` has it."""

    dt: float
    n_cells: int
    cells: Cells
    edges: nn.ModuleDict
    neuron: Neuron
    bias_current: Tensor


def exported(model: LearnedModel, network: Network) -> Network:
    """`network` with the values of `model`, ready to be saved as SONATA.

    What the model neither trained nor regrouped is taken over from `network` to the bit. Learned delays are
    rounded to whole steps; by how much is in the provenance (`learned_delays`). The tables
    keep their rows where all cells of a row still agree; else every cell gets its own row. Where its files
    were silent stands what the neuron takes there.

    Args:
        model: made from `network`.
        network: where it was made from.

    Raises:
        NetworkError: the model was made from another network.
    """
    if model.n_cells != network.n_cells or list(model.edges) != list(network.edges):
        raise NetworkError.of(
            "the model was made from another network",
            "V1Network.export",
            f"{model.n_cells} cells and edges {', '.join(model.edges)}, "
            f"network: {network.n_cells} cells and {', '.join(network.edges)}",
            "give the network the model was made from",
        )
    network = model.neuron.complete(network)
    edges, rounding = {}, {}
    for name, population in network.edges.items():
        module = cast(Edges, model.edges[name])
        if module.is_learned:
            weight = module.weights().detach().double().cpu().numpy()
            population = replace(population, weight=weight)
        if module.delays is not None:
            population, rounding[name] = _with_delays(module.delays, population, model.dt)
        edges[name] = _with_plasticity(module, population)
    provenance = network.provenance | ({LEARNED_DELAYS: rounding} if rounding else {})
    return replace(
        network,
        provenance=provenance,
        edges=edges,
        membrane=_table(model, network, network.membrane),
        receptors=_table(model, network, network.receptors),
        bias_current=model.bias_current.double().cpu().numpy(),
    )


def _with_delays(
    delays: LearnedDelays, edges: EdgePopulation, dt: float
) -> tuple[EdgePopulation, dict[str, float]]:
    """The edges with learned delays in whole steps, and how far these are from what was learned, ms.

    Delays that are the same number of steps as before stay as they were written.
    """
    learned = delays().detach().double().cpu().numpy()
    steps = np.floor(learned + 0.5)
    moved = steps != delays.start.double().cpu().numpy()
    delay = np.where(moved, steps * dt, edges.delay).astype(edges.delay.dtype)
    off = np.abs(learned - steps) * dt
    record = {
        "moved_edges": float(moved.mean()) if len(moved) else 0.0,
        "mean_rounding_ms": float(off.mean()) if len(off) else 0.0,
        "largest_rounding_ms": float(off.max(initial=0.0)),
    }
    return replace(edges, delay=delay), record


def _with_plasticity(module: Edges, edges: EdgePopulation) -> EdgePopulation:
    """The edges with the model's short-term plasticity.

    Its table keeps its rows, unless values were learned that they cannot hold: then each site has a row.
    """
    table = edges.plasticity
    if table is None:
        return edges
    parameters = {name: getattr(module, name) for name in PLASTICITY_BOUNDS}
    learned = {name: one for name, one in parameters.items() if one.trainable}
    by_site = any(one.grouping != "synapse_model" for one in learned.values())
    if by_site:
        table = _by_site(module, table)
    values = {
        name: (one() if by_site else one.values()).detach().double().cpu().numpy()
        for name, one in learned.items()
    }
    if "U" in values:  # the state at the start is kept relative to rest, where u = U
        old, new, u = table.values["U"], values["U"], table.values["u"]
        above_rest = np.where(old < 1, (u - old) / np.where(old < 1, 1 - old, 1), 0.0)
        values["u"] = new + above_rest * (1 - new)
    return replace(edges, plasticity=replace(table, values=table.values | values))


def _by_site(module: Edges, table: GroupedValues) -> GroupedValues:
    """The table with a row for every site."""
    site_of = module.site_of_edges()
    plastic = np.flatnonzero(site_of >= 0)
    row = np.empty(module.n_sites, np.int64)
    row[site_of[plastic]] = table.group_of[plastic]
    values = {name: of_row[row] for name, of_row in table.values.items()}
    alone = np.bincount(row, minlength=len(table.labels))[row] == 1
    labels = tuple(
        table.labels[of] if alone[site] else f"{table.labels[of]}_{site}"
        for site, of in enumerate(row.tolist())
    )
    return GroupedValues(values, site_of, labels)


def _table(model: LearnedModel, network: Network, table: GroupedValues) -> GroupedValues:
    """One table with the model's values."""
    changed: dict[str, NDArray[np.float64]] = {}
    for name, held in model.cells.held.items():
        parameter = model.cells.parameter(name)
        if table_of(network, held) is not table:
            continue
        if parameter.trainable or parameter.grouping != "cell_model":
            per_cell = parameter().detach().double().cpu().numpy()
            if held.relative:
                per_cell = per_cell + table.per_cell("E_L")
            changed[name] = per_cell
    if not changed:
        return table
    used, first = np.unique(table.group_of, return_index=True)
    rows = {name: values.copy() for name, values in table.values.items()}
    for name, per_cell in changed.items():
        rows[name][used] = per_cell[first]
    if all((rows[name][table.group_of] == changed[name]).all() for name in changed):
        return GroupedValues(rows, table.group_of, table.labels)
    values = {name: table.per_cell(name) for name in table.values} | changed
    cells = zip(table.group_of, network.cells.node_id, strict=True)
    labels = tuple(f"{table.labels[row]}/{node}" for row, node in cells)
    return GroupedValues(values, np.arange(network.n_cells), labels)
