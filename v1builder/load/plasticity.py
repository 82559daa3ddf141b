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
    plastic = np.flatnonzero(templates(types) == TSODYKS)
    names = model_names(types.iloc[plastic]).astype(str)
    labels, first, model = np.unique(names, return_index=True, return_inverse=True)
    of_type = np.full(len(types), -1, dtype=np.int64)
    of_type[plastic] = model
    parameters = tsodyks_parameters(types.iloc[plastic[first]])
    values = {name: parameters[name].to_numpy() for name in PLASTICITY_UNITS}
    return TypePlasticity(values, tuple(labels.tolist()), of_type)


def resting_factor(edges: EdgePopulation) -> NDArray[np.float64] | float:
    """[e] what `weight` holds over syn_weight * nsyns: U, or 1 where an edge is static."""
    if edges.plasticity is None:
        return 1.0
    return np.append(edges.plasticity.values["U"], 1.0)[edges.plasticity.group_of]


def with_types_of_models(edges: EdgePopulation) -> EdgePopulation:
    """Edges of one type that differ in their synapse model get types of their own, as files need it.

    The first model keeps the type's id, the others get new ids above all old ones.
    """
    assert edges.plasticity is not None
    n = len(edges.plasticity.labels) + 1
    type_row = type_rows(edges.edge_type_id, edges.types)
    keys, kind = np.unique(type_row * n + edges.plasticity.group_of + 1, return_inverse=True)
    type_of_kind = keys // n
    again = np.diff(type_of_kind, prepend=-1) == 0
    if not again.any():
        return edges
    ids = edges.types.index.to_numpy(np.int64)
    id_of_kind = ids[type_of_kind]
    id_of_kind[again] = ids.max() + 1 + np.arange(np.count_nonzero(again))
    rows = np.concatenate([np.arange(len(ids)), type_of_kind[again]])
    index = np.concatenate([ids, id_of_kind[again]])
    types = edges.types.iloc[rows].set_axis(pd.Index(index, name=edges.types.index.name))
    return replace(edges, edge_type_id=id_of_kind[kind], types=types)


def written_plasticity(edges: EdgePopulation) -> EdgePopulation:
    """The edges with types that say what `edges.plasticity` says: as they are to be written.

    A type keeps its synaptic model file; where the label of its edges' row is another, the file is
    called by both names. Types without edges follow the row of their own name, or stay as they are.

    Args:
        edges: the population; its types have the contents of the files as columns.
    """
    if edges.plasticity is not None:
        edges = with_types_of_models(edges)
    return replace(edges, types=_types_with_plasticity(edges))


def _types_with_plasticity(edges: EdgePopulation) -> pd.DataFrame:
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
    stays = np.zeros(len(types), bool)
    if table is not None:
        of_edge = type_rows(edges.edge_type_id, types)
        stays = was & (row < 0)
        stays[of_edge] = False
        row[of_edge] = table.group_of
    plastic = (row >= 0) | stays
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
        column = SYNAPSE_PARAMETER + name
        before = np.asarray(types.get(column, np.nan))
        types[column] = np.where(stays, before, np.append(own, np.nan)[row])
    return types
