"""Each section of a characterization: tables, and the numbers that summarise them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.analysis import connectivity, excitability, psp
from v1builder.characterize.simulated import (
    cells_alone,
    counts_under_steps,
    simulated_unit_psps,
    spikes_under_steps,
)
from v1builder.load.network import EdgePopulation, Network
from v1builder.schema.names import CELL_CLASSES

#: Steps of the f-I curves above each cell's rheobase, and their length, as in the recordings (1 s).
ABOVE_RHEOBASE_pA: Final = tuple(range(20, 180, 20))
STEP_MS: Final = 1000.0
#: ms; the closed forms are compared with the model at this step.
DT: Final = 0.1
UNIT_PSP_DT: Final = 0.05
UNIT_PSP_MS: Final = 150.0
#: With more pairs of cells, those of evenly spaced targets are looked at.
MAX_PAIRS: Final = 4e8
_MANY_EDGES: Final = 100

Tables = dict[str, pd.DataFrame]
Summary = dict[str, Any]


def _column(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    return table[name].to_numpy(np.float64)


@dataclass(frozen=True)
class Kinds:
    """The cell models in use: one per combination of membrane, receptors and population.

    Attributes:
        table: one row per kind: node_type_id, population, class, cell_model, cells.
        of_cell: [n_cells] kind of each cell.
        alone: a network of one cell of each kind, without synapses.
    """

    table: pd.DataFrame
    of_cell: NDArray[np.int64]
    alone: Network


def kinds_of(network: Network) -> Kinds:
    """Find the kinds of cells of a network."""
    cells = network.cells
    names = cells.attributes.get("pop_name", np.full(len(cells), cells.name)).astype(str)
    population = np.unique(names, return_inverse=True)[1]
    keys = (network.membrane.group_of, network.receptors.group_of, population, cells.node_type_id)
    _, first, of_cell = np.unique(
        np.stack(keys, axis=1).astype(np.int64), axis=0, return_index=True, return_inverse=True
    )
    membrane_row = network.membrane.group_of[first]
    labels = tuple(network.membrane.labels[row] for row in membrane_row)
    table = pd.DataFrame(
        {
            "node_type_id": cells.node_type_id[first],
            "population": names[first],
            "class": [CELL_CLASSES.get(name, "") for name in names[first]],
            "cell_model": labels,
            "cells": np.bincount(of_cell.ravel()),
        }
    )
    rows = network.receptors.group_of[first]
    alone = cells_alone(
        {name: value[membrane_row] for name, value in network.membrane.values.items()},
        {name: value[rows] for name, value in network.receptors.values.items()},
        labels,
    )
    return Kinds(table, of_cell.ravel(), alone)


def excitability_section(kinds: Kinds, reference: Tables) -> tuple[Tables, Summary]:
    """Rheobase and f-I curves: closed form, model, and the recorded cells."""
    values = kinds.alone.membrane.values
    rheobase = excitability.rheobase(values, STEP_MS, DT)
    around = rheobase[:, None] * np.array([1 - 1e-9, 1 + 1e-9])
    silent, firing = counts_under_steps(kinds.alone, around, STEP_MS, DT).T
    current = rheobase[:, None] + np.array(ABOVE_RHEOBASE_pA, np.float64)
    spikes = spikes_under_steps(kinds.alone, current, STEP_MS, DT)
    rate = spikes.sum(axis=2) * 1000.0 / STEP_MS
    steady = excitability.steady_firing(values, current, DT)
    cells = kinds.table.assign(
        rheobase_pA=rheobase, f_i_slope_Hz_per_pA=excitability.slope_of(current, rate)
    )
    curves = kinds.table[["node_type_id", "population"]].loc[
        np.repeat(kinds.table.index, current.shape[1])
    ]
    curves = curves.assign(
        current_pA=current.ravel(),
        above_rheobase_pA=np.tile(ABOVE_RHEOBASE_pA, len(cells)),
        rate_Hz=rate.ravel(),
        steady_rate_Hz=1000.0 / steady.interval.ravel(),
    )
    summary: Summary = {
        "cell_models": len(cells),
        "dt_ms": DT,
        "rheobase_exact_within": 1e-9,
        "rheobase_agrees": int(((silent == 0) & (firing > 0)).sum()),
    }
    still = values["th_voltage_index"] == 0
    if still.any():
        chosen = {name: value[still] for name, value in values.items()}
        closed = excitability.spikes_of_steps(chosen, current[still], spikes.shape[2], DT)
        same = (closed == spikes[still]).all(axis=2)
        summary |= {
            "f_i_trains": int(same.size),
            "f_i_trains_equal_to_closed_form": int(same.sum()),
        }
    tables = {"cell_models": cells, "f_i_curves": curves}
    if "specimens" in reference:
        tables["cell_models"], tables["measured"] = _with_measured(cells, reference["specimens"])
        summary["measured"] = tables["measured"].to_dict("records")
    return tables, summary


def _with_measured(
    cells: pd.DataFrame, specimens: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The cell models with their recordings, and the comparison, every specimen once."""
    recorded = specimens.set_index(specimens["specimen_id"].astype(str))
    found = recorded.reindex(cells["cell_model"].str.extract(r"^(\d+)")[0])
    names = ("rheobase_pA", "f_i_slope_Hz_per_pA")
    cells = cells.assign(**{f"measured_{name}": found[name].to_numpy(np.float64) for name in names})
    once = cells.drop_duplicates("cell_model")
    parts = [
        excitability.compare_with_measured(
            once[name].to_numpy(np.float64),
            once[f"measured_{name}"].to_numpy(np.float64),
            once["class"].to_numpy(str),
        ).assign(quantity=name)
        for name in names
    ]
    return cells, pd.concat(parts, ignore_index=True)


def unit_psp_section(
    kinds: Kinds, reference: Tables
) -> tuple[NDArray[np.float64], Tables, Summary]:
    """PSP per pA at every port of every cell model: the model's, beside the builder's."""
    unit = simulated_unit_psps(kinds.alone, UNIT_PSP_DT, UNIT_PSP_MS)
    n, ports = unit.shape
    table = pd.DataFrame(
        {
            "node_type_id": np.repeat(kinds.table["node_type_id"].to_numpy(), ports),
            "receptor_type": np.tile(np.arange(1, ports + 1), n),
            "simulated_mV_per_pA": unit.ravel(),
        }
    )
    summary: Summary = {"cell_models": n, "ports": ports, "dt_ms": UNIT_PSP_DT}
    if "unit_psp" in reference:
        table = table.merge(reference["unit_psp"], on=["node_type_id", "receptor_type"], how="left")
        error = _column(table, "simulated_mV_per_pA") / _column(table, "unit_psp_mV_per_pA") - 1
        summary["compared"] = int(np.isfinite(error).sum())
        summary["largest_relative_error"] = float(np.nanmax(np.abs(error)))
    return unit, {"unit_psps": table}, summary


def psp_section(
    network: Network,
    edges: EdgePopulation,
    kinds: Kinds,
    unit: NDArray[np.float64],
    reference: Tables,
) -> tuple[Tables, Summary]:
    """PSP amplitudes of the recurrent edges against the measured ones."""
    names = network.cells.attributes["pop_name"].astype(str)
    label, population = np.unique(names, return_inverse=True)
    lookup = reference["psp_lookup"].set_index(["pre_population", "post_population"])["connection"]
    connection = np.array([[lookup.get((a, b), "") for b in label] for a in label], dtype=object)
    pre, post = edges.source_index, edges.target_index
    sizes = reference["populations"].set_index("population").loc[label]
    amplitude = np.abs(edges.weight) * unit[kinds.of_cell[post], edges.receptor]
    of_edges = pd.DataFrame(
        {
            "connection": pd.Categorical(connection[population[pre], population[post]]),
            "psp_mV": amplitude,
            "target_size": network.cells.attributes["target_sizes"][post].astype(np.float64),
            "nsyn_shape": sizes["nsyn_lognorm_shape"].to_numpy(np.float64)[population[post]],
            "nsyn_scale": sizes["nsyn_lognorm_scale"].to_numpy(np.float64)[population[post]],
        }
    )
    table = psp.compare_psps(of_edges, reference["psp_amplitude"].set_index("connection"))
    many = table.loc[table["n_edges"] >= _MANY_EDGES]

    def typical(name: str, reference: str) -> float:
        return float(np.median(_column(many, name) / _column(many, reference)))

    p = _column(table, "residual_ks_p")
    summary: Summary = {
        "edges": len(of_edges),
        "connections": len(table),
        f"connections_with_{_MANY_EDGES}_edges": len(many),
        "median_over_table_edges": typical("median_mV", "table_median_mV"),
        "median_over_expected_edges": typical("median_mV", "expected_median_mV"),
        "median_over_table_cells": typical("cell_median_mV", "table_median_mV"),
        "mean_over_table_edges": typical("mean_mV", "table_mean_mV"),
        "mean_over_table_cells": typical("cell_mean_mV", "table_mean_mV"),
        "ks_edges": float(np.median(_column(many, "ks_edges"))),
        "ks_cells": float(np.median(_column(many, "ks_cells"))),
        "residual_sd": float(np.nanmedian(_column(table, "residual_sd"))),
        "residual_p_below_1_percent": int((p < 0.01).sum()),
        "residuals_tested": int(np.isfinite(p).sum()),
    }
    return {"psp_amplitudes": table}, summary


def connectivity_section(
    network: Network,
    edges: EdgePopulation,
    reference: Tables,
    recipe: dict[str, Any],
    progress: Callable[[int, int], None],
) -> tuple[Tables, Summary]:
    """Connection probability by class and distance, and degrees, against the rule."""
    attributes, populations = network.cells.attributes, reference["populations"]
    column = connectivity.column_of(
        attributes,
        populations,
        reference["connection_probability"],
        reference["distance_orientation_rule"],
        recipe["displacement_um"],
        recipe["core_radius_um"],
    )
    pre, post = edges.source_index, edges.target_index
    sums = connectivity.sum_over_pairs(column, pre, post, MAX_PAIRS, progress)
    classes = populations["connectivity_class"].to_numpy(str)
    signs = np.where(column.excitatory, "exc", "inh")
    sizes = attributes["target_sizes"].astype(np.float64)
    tables = {
        "connection_probability": connectivity.by_class(sums, classes),
        "connection_probability_by_distance": connectivity.by_class(sums, classes, distance=True),
        "connection_probability_by_sign_and_distance": connectivity.by_class(
            sums, signs, distance=True
        ),
        "degrees": connectivity.degrees(column, populations, sums, pre, post, sizes),
    }
    summary: Summary = {
        "pairs": int(sums.pairs.sum()),
        "targets": len(sums.targets),
        "of_targets": network.n_cells,
        "connections": int(sums.connections.sum()),
        "expected": float(sums.expected.sum()),
        "z": float((sums.connections - sums.expected).sum() / np.sqrt(sums.variance.sum())),
        "cells_z_sd": float(np.sqrt((_column(tables["degrees"], "in_z_sd") ** 2).mean())),
    }
    for name in ("connection_probability", "connection_probability_by_distance"):
        z = _column(tables[name], "z")
        z = z[np.isfinite(z)]
        summary[name] = {
            "tested": len(z),
            "z_sd": float(np.sqrt((z**2).mean())) if len(z) else None,
            "largest_z": float(np.abs(z).max()) if len(z) else None,
        }
    return tables, summary
