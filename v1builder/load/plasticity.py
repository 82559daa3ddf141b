"""Short-term plasticity of edges: from the synaptic model files and back to them.

Files hold NEST's convention: the effect of a spike is syn_weight * nsyns * u * x, so that the first one
from rest (u = U, x = 1) has syn_weight * nsyns * U. In memory `EdgePopulation.weight` is that resting
effect, with which a static and a plastic network are equal.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.load.network import EdgePopulation, GroupedValues
from v1builder.schema.errors import NetworkError, raise_if_any
from v1builder.schema.parameters import PLASTICITY_UNITS
from v1builder.sonata.join import SYNAPSE_PARAMETER, type_rows
from v1builder.sonata.synapse_models import (
    STATIC,
    TSODYKS,
    model_names,
    synapse_problems,
    templates,
    tsodyks_parameters,
)


@dataclass(frozen=True)
class TypePlasticity:
    """The synapse models with short-term plasticity of an edge types table.

    Attributes:
        values: by name of `PLASTICITY_UNITS`, [models].
        labels: [models] names of the synaptic model files, without ".json".
        model_of_type: [types] row of `values`, -1 where a type is static.
    """

    values: dict[str, NDArray[np.float64]]
    labels: tuple[str, ...]
    model_of_type: NDArray[np.int64]

    def resting(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """[e] effect of a spike from rest over syn_weight * nsyns: U, or 1 where static."""
        return np.append(self.values["U"], 1.0)[self.model_of_type][rows]

    def of_edges(self, group_of: NDArray[np.integer]) -> GroupedValues | None:
        """The plasticity of edges, [e] rows of `values`; None when all are static."""
        if not np.any(group_of >= 0):
            return None
        return GroupedValues(self.values, group_of, self.labels)


def read_plasticity(types: pd.DataFrame, where: object) -> TypePlasticity:
    """The plasticity of edge types.

    Args:
        types: with the contents of the synaptic model files (`sonata.join.with_synapse_models`).
        where: the table, for messages.

    Raises:
        NetworkError: a synapse model is not supported, or a parameter is out of its range.
    """
    raise_if_any(synapse_problems(types, where), NetworkError)
    parameters = tsodyks_parameters(types)
    names = model_names(types)[templates(types) == TSODYKS]
    labels, first, model = np.unique(names.astype(str), return_index=True, return_inverse=True)
    of_type = np.full(len(types), -1, dtype=np.int64)
    of_type[templates(types) == TSODYKS] = model
    values = {name: parameters[name].to_numpy()[first] for name in PLASTICITY_UNITS}
    return TypePlasticity(values, tuple(labels.tolist()), of_type)


def resting_factor(edges: EdgePopulation) -> NDArray[np.float64] | float:
    """[e] what `weight` holds over syn_weight * nsyns: U, or 1 where an edge is static."""
    if edges.plasticity is None:
        return 1.0
    return np.append(edges.plasticity.values["U"], 1.0)[edges.plasticity.group_of]


def with_own_types(edges: EdgePopulation) -> EdgePopulation:
    """The edges, with a type for each synapse model that edges of one type have; as they are if all do."""
    if edges.plasticity is None:
        return edges
    row = type_rows(edges.edge_type_id, edges.types)
    n_models = len(edges.plasticity.labels) + 1  # and static edges
    key = row * n_models + edges.plasticity.group_of + 1
    used, of_edge = np.unique(key, return_inverse=True)
    row_of_used = used // n_models
    first = np.append(True, np.diff(row_of_used) > 0)  # of its type: keeps the number
    if first.all():
        return edges
    ids = edges.types.index.to_numpy(dtype=np.int64)
    type_id = ids[row_of_used]
    type_id[~first] = ids.max() + 1 + np.arange(np.count_nonzero(~first))
    further = edges.types.iloc[row_of_used[~first]]
    further.index = pd.Index(type_id[~first], name=edges.types.index.name)
    types = pd.concat([edges.types, further])
    return replace(edges, types=types, edge_type_id=type_id[of_edge])


def types_with_plasticity(edges: EdgePopulation, where: object) -> pd.DataFrame:
    """The edge types, saying what `edges.plasticity` says: what is to be written.

    A type keeps its synaptic model file; where the label of its edges' row is another, the file is
    called by both names. Types without edges follow the row of their own name.

    Args:
        edges: the population; its types have the contents of the files as columns.
        where: for messages.

    Raises:
        NetworkError: edges of one type have different rows, which types cannot say.
    """
    table, types = edges.plasticity, edges.types
    was = templates(types) == TSODYKS
    if table is None and not was.any():
        return types
    labels = () if table is None else table.labels
    names = model_names(types)
    row_of_label = {label: row for row, label in enumerate(labels)}
    row: NDArray[np.integer] = np.array(
        [row_of_label.get(name, -1) if own else -1 for name, own in zip(names, was, strict=True)]
    )
    if table is not None:
        row = _rows_in_use(edges, table.group_of, row, where)
    plastic = row >= 0
    types = types.copy()
    types["model_template"] = np.where(plastic, TSODYKS, templates(types))
    types.loc[~plastic & was, "model_template"] = STATIC
    files = [
        f"{name}.json" if label in (name, "") else f"{name}_{label}.json"
        for name, label in zip(
            names, np.append(np.array(labels, dtype=object), "")[row], strict=True
        )
    ]
    types["dynamics_params"] = files
    for name in PLASTICITY_UNITS:
        own = np.array([]) if table is None else table.values[name]
        types[SYNAPSE_PARAMETER + name] = np.append(own, np.nan)[row]
    return types


def _rows_in_use(
    edges: EdgePopulation, group_of: NDArray[np.integer], row: NDArray[np.integer], where: object
) -> NDArray[np.integer]:
    """[types] row of the plasticity of each type's edges; `row` where a type has none."""
    of_edge = type_rows(edges.edge_type_id, edges.types)
    used = row.copy()
    used[of_edge] = group_of
    mixed = np.flatnonzero(used[of_edge] != group_of)
    if len(mixed):
        raise NetworkError.of(
            "edges of one type differ in their short-term plasticity",
            where,
            f"edge_type_id {edges.edge_type_id[mixed[0]]}",
            "give them types of their own",
        )
    return used
