"""Tables + recipe -> a SONATA network folder.

The folder holds circuit_config.json, provenance.json, network/ (nodes, edges and their types),
components/ (cell and synapse models) and reference/ (what to compare it with). It gets
its name only when it is complete. Edges are drawn, weighted and written block of targets by block,
so memory does not grow with their number; the same seed gives the same bytes whatever the number of
threads.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numba
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder import sonata
from v1builder.build.background import background_edges, background_types
from v1builder.build.blocks import in_order
from v1builder.build.cells import Cells, check_radius, place_cells
from v1builder.build.connectivity import PairRule, RecurrentSampler, pair_rule
from v1builder.build.edge_types import (
    external_edge_types,
    plasticity_of_classes,
    recurrent_edge_types,
)
from v1builder.build.fit_record import fit_record
from v1builder.build.lgn_edges import LGNSampler, lgn_weights
from v1builder.build.lgn_units import LGNUnits, place_lgn_units
from v1builder.build.node_types import build_models, v1_node_types, write_components
from v1builder.build.random import Purpose, stream_key
from v1builder.build.weights import (
    Receptors,
    WeightRule,
    receptors,
    recurrent_weights,
    weight_rule,
)
from v1builder.schema.citations import write_citations
from v1builder.schema.errors import ConfigError
from v1builder.schema.files import atomic_folder, write_json, write_text
from v1builder.schema.names import BKG, LGN, V1
from v1builder.schema.provenance import provenance
from v1builder.schema.recipe import BuildRecipe
from v1builder.sonata.synapse_models import STATIC, TSODYKS

#: Called as progress(stage, done, total); `done` and `total` count V1 cells.
Progress = Callable[[str, int, int], None]

#: Tables that the recurrent edges are drawn from.
_DRAWN_FROM = (
    "populations",
    "connection_probability",
    "distance_orientation_rule",
    "psp_lookup",
    "psp_amplitude",
)
_EDGE_COLUMNS = {"syn_weight": np.float32, "nsyns": np.int32}
_PLASTICITY_FILE = "reference/short_term_plasticity.csv"
_CELL_COLUMNS = ("x", "y", "z", "tuning_angle", "target_sizes")


class Tables(Protocol):
    """The published tables the builder reads (a curated store has them all).

    Columns are those of the curated tables; units are in their names.
    """

    @property
    def specimens(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def populations(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def connection_probability(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def distance_orientation_rule(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def psp_lookup(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def psp_amplitude(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def synapse_kinetics(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def lgn_cell_types(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def lgn_to_v1(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def neuropixels_reference(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def background_target_rate(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def provenance(self) -> dict[str, Any]: ...  # noqa: D102


@dataclass(frozen=True)
class _Plan:
    """Everything about a network that is decided before its edges are drawn."""

    tables: Tables
    recipe: BuildRecipe
    seed: int
    populations: pd.DataFrame
    models: pd.DataFrame
    ports: Receptors
    cells: Cells
    units: LGNUnits
    pairs: PairRule
    weights: WeightRule
    plasticity: dict[tuple[str, str], dict[str, float]] | None

    def resting_release(self) -> NDArray[np.float64]:
        """[p, m] release u x of a spike from rest: U, or 1 where synapses are static."""
        pre = self.populations["synapse_class"]
        post = self.models["synapse_class"]
        if self.plasticity is None:
            return np.ones((len(pre), len(post)))
        return np.array([[self.plasticity[a, b]["U"] for b in post] for a in pre])


def build_network(
    tables: Tables,
    cell_models: pd.DataFrame,
    recipe: BuildRecipe,
    radius: float,
    seed: int,
    out: Path | str,
    *,
    plasticity: pd.DataFrame | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    threads: int | None = None,
) -> Path:
    """Build a V1 column with its LGN and background and write it as SONATA.

    Args:
        tables: the published tables.
        cell_models: one row per (population, cell model) in use.
        recipe: every choice but radius and seed.
        radius: of the column, um, from 30 to 700.
        seed: a whole number >= 0. Same seed, same bytes.
        out: folder to create.
        plasticity: short-term plasticity by pair of subclasses (`curate.short_term_plasticity`);
            needed when the recipe's synapses have it.
        progress: told how far the build is.
        overwrite: replace an existing folder.
        threads: how many to use; all (or NUMBA_NUM_THREADS) unless given.

    Returns:
        The folder.

    Raises:
        ConfigError: the radius, seed or recipe is not valid.
        DataError: a table lacks something.
        StorageError: `out` is in the way or the file system refused.
    """
    check_radius(radius)
    if seed < 0:
        raise ConfigError.of("the seed is negative", "seed", seed, "choose a whole number >= 0")
    if (plasticity is not None) != (recipe.synapses.dynamics == "stp"):
        raise ConfigError.of(
            "the recipe and the table of short-term plasticity do not fit together",
            "recipe, synapses.dynamics",
            f"{recipe.synapses.dynamics}, {'no table' if plasticity is None else 'a table'}",
            'give a table if and only if dynamics is "stp"',
        )
    report = progress or (lambda _stage, _done, _total: None)
    n_threads = threads or numba.config.NUMBA_NUM_THREADS  # pyright: ignore[reportAttributeAccessIssue]
    with atomic_folder(out, overwrite=overwrite) as folder:
        report("cells", 0, 1)
        plan = _plan(tables, cell_models, recipe, radius, seed, plasticity)
        n_cells = len(plan.cells)
        report("cells", n_cells, n_cells)
        _write_nodes(folder, plan)
        write_components(folder, plan.models, plan.ports, plan.plasticity)
        n_edges = {
            "v1_to_v1": _write_recurrent(folder, plan, report, n_threads),
            "lgn_to_v1": _write_lgn(folder, plan, report, n_threads),
            "bkg_to_v1": _write_background(folder, plan, report),
        }
        _write_circuit(folder)
        _write_reference(folder, plan)
        if plasticity is not None:
            write_text(folder / _PLASTICITY_FILE, plasticity.to_csv(index=False))
        write_json(folder / "provenance.json", _provenance(plan, radius, n_edges, plasticity))
        write_citations(folder, plan.tables.provenance)
    return Path(out)


def _plan(
    tables: Tables,
    cell_models: pd.DataFrame,
    recipe: BuildRecipe,
    radius: float,
    seed: int,
    plasticity: pd.DataFrame | None,
) -> _Plan:
    chosen = recipe.selection.chosen(list(tables.populations["population"]))
    in_network = tables.populations["population"].isin(chosen)
    populations = pd.DataFrame(tables.populations[in_network]).reset_index(drop=True)
    models = build_models(cell_models, populations)
    ports = receptors(tables.synapse_kinetics, models)
    return _Plan(
        tables=tables,
        recipe=recipe,
        seed=seed,
        populations=populations,
        models=models,
        ports=ports,
        cells=place_cells(populations, models["population"], radius, seed, recipe.cells),
        units=place_lgn_units(tables.lgn_cell_types, seed, recipe.lgn),
        pairs=pair_rule(
            populations, tables.connection_probability, tables.distance_orientation_rule
        ),
        weights=weight_rule(populations, models, tables.psp_lookup, tables.psp_amplitude, ports),
        plasticity=None if plasticity is None else plasticity_of_classes(plasticity),
    )


def _write_nodes(folder: Path, plan: _Plan) -> None:
    network = folder / "network"
    cells, units = plan.cells, plan.units
    type_ids = plan.models["node_type_id"].to_numpy()[cells.type_index]
    attributes = {name: getattr(cells, name) for name in _CELL_COLUMNS}
    sonata.write_nodes(network / "v1_nodes.h5", V1, type_ids, attributes)
    sonata.write_types(network / "v1_node_types.csv", v1_node_types(plan.models))

    sonata.write_nodes(network / "lgn_nodes.h5", LGN, units.type_index, units.attributes)
    sonata.write_types(network / "lgn_node_types.csv", units.types.rename_axis("node_type_id"))

    background = background_types(plan.recipe.background).rename_axis("node_type_id")
    no_type = np.zeros(plan.recipe.background.n_units, dtype=np.int64)
    sonata.write_nodes(network / "bkg_nodes.h5", BKG, no_type, {})
    sonata.write_types(network / "bkg_node_types.csv", background)


def _edge_writer(folder: Path, source: str, n_source: int, n_cells: int) -> sonata.EdgeWriter:
    path = folder / "network" / f"{source}_{V1}_edges.h5"
    return sonata.EdgeWriter(
        path, f"{source}_to_{V1}", source, V1, n_source, n_cells, _EDGE_COLUMNS
    )


def _write_edge_types(folder: Path, source: str, types: pd.DataFrame) -> None:
    sonata.write_types(folder / "network" / f"{source}_{V1}_edge_types.csv", types)


def _write_recurrent(folder: Path, plan: _Plan, report: Progress, threads: int) -> int:
    cells, n = plan.cells, len(plan.cells)
    recurrent = plan.recipe.recurrent
    key = stream_key(plan.seed, Purpose.RECURRENT)
    sampler = RecurrentSampler(cells, plan.pairs, recurrent, key)
    release = plan.resting_release()

    def work(first: int, last: int) -> tuple[NDArray[Any], ...]:
        edges = sampler.sample(first, last)
        weight = recurrent_weights(edges, cells, plan.pairs, plan.weights, recurrent.weight_tuning)
        pre, kind = cells.population_index[edges.source], cells.type_index[edges.target]
        # NEST multiplies the weight by u x, so that this one gives the static weight at rest.
        weight = (weight / release[pre, kind]).astype(np.float32)
        return edges.source, edges.target, pre * len(plan.models) + kind, weight

    with _edge_writer(folder, V1, n, n) as writer:
        for done, (source, target, types, weight) in in_order(work, n, threads):
            ones = np.ones(len(source), dtype=np.int32)
            writer.write(source, target, types, syn_weight=weight, nsyns=ones)
            report("edges v1 -> v1", done, n)
    template = STATIC if plan.plasticity is None else TSODYKS
    types = recurrent_edge_types(plan.populations, plan.models, plan.ports, template)
    _write_edge_types(folder, V1, types)
    return writer.n_edges


def _write_lgn(folder: Path, plan: _Plan, report: Progress, threads: int) -> int:
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


def _write_background(folder: Path, plan: _Plan, report: Progress) -> int:
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


def _write_circuit(folder: Path) -> None:
    network = Path("network")
    nodes = [
        sonata.PopulationFile(
            name,
            network / f"{name}_nodes.h5",
            network / f"{name}_node_types.csv",
            "point_neuron" if name == V1 else "virtual",
        )
        for name in (V1, LGN, BKG)
    ]
    edges = [
        sonata.PopulationFile(
            f"{name}_to_{V1}",
            network / f"{name}_{V1}_edges.h5",
            network / f"{name}_{V1}_edge_types.csv",
            "chemical",
        )
        for name in (V1, LGN, BKG)
    ]
    sonata.write_circuit_config(folder, nodes, edges)


def _write_reference(folder: Path, plan: _Plan) -> None:
    """What a network is compared with travels along, so that it can be checked on its own.

    Recordings (training pulls firing rates towards them), the tables it was drawn from, measured
    features of the specimens behind its cells, and the PSP per pA its weights were divided by.
    """
    tables, models = plan.tables, plan.models
    n_ports = plan.ports.unit_psp.shape[1]
    measured = ["specimen_id", "rheobase_pA", "f_i_slope_Hz_per_pA"]
    used = tables.specimens["specimen_id"].isin(models["specimen_id"])
    unit_psp = {
        "node_type_id": np.repeat(models["node_type_id"].to_numpy(), n_ports),
        "receptor_type": np.tile(np.arange(1, n_ports + 1), len(models)),
        "unit_psp_mV_per_pA": plan.ports.unit_psp.ravel(),
    }
    written = {
        "in_vivo": tables.neuropixels_reference,
        "background_target_rate": tables.background_target_rate,
        "specimens": tables.specimens.loc[used, measured],
        "unit_psp": pd.DataFrame(unit_psp),
    }
    written |= {name: getattr(tables, name) for name in _DRAWN_FROM}
    for name, table in written.items():
        write_text(folder / "reference" / f"{name}.csv", table.to_csv(index=False))


def _provenance(
    plan: _Plan, radius: float, n_edges: dict[str, int], plasticity: pd.DataFrame | None
) -> dict[str, Any]:
    models = plan.models
    extra = (
        {}
        if plasticity is None
        else {
            "short_term_plasticity": fit_record(
                plasticity, plan.tables.provenance, _PLASTICITY_FILE
            )
        }
    )

    def rows(of: NDArray[np.bool_], columns: list[str]) -> list[dict[str, Any]]:
        return pd.DataFrame(models.loc[of, columns]).to_dict("records")

    borrowed = models["borrowed_from"].to_numpy() != ""
    fallback = models["bkg_weight_source"].to_numpy() != "published"
    return provenance(
        "build",
        radius_um=float(radius),
        seed=int(plan.seed),
        recipe=plan.recipe.model_dump(mode="json"),
        n_nodes={
            V1: len(plan.cells),
            LGN: len(plan.units),
            BKG: plan.recipe.background.n_units,
        },
        n_edges=n_edges,
        borrowed_cell_models=rows(borrowed, ["population", "specimen_id", "borrowed_from"]),
        background_weight_fallbacks=rows(
            fallback, ["population", "specimen_id", "bkg_weight", "bkg_weight_source"]
        ),
        data=plan.tables.provenance,
        **extra,
    )
