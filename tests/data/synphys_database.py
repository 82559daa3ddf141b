"""A small database with the tables of the Allen Synaptic Physiology release (schema version 22).

Two experiments of mouse V1, one of another project and one of a human. Written with plain SQL, so that
the tests do not depend on how the package reads it.
"""

import math
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd

from v1builder.curate import Store

SCHEMA = """
CREATE TABLE slice (id INTEGER PRIMARY KEY, meta TEXT, ext_id TEXT, species TEXT, age INTEGER,
    sex TEXT, genotype TEXT);
CREATE TABLE experiment (id INTEGER PRIMARY KEY, meta TEXT, ext_id TEXT, slice_id INTEGER,
    project_name TEXT, target_region TEXT);
CREATE TABLE cell (id INTEGER PRIMARY KEY, meta TEXT, experiment_id INTEGER, ext_id TEXT,
    cre_type TEXT, target_layer TEXT, position BLOB, depth FLOAT, cell_class TEXT,
    cell_class_nonsynaptic TEXT);
CREATE TABLE cortical_cell_location (id INTEGER PRIMARY KEY, meta TEXT, cell_id INTEGER,
    cortical_layer TEXT, fractional_depth FLOAT);
CREATE TABLE pair (id INTEGER PRIMARY KEY, meta TEXT, experiment_id INTEGER, pre_cell_id INTEGER,
    post_cell_id INTEGER, has_synapse BOOLEAN, has_polysynapse BOOLEAN, has_electrical BOOLEAN,
    n_ex_test_spikes INTEGER, n_in_test_spikes INTEGER, distance FLOAT, lateral_distance FLOAT,
    vertical_distance FLOAT);
CREATE TABLE synapse (id INTEGER PRIMARY KEY, meta TEXT, pair_id INTEGER, synapse_type TEXT,
    latency FLOAT, psp_amplitude FLOAT, psp_rise_time FLOAT, psp_decay_tau FLOAT,
    psc_amplitude FLOAT, psc_rise_time FLOAT, psc_decay_tau FLOAT);
CREATE TABLE dynamics (id INTEGER PRIMARY KEY, meta TEXT, pair_id INTEGER, qc_pass BOOLEAN,
    paired_pulse_ratio_50hz FLOAT, stp_initial_50hz FLOAT, stp_induction_50hz FLOAT,
    stp_recovery_250ms FLOAT, pulse_amp_90th_percentile FLOAT, variability_resting_state FLOAT);
CREATE TABLE synapse_model (id INTEGER PRIMARY KEY, meta TEXT, pair_id INTEGER,
    ml_n_release_sites FLOAT, ml_base_release_probability FLOAT, ml_mini_amplitude FLOAT,
    ml_depression_amount FLOAT, ml_depression_tau FLOAT, ml_facilitation_amount FLOAT,
    ml_facilitation_tau FLOAT);
"""
#: Metric of table synaptic_physiology -> table and column that hold it.
PLACES = {
    "psp_amplitude": ("synapse", "psp_amplitude"),
    "latency": ("synapse", "latency"),
    "psc_rise_time": ("synapse", "psc_rise_time"),
    "psc_decay_tau": ("synapse", "psc_decay_tau"),
    "pulse_amp_90pct": ("dynamics", "pulse_amp_90th_percentile"),
    "stp_induction_50hz": ("dynamics", "stp_induction_50hz"),
    "stp_recovery_250ms": ("dynamics", "stp_recovery_250ms"),
    "variability_resting": ("dynamics", "variability_resting_state"),
    "ml_release_prob": ("synapse_model", "ml_base_release_probability"),
    "ml_n_release_sites": ("synapse_model", "ml_n_release_sites"),
    "ml_mini_amplitude": ("synapse_model", "ml_mini_amplitude"),
    "ml_depression_amount": ("synapse_model", "ml_depression_amount"),
    "ml_depression_tau": ("synapse_model", "ml_depression_tau"),
    "ml_facilitation_amount": ("synapse_model", "ml_facilitation_amount"),
    "ml_facilitation_tau": ("synapse_model", "ml_facilitation_tau"),
}
MOUSE, OTHER_PROJECT, HUMAN = 1, 2, 3
#: (id, experiment, cre_type, target layer, class, histological layer)
CELLS = [
    (1, MOUSE, "unknown", "2/3", "ex", "2/3"),
    (2, MOUSE, "unknown", "2/3", "ex", None),
    (3, MOUSE, "nr5a1", "4", "ex", "5"),
    (4, MOUSE, "pvalb", "4", "in", "4"),
    (5, MOUSE, "pvalb", "2/3", "in", "2/3"),
    (6, MOUSE, "pvalb", "4", "ex", "4"),  # a line says pvalb, the cell is excitatory
    (7, OTHER_PROJECT, "unknown", "2/3", "ex", "2/3"),
    (8, OTHER_PROJECT, "unknown", "2/3", "ex", "2/3"),
    (9, HUMAN, "unknown", "2", "ex", "2"),
    (10, HUMAN, "unknown", "2", "ex", "2"),
]
#: (pre, post, connected, test spikes as excitatory, as inhibitory, lateral distance in m)
PAIRS = [
    (1, 2, True, 100, 0, 0.0),
    (2, 1, False, 100, 0, 100e-6),
    (1, 3, True, 100, 0, None),  # distance not known: counts for cp, not for the peak
    (3, 1, False, 11, 0, 200e-6),
    (2, 3, True, 10, 500, 50e-6),  # ten spikes are not enough; those of the other sign do not count
    (3, 2, None, 50, 0, 50e-6),  # probed, nothing found
    (1, 4, True, 100, 0, 30e-6),
    (2, 4, True, 100, 0, 60e-6),
    (4, 1, True, 0, 100, 30e-6),
    (4, 2, False, 100, 0, 60e-6),  # not probed as an inhibitory cell
    (5, 1, False, 0, 40, 80e-6),
    (6, 1, True, 100, 0, 10e-6),
    (7, 8, True, 100, 0, 0.0),
    (9, 10, True, 100, 0, 0.0),
]
#: Per connected pair (pre, post): latency s, PSP V, 90th percentile V, induction, release probability
SYNAPSES = {
    (1, 2): (1.0e-3, 0.2e-3, 0.3e-3, -0.4, 0.2),
    (1, 3): (2.0e-3, 0.4e-3, None, -0.2, 0.4),
    (2, 3): (4.0e-3, None, 0.9e-3, 0.1, None),
    (6, 1): (3.0e-3, 0.6e-3, 0.6e-3, None, 0.9),
    (1, 4): (0.5e-3, 1.0e-3, 2.0e-3, -0.5, 0.5),
    (2, 4): (0.7e-3, 3.0e-3, 4.0e-3, -0.6, 0.6),
    (4, 1): (0.9e-3, -0.5e-3, -0.7e-3, -0.3, 0.7),
    (7, 8): (9.0e-3, 9.0e-3, 9.0e-3, 9.0, 0.9),
    (9, 10): (9.0e-3, 9.0e-3, 9.0e-3, 9.0, 0.9),
}


def write_database(path: Path) -> Path:
    """Make the file."""
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(SCHEMA)
        database.executemany(
            "INSERT INTO slice (id, species) VALUES (?, ?)",
            [(1, "mouse"), (2, "mouse"), (3, "human")],
        )
        projects = ["mouse V1 coarse matrix", "mouse TEa", "human coarse matrix"]
        database.executemany(
            "INSERT INTO experiment (id, slice_id, project_name) VALUES (?, ?, ?)",
            [(i, i, name) for i, name in enumerate(projects, start=1)],
        )
        experiment = {}
        for cell, where, cre, layer, kind, found in CELLS:
            experiment[cell] = where
            database.execute(
                "INSERT INTO cell (id, experiment_id, cre_type, target_layer, cell_class) "
                "VALUES (?, ?, ?, ?, ?)",
                (cell, where, cre, layer, kind),
            )
            if found is not None:
                database.execute(
                    "INSERT INTO cortical_cell_location (cell_id, cortical_layer) VALUES (?, ?)",
                    (cell, found),
                )
        for pair_id, (pre, post, connected, n_ex, n_in, lateral) in enumerate(PAIRS, start=1):
            database.execute(
                "INSERT INTO pair (id, experiment_id, pre_cell_id, post_cell_id, has_synapse, "
                "n_ex_test_spikes, n_in_test_spikes, lateral_distance) VALUES (?,?,?,?,?,?,?,?)",
                (pair_id, experiment[pre], pre, post, connected, n_ex, n_in, lateral),
            )
            if (pre, post) in SYNAPSES:
                _write_synapse(database, pair_id, SYNAPSES[pre, post])
    return path


def write_published(path: Path, store: Store) -> Path:
    """A database of which the published tables are the aggregates, pair of subclasses by pair.

    Per pair: as many probed and connected pairs, all at the lateral distance that gives the published
    peak; as many synapses with each metric, spread evenly about the published median.
    """
    cells = {name: (1 + 2 * k, 2 + 2 * k) for k, name in enumerate(("pyr", "pvalb", "sst", "vip"))}
    medians = store.synaptic_physiology
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(SCHEMA)
        database.execute("INSERT INTO slice (id, species) VALUES (1, 'mouse')")
        project = ("mouse V1 coarse matrix",)
        database.execute(
            "INSERT INTO experiment (id, slice_id, project_name) VALUES (1, 1, ?)", project
        )
        for name, (first, second) in cells.items():
            kind, cre = ("ex", "unknown") if name == "pyr" else ("in", name)
            database.executemany(
                "INSERT INTO cell (id, experiment_id, cre_type, target_layer, cell_class) "
                "VALUES (?, 1, ?, '2/3', ?)",
                [(first, cre, kind), (second, cre, kind)],
            )
        for one in store.synaptic_physiology_connectivity.to_dict("records"):
            of_pair = medians[(medians["pre"] == one["pre"]) & (medians["post"] == one["post"])]
            _write_published_pair(database, one, of_pair, cells)
    return path


def _write_published_pair(
    database: sqlite3.Connection,
    one: dict[str, Any],
    metrics: pd.DataFrame,
    cells: dict[str, tuple[int, int]],
) -> None:
    distance = 100e-6 * math.sqrt(-2 * math.log(one["cp"] / one["cp_adj"]))
    spikes = "n_ex_test_spikes" if one["pre"] == "pyr" else "n_in_test_spikes"
    n_synapses = max(one["n_connected"], int(metrics["n_pairs"].max()))
    # Synapses beyond those of probed pairs were seen with too few test spikes.
    rows = [(True, 100)] * one["n_connected"]
    rows += [(False, 100)] * (one["n_probed"] - one["n_connected"])
    rows += [(True, 5)] * (n_synapses - one["n_connected"])
    synapses = []
    for connected, n_spikes in rows:
        cursor = database.execute(
            f"INSERT INTO pair (experiment_id, pre_cell_id, post_cell_id, has_synapse, {spikes}, "
            "lateral_distance) VALUES (1, ?, ?, ?, ?, ?)",
            (cells[one["pre"]][0], cells[one["post"]][1], connected, n_spikes, distance),
        )
        if connected:
            synapses.append(cursor.lastrowid)
    for table in ("synapse", "dynamics", "synapse_model"):
        database.executemany(f"INSERT INTO {table} (pair_id) VALUES (?)", [(s,) for s in synapses])
    for row in metrics.to_dict("records"):
        table, column = PLACES[row["metric"]]
        n = row["n_pairs"]
        spread = [row["median"] * (1 + 0.5 * (2 * k - n + 1) / n) for k in range(n)]
        if math.isnan(row["median"]):  # a number of pairs, and no median
            spread = [-math.inf] * n
        database.executemany(
            f"UPDATE {table} SET {column} = ? WHERE pair_id = ?",
            list(zip(spread, synapses, strict=False)),
        )


def _write_synapse(database: sqlite3.Connection, pair_id: int, values: tuple) -> None:
    latency, psp, largest, induction, release = values
    database.execute(
        "INSERT INTO synapse (pair_id, latency, psp_amplitude, psc_rise_time) VALUES (?, ?, ?, ?)",
        (pair_id, latency, psp, latency * 2),
    )
    database.execute(
        "INSERT INTO dynamics (pair_id, pulse_amp_90th_percentile, stp_induction_50hz) "
        "VALUES (?, ?, ?)",
        (pair_id, largest, induction),
    )
    if release is not None:
        database.execute(
            "INSERT INTO synapse_model (pair_id, ml_base_release_probability, ml_n_release_sites) "
            "VALUES (?, ?, ?)",
            (pair_id, release, release * 10),
        )
