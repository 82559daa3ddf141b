"""Tables + recipe -> a SONATA network folder.

The folder holds circuit_config.json, provenance.json, network/ (nodes, edges and their types),
components/ (cell and synapse models) and reference/ (what to compare it with). It gets
its name only when it is complete. Edges are drawn, weighted and written block of targets by block,
so memory does not grow with their number; the same seed gives the same bytes whatever the number of
threads.

Populations: v1 is simulated; lgn and bkg are its inputs, and so is boundary where the recipe has one
(`build.boundary`). Every purpose draws from random numbers of its own, so that the other nodes and
edges are the same with and without a boundary.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder import sonata
from v1builder.build.background import background_types
from v1builder.build.boundary import (
    boundary_rates,
    boundary_types,
    check_boundary,
    rate_sources,
)
from v1builder.build.cells import PlacedCells, check_radius
from v1builder.build.fit_record import fit_record
from v1builder.build.node_types import v1_node_types, write_components
from v1builder.build.plan import Plan, Tables, make_plan
from v1builder.build.write_edges import (
    Progress,
    write_background,
    write_boundary,
    write_lgn,
    write_recurrent,
)
from v1builder.schema.checksums import write_checksums
from v1builder.schema.citations import write_citations
from v1builder.schema.errors import ConfigError, NetworkError, raise_if_any
from v1builder.schema.files import atomic_folder, write_json, write_text
from v1builder.schema.names import BKG, BOUNDARY, LGN, V1
from v1builder.schema.provenance import provenance
from v1builder.schema.recipe import BuildRecipe
from v1builder.sonata.validate import validate

#: Tables that the recurrent edges are drawn from.
_DRAWN_FROM = (
    "populations",
    "connection_probability",
    "distance_orientation_rule",
    "psp_lookup",
    "psp_amplitude",
)
_PLASTICITY_FILE = "reference/short_term_plasticity.csv"
_DRAWS_FILE = "reference/short_term_plasticity_draws.csv"
_PLACE_COLUMNS = ("x", "y", "z", "tuning_angle")


def build_network(
    tables: Tables,
    cell_models: pd.DataFrame,
    recipe: BuildRecipe,
    radius: float,
    seed: int,
    out: Path | str,
    *,
    plasticity: pd.DataFrame | None = None,
    draws: pd.DataFrame | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    threads: int | None = None,
) -> Path:
    """Build a V1 column with its LGN, background and (on request) boundary; write it as SONATA.

    Args:
        tables: the published tables.
        cell_models: one row per (population, cell model) in use.
        recipe: every choice but radius and seed.
        radius: of the column, um, from 30 to 700.
        seed: a whole number >= 0. Same seed, same bytes.
        out: folder to create.
        plasticity: short-term plasticity by pair of subclasses (`curate.short_term_plasticity`);
            needed when the recipe's synapses have it.
        draws: synapses of each of these pairs that differ (`curate.plasticity_draws`); needed when the recipe
            spreads them.
        progress: told how far the build is.
        overwrite: replace an existing folder.
        threads: how many to use; all (or NUMBA_NUM_THREADS) unless given.

    Returns:
        The folder.

    Raises:
        ConfigError: the radius, seed or recipe is not valid.
        DataError: a table lacks something.
        StorageError: `out` is in the way or the file system refused.
        NetworkError: the network that was built is not valid; it does not get its name.
    """
    check_radius(radius)
    check_boundary(recipe.boundary.radius_um, radius)
    if seed < 0:
        raise ConfigError.of("the seed is negative", "seed", seed, "choose a whole number >= 0")
    if (plasticity is not None) != (recipe.synapses.dynamics == "stp"):
        raise ConfigError.of(
            "the recipe and the table of short-term plasticity do not fit together",
            "recipe, synapses.dynamics",
            f"{recipe.synapses.dynamics}, {'no table' if plasticity is None else 'a table'}",
            'give a table if and only if dynamics is "stp"',
        )
    if (draws is not None) != (recipe.synapses.spread > 0):
        raise ConfigError.of(
            "the recipe and the table of synapses do not fit together",
            "recipe, synapses.spread",
            f"{recipe.synapses.spread:g}, {'no table' if draws is None else 'a table'}",
            "give a table if and only if spread is above 0",
        )
    report = progress or (lambda _stage, _done, _total: None)
    n_threads = threads or numba.config.NUMBA_NUM_THREADS  # pyright: ignore[reportAttributeAccessIssue]
    with atomic_folder(out, overwrite=overwrite) as folder:
        report("cells", 0, 1)
        plan = make_plan(
            tables, cell_models, recipe, radius, seed, plasticity if draws is None else draws
        )
        n_cells = len(plan.cells)
        report("cells", n_cells, n_cells)
        _write_nodes(folder, plan)
        write_components(folder, plan.models, plan.ports, plan.plasticity)
        n_edges = {
            "v1_to_v1": write_recurrent(folder, plan, report, n_threads),
            "lgn_to_v1": write_lgn(folder, plan, report, n_threads),
            "bkg_to_v1": write_background(folder, plan, report),
        }
        n_nodes = {V1: n_cells, LGN: len(plan.units), BKG: recipe.background.n_units}
        if plan.ring is not None:
            count, kept = write_boundary(folder, plan, plan.ring, report, n_threads)
            _write_boundary_nodes(folder, plan, plan.ring, kept)
            n_edges[f"{BOUNDARY}_to_{V1}"], n_nodes[BOUNDARY] = count, len(kept)
        _write_circuit(folder, list(n_nodes))
        _write_reference(folder, plan)
        if plasticity is not None:
            write_text(folder / _PLASTICITY_FILE, plasticity.to_csv(index=False))
        if draws is not None:
            write_text(folder / _DRAWS_FILE, draws.to_csv(index=False))
        write_json(
            folder / "provenance.json", _provenance(plan, radius, n_nodes, n_edges, plasticity)
        )
        write_citations(folder, plan.tables.provenance)
        write_checksums(folder)
        _check(folder, Path(out))
    return Path(out)


def _check(folder: Path, out: Path) -> None:
    """Raise NetworkError where the network is not valid, which is to be called `out`."""
    problems = [
        replace(problem, where=problem.where.replace(str(folder), str(out)))
        for problem in validate(folder)
    ]
    raise_if_any(problems, NetworkError)


def _write_nodes(folder: Path, plan: Plan) -> None:
    network = folder / "network"
    cells, units = plan.cells, plan.units
    type_ids = plan.models["node_type_id"].to_numpy()[cells.type_index]
    attributes = {name: getattr(cells, name) for name in (*_PLACE_COLUMNS, "target_sizes")}
    sonata.write_nodes(network / "v1_nodes.h5", V1, type_ids, attributes)
    sonata.write_types(network / "v1_node_types.csv", v1_node_types(plan.models))

    sonata.write_nodes(network / "lgn_nodes.h5", LGN, units.type_index, units.attributes)
    sonata.write_types(network / "lgn_node_types.csv", units.types.rename_axis("node_type_id"))

    background = background_types(plan.recipe.background).rename_axis("node_type_id")
    no_type = np.zeros(plan.recipe.background.n_units, dtype=np.int64)
    sonata.write_nodes(network / "bkg_nodes.h5", BKG, no_type, {})
    sonata.write_types(network / "bkg_node_types.csv", background)


def _write_boundary_nodes(
    folder: Path, plan: Plan, ring: PlacedCells, kept: NDArray[np.intp]
) -> None:
    population = ring.population_index[kept]
    attributes = {name: getattr(ring, name)[kept] for name in _PLACE_COLUMNS}
    attributes["rate_Hz"] = boundary_rates(
        population,
        plan.populations,
        plan.tables.neuropixels_reference,
        plan.recipe.boundary.rate,
        plan.seed,
    )
    network = folder / "network"
    sonata.write_nodes(network / f"{BOUNDARY}_nodes.h5", BOUNDARY, population, attributes)
    types = boundary_types(plan.populations).rename_axis("node_type_id")
    sonata.write_types(network / f"{BOUNDARY}_node_types.csv", types)


def _write_circuit(folder: Path, populations: list[str]) -> None:
    network = Path("network")
    nodes = [
        sonata.PopulationFile(
            name,
            network / f"{name}_nodes.h5",
            network / f"{name}_node_types.csv",
            "point_neuron" if name == V1 else "virtual",
        )
        for name in populations
    ]
    edges = [
        sonata.PopulationFile(
            f"{name}_to_{V1}",
            network / f"{name}_{V1}_edges.h5",
            network / f"{name}_{V1}_edge_types.csv",
            "chemical",
        )
        for name in populations
    ]
    sonata.write_circuit_config(folder, nodes, edges)


def _write_reference(folder: Path, plan: Plan) -> None:
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
        "in_vivo_units": tables.neuropixels_units,
        "background_target_rate": tables.background_target_rate,
        "specimens": tables.specimens.loc[used, measured],
        "unit_psp": pd.DataFrame(unit_psp),
    }
    written |= {name: getattr(tables, name) for name in _DRAWN_FROM}
    for name, table in written.items():
        write_text(folder / "reference" / f"{name}.csv", table.to_csv(index=False))


def _provenance(
    plan: Plan,
    radius: float,
    n_nodes: dict[str, int],
    n_edges: dict[str, int],
    plasticity: pd.DataFrame | None,
) -> dict[str, Any]:
    models = plan.models
    extra: dict[str, Any] = {}
    if plasticity is not None:
        extra["short_term_plasticity"] = fit_record(
            plasticity, plan.tables.provenance, _PLASTICITY_FILE
        )
        if plan.n_draws > 1:
            extra["short_term_plasticity"]["draws"] = _DRAWS_FILE
    if plan.ring is not None:
        recordings = plan.tables.neuropixels_reference
        extra["boundary"] = {
            "n_placed": len(plan.ring),
            "n_without_target": len(plan.ring) - n_nodes[BOUNDARY],
            "rate_fallbacks": rate_sources(plan.populations, recordings, plan.recipe.boundary.rate),
        }

    def rows(of: NDArray[np.bool_], columns: list[str]) -> list[dict[str, Any]]:
        return pd.DataFrame(models.loc[of, columns]).to_dict("records")

    borrowed = models["borrowed_from"].to_numpy() != ""
    fallback = models["bkg_weight_source"].to_numpy() != "published"
    return provenance(
        "build",
        radius_um=float(radius),
        seed=int(plan.seed),
        recipe=plan.recipe.model_dump(mode="json"),
        n_nodes=n_nodes,
        n_edges=n_edges,
        borrowed_cell_models=rows(borrowed, ["population", "specimen_id", "borrowed_from"]),
        background_weight_fallbacks=rows(
            fallback, ["population", "specimen_id", "bkg_weight", "bkg_weight_source"]
        ),
        data=plan.tables.provenance,
        **extra,
    )
