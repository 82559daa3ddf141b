"""The edge populations of a network, drawn, weighted and written block of targets by block."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder import sonata
from v1builder.build.background import background_edges
from v1builder.build.blocks import in_order
from v1builder.build.cells import PlacedCells, join
from v1builder.build.connectivity import RecurrentSampler
from v1builder.build.edge_types import external_edge_types, recurrent_edge_types
from v1builder.build.lgn_edges import LGNSampler, lgn_weights
from v1builder.build.plan import Plan
from v1builder.build.random import Purpose, stream_key
from v1builder.build.weights import recurrent_weights
from v1builder.schema.names import BKG, BOUNDARY, LGN, V1
from v1builder.sonata.synapse_models import STATIC, TSODYKS

#: Called as progress(stage, done, total); `done` and `total` count V1 cells.
Progress = Callable[[str, int, int], None]

_EDGE_COLUMNS = {"syn_weight": np.float32, "nsyns": np.int32}


def write_recurrent(folder: Path, plan: Plan, report: Progress, threads: int) -> int:
    """The edges among the cells of the column; returns how many."""
    n = len(plan.cells)
    key = stream_key(plan.seed, Purpose.RECURRENT)
    sampler = RecurrentSampler(plan.cells, plan.pairs, plan.recipe.recurrent, key)
    with _edge_writer(folder, V1, n, n) as writer:
        for done, (source, *columns) in _weighted(sampler, plan.cells, plan, threads):
            _write_block(writer, source, *columns)
            report("edges v1 -> v1", done, n)
    _write_recurrent_types(folder, V1, plan)
    return writer.n_edges


def write_boundary(
    folder: Path, plan: Plan, ring: PlacedCells, report: Progress, threads: int
) -> tuple[int, NDArray[np.intp]]:
    """The edges from the cells of `ring`, around the column.

    The streams of the targets are drawn twice: first to see who projects at all, then to write.

    Returns:
        How many edges; [k] the cells of `ring` that have one, in the order of their node ids.
    """
    n = len(plan.cells)
    cells = join(plan.cells, ring)
    key = stream_key(plan.seed, Purpose.BOUNDARY_EDGES)
    sampler = RecurrentSampler(cells, plan.pairs, plan.recipe.recurrent, key, first_source=n)
    projects = np.zeros(len(ring), dtype=bool)
    for done, edges in in_order(sampler.sample, n, threads):
        projects[edges.source - n] = True
        report("cells of the boundary", done, n)
    node_id = np.cumsum(projects) - 1
    with _edge_writer(folder, BOUNDARY, int(projects.sum()), n) as writer:
        for done, (source, *columns) in _weighted(sampler, cells, plan, threads):
            _write_block(writer, node_id[source - n], *columns)
            report("edges boundary -> v1", done, n)
    _write_recurrent_types(folder, BOUNDARY, plan)
    return writer.n_edges, np.flatnonzero(projects)


def _weighted(
    sampler: RecurrentSampler, cells: PlacedCells, plan: Plan, threads: int
) -> Iterator[tuple[int, tuple[NDArray[Any], ...]]]:
    """Yields (targets done, (source, target, edge type, weight)) of every block."""
    tuning = plan.recipe.recurrent.weight_tuning
    release = plan.resting_release()

    def work(first: int, last: int) -> tuple[NDArray[Any], ...]:
        edges = sampler.sample(first, last)
        weight = recurrent_weights(edges, cells, plan.pairs, plan.weights, tuning)
        pre, kind = cells.population_index[edges.source], cells.type_index[edges.target]
        draw = plan.draw_of(edges.source, edges.target)
        # NEST multiplies the weight by u x, so that this one gives the static weight at rest.
        weight = (weight / release[pre, kind, draw]).astype(np.float32)
        types = (draw * len(plan.populations) + pre) * len(plan.models) + kind
        return edges.source, edges.target, types, weight

    return in_order(work, len(plan.cells), threads)


def _write_block(
    writer: sonata.EdgeWriter,
    source: NDArray[Any],
    target: NDArray[Any],
    types: NDArray[Any],
    weight: NDArray[Any],
) -> None:
    ones = np.ones(len(source), dtype=np.int32)
    writer.write(source, target, types, syn_weight=weight, nsyns=ones)


def _write_recurrent_types(folder: Path, source: str, plan: Plan) -> None:
    template = STATIC if plan.plasticity is None else TSODYKS
    types = recurrent_edge_types(plan.populations, plan.models, plan.ports, template, plan.n_draws)
    _write_edge_types(folder, source, types)


def write_lgn(folder: Path, plan: Plan, report: Progress, threads: int) -> int:
    """The edges from the LGN; returns how many."""
    cells, n = plan.cells, len(plan.cells)
    tables = plan.tables
    key = stream_key(plan.seed, Purpose.LGN_EDGES)
    sampler = LGNSampler(
        plan.units, cells, plan.populations, tables.lgn_to_v1, plan.recipe.lgn, key
    )
    weight = lgn_weights(cells, plan.populations, tables.lgn_to_v1, plan.ports, tables.populations)
    with _edge_writer(folder, LGN, len(plan.units), n) as writer:
        for done, edges in in_order(sampler.sample, n, threads):
            target = edges.target
            writer.write(
                edges.source,
                target,
                cells.type_index[target],
                syn_weight=weight[target],
                nsyns=edges.nsyns,
            )
            report("edges lgn -> v1", done, n)
    location = str(tables.lgn_cell_types["location"].iloc[0])
    types = external_edge_types(plan.models, location, plan.recipe.lgn.delay_ms)
    _write_edge_types(folder, LGN, types)
    return writer.n_edges


def write_background(folder: Path, plan: Plan, report: Progress) -> int:
    """The edges from the background; returns how many."""
    cells, n = plan.cells, len(plan.cells)
    recipe = plan.recipe.background
    weight = plan.models["bkg_weight"].to_numpy(dtype=np.float64)
    with _edge_writer(folder, BKG, recipe.n_units, n) as writer:
        for source, target in background_edges(n, plan.seed, recipe):
            kind = cells.type_index[target]
            ones = np.ones(len(source), dtype=np.int32)
            writer.write(source, target, kind, syn_weight=weight[kind], nsyns=ones)
            report("edges bkg -> v1", int(target[-1]) + 1, n)
    types = external_edge_types(plan.models, "BKG", recipe.delay_ms)
    # Other trainers read the background's weight here; the edges hold the same number.
    _write_edge_types(folder, BKG, types.assign(syn_weight=weight))
    return writer.n_edges


def _edge_writer(folder: Path, source: str, n_source: int, n_cells: int) -> sonata.EdgeWriter:
    path = folder / "network" / f"{source}_{V1}_edges.h5"
    return sonata.EdgeWriter(
        path, f"{source}_to_{V1}", source, V1, n_source, n_cells, _EDGE_COLUMNS
    )


def _write_edge_types(folder: Path, source: str, types: pd.DataFrame) -> None:
    sonata.write_types(folder / "network" / f"{source}_{V1}_edge_types.csv", types)
