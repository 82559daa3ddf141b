"""Several simulated populations as one axis of cells, and back.

A model has one axis of cells. Where a network simulates several node populations, one population
named after all of them ("a+b") stands for them: node ids count along it, ids of node types are
moved where two tables use the same, and edges between any of them become edges from it to itself.
`split` gives the populations of the files again, for spikes, reports, node sets and writing.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.load.network import NodePopulation, Part


def merged(populations: Sequence[NodePopulation]) -> NodePopulation:
    """The population that stands for several; a single one stays as it is."""
    if len(populations) == 1:
        return populations[0]
    parts: list[Part] = []
    tables: list[pd.DataFrame] = []
    taken: set[int] = set()
    start = 0
    for population in populations:
        ids = population.types.index.to_numpy(np.int64)
        clash = bool(taken & set(ids.tolist()))
        offset = max(taken) + 1 - int(ids.min()) if clash else 0
        taken |= set((ids + offset).tolist())
        table = population.types.copy()
        table.index = pd.Index(ids + offset, name="node_type_id")
        tables.append(table)
        stop = start + len(population)
        names = tuple(population.attributes), tuple(map(str, population.types.columns))
        parts.append(Part(population.name, start, stop, population.node_id, offset, *names))
        start = stop
    type_id = [
        p.node_type_id + part.type_offset for p, part in zip(populations, parts, strict=True)
    ]
    names = dict.fromkeys(name for population in populations for name in population.attributes)
    attributes = {
        name: _joined([p.attributes.get(name) for p in populations], [len(p) for p in populations])
        for name in names
    }
    return NodePopulation(
        "+".join(population.name for population in populations),
        np.arange(start, dtype=np.int64),
        np.concatenate(type_id),
        attributes,
        pd.concat(tables),
        tuple(parts),
    )


def split(population: NodePopulation) -> list[tuple[slice, NodePopulation]]:
    """The populations of the files, and where each lies in `population`."""
    if not population.parts:
        return [(slice(0, len(population)), population)]
    found = []
    for part in population.parts:
        here = slice(part.start, part.stop)
        type_id = population.node_type_id[here]
        attributes = {name: population.attributes[name][here] for name in part.columns}
        used = population.types.loc[np.unique(type_id), list(part.type_columns)]
        types = used.set_axis(pd.Index(used.index - part.type_offset, name="node_type_id"))
        own = NodePopulation(part.name, part.node_id, type_id - part.type_offset, attributes, types)
        found.append((here, own))
    return found


def _joined(columns: Sequence[NDArray[Any] | None], lengths: Sequence[int]) -> NDArray[Any]:
    """One column of all parts: NaN or "" where a part lacks it."""
    present = [column for column in columns if column is not None]
    text = any(column.dtype.kind in "OUS" for column in present)
    if text:
        filled = [
            np.full(n, "", dtype=object) if column is None else column.astype(object)
            for column, n in zip(columns, lengths, strict=True)
        ]
        return np.concatenate(filled)
    if len(present) == len(columns):
        return np.concatenate(present)
    shape = present[0].shape[1:]
    return np.concatenate(
        [
            np.full((n, *shape), np.nan) if column is None else column.astype(np.float64)
            for column, n in zip(columns, lengths, strict=True)
        ]
    )
