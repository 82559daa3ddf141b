"""What a model has learned, back into arrays: the network it came from with the trained values."""

from dataclasses import replace
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from v1builder.load.network import GroupedValues, Network
from v1builder.model.cells import Cells, table_of
from v1builder.model.edges import PLASTICITY_BOUNDS, Edges
from v1builder.model.neurons.neuron import Neuron
from v1builder.schema.errors import NetworkError


class LearnedModel(Protocol):
    """What is asked of a model; `V1Network` has it."""

    n_cells: int
    cells: Cells
    edges: nn.ModuleDict
    neuron: Neuron
    bias_current: Tensor


def exported(model: LearnedModel, network: Network) -> Network:
    """`network` with the values of `model`, ready to be saved as SONATA.

    What the model neither trained nor regrouped is taken over from `network` to the bit. The tables
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
    edges = {}
    for name, population in network.edges.items():
        module = cast(Edges, model.edges[name])
        if module.is_learned:
            population = replace(population, weight=module().detach().double().cpu().numpy())
        edges[name] = replace(population, plasticity=_plasticity(module, population.plasticity))
    return replace(
        network,
        edges=edges,
        membrane=_table(model, network, network.membrane),
        receptors=_table(model, network, network.receptors),
        bias_current=model.bias_current.double().cpu().numpy(),
    )


def _plasticity(module: Edges, table: GroupedValues | None) -> GroupedValues | None:
    """The parameters of short-term plasticity with the model's values."""
    if table is None:
        return None
    learned = {
        name: parameter.values().detach().double().cpu().numpy()
        for name in PLASTICITY_BOUNDS
        for parameter in [getattr(module, name)]
        if parameter.trainable
    }
    if "U" in learned:  # the state at the start is kept relative to rest, where u = U
        old, new, u = table.values["U"], learned["U"], table.values["u"]
        above_rest = np.where(old < 1, (u - old) / np.where(old < 1, 1 - old, 1), 0.0)
        learned["u"] = new + above_rest * (1 - new)
    return replace(table, values=table.values | learned)


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
