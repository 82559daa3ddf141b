"""Aggregates of the Allen Synaptic Physiology database: connectivity, strength, kinetics, plasticity.

The released SQLite file (schema version 22) is opened read-only. Everything is in SI units, as in the
database. Definitions (Campagnola et al. 2022, Science 375:eabj5861):

- A pair is probed for a synapse of the presynaptic cell's sign if more than `MIN_TEST_SPIKES`
  presynaptic test spikes were recorded for that sign; connected means `has_synapse`.
- Peak probability of a Gaussian of lateral distance: connected over probed, divided by the mean of
  exp(-d^2 / 2 sigma^2), over the probed pairs whose distance is known. Its interval is that of those
  pairs, divided by the same mean. (The intervals of table synaptic_physiology_connectivity determine
  the number of those pairs: whole numbers, smaller than n_probed, for all 16 rows.)
- Medians are over synapses that have the metric, infinite values included; an infinite one is left empty.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from v1builder.schema.errors import DataError

MIN_TEST_SPIKES = 10
#: Lateral distance over which connection probability falls, m.
SIGMA_M = 100e-6
#: Edges of the bins of `connectivity_by_distance`, m.
DISTANCES_M = (0.0, 50e-6, 100e-6, 150e-6, 200e-6, 300e-6)
#: Projects of standard multipatch experiments in mouse V1.
MOUSE_V1 = ("mouse V1 coarse matrix", "mouse V1 pre-production")
_LEAST_FOR_FIT = 5
_PROBABILITIES = ("cp", "cp_lo", "cp_hi", "cp_adj", "cp_adj_lo", "cp_adj_hi")


@dataclass(frozen=True)
class MeasuredQuantity:
    """One measured quantity: its name in table synaptic_physiology, SI unit, and where it is."""

    name: str
    unit: str
    table: str
    column: str


METRICS = (
    MeasuredQuantity("psp_amplitude", "V", "synapse", "psp_amplitude"),
    MeasuredQuantity("pulse_amp_90pct", "V", "dynamics", "pulse_amp_90th_percentile"),
    MeasuredQuantity("stp_induction_50hz", "1", "dynamics", "stp_induction_50hz"),
    MeasuredQuantity("stp_recovery_250ms", "1", "dynamics", "stp_recovery_250ms"),
    MeasuredQuantity("variability_resting", "1", "dynamics", "variability_resting_state"),
    MeasuredQuantity("ml_facilitation_amount", "1", "synapse_model", "ml_facilitation_amount"),
    MeasuredQuantity("ml_facilitation_tau", "s", "synapse_model", "ml_facilitation_tau"),
    MeasuredQuantity("ml_depression_amount", "1", "synapse_model", "ml_depression_amount"),
    MeasuredQuantity("ml_depression_tau", "s", "synapse_model", "ml_depression_tau"),
    MeasuredQuantity("ml_release_prob", "1", "synapse_model", "ml_base_release_probability"),
    MeasuredQuantity("ml_n_release_sites", "1", "synapse_model", "ml_n_release_sites"),
    MeasuredQuantity("ml_mini_amplitude", "V", "synapse_model", "ml_mini_amplitude"),
    MeasuredQuantity("latency", "s", "synapse", "latency"),
    MeasuredQuantity("psc_rise_time", "s", "synapse", "psc_rise_time"),
    MeasuredQuantity("psc_decay_tau", "s", "synapse", "psc_decay_tau"),
)
#: Further quantities of the same tables, for groupings other than the published one.
MORE_METRICS = (
    MeasuredQuantity("psp_rise_time", "s", "synapse", "psp_rise_time"),
    MeasuredQuantity("psp_decay_tau", "s", "synapse", "psp_decay_tau"),
    MeasuredQuantity("psc_amplitude", "A", "synapse", "psc_amplitude"),
    MeasuredQuantity("paired_pulse_ratio_50hz", "1", "dynamics", "paired_pulse_ratio_50hz"),
    MeasuredQuantity("stp_initial_50hz", "1", "dynamics", "stp_initial_50hz"),
)
#: Metrics whose distribution over synapses is lognormal.
AMPLITUDES = ("psp_amplitude", "pulse_amp_90pct", "psc_amplitude")


@dataclass(frozen=True)
class CellGroup:
    """Cells that count as one.

    Attributes:
        sign: of the cells' synapses, "ex" or "in": `cell_class` of the database.
        cre_types: driver lines; None for any.
        layers: None for any.
        layer_by: "target_layer", where the experimenter aimed, known for every cell, or
            "cortical_layer", where histology found it.
    """

    sign: Literal["ex", "in"]
    cre_types: tuple[str, ...] | None = None
    layers: tuple[str, ...] | None = None
    layer_by: Literal["target_layer", "cortical_layer"] = "target_layer"

    def members(self, cells: pd.DataFrame) -> pd.Series:
        """Which rows of table `cell` (with cortical_layer) belong."""
        chosen = cells["cell_class"] == self.sign
        if self.cre_types is not None:
            chosen &= cells["cre_type"].isin(self.cre_types)
        if self.layers is not None:
            chosen &= cells[self.layer_by].isin(self.layers)
        return pd.Series(chosen)


#: The pooled subclasses of tables synaptic_physiology and synaptic_physiology_connectivity.
SUBCLASSES: dict[str, CellGroup] = {
    "pyr": CellGroup("ex"),
    "pvalb": CellGroup("in", ("pvalb",)),
    "sst": CellGroup("in", ("sst",)),
    "vip": CellGroup("in", ("vip",)),
}
LAYERS: dict[str, tuple[str, ...]] = {
    "L1": ("1",),
    "L2/3": ("2", "2/3", "3"),
    "L4": ("4",),
    "L5": ("5",),
    "L6": ("6", "6a", "6b"),
}


def by_layer(groups: Mapping[str, CellGroup] = SUBCLASSES) -> dict[str, CellGroup]:
    """Every group in every layer, called "L4 pvalb" and so on."""
    return {
        f"{layer} {name}": CellGroup(group.sign, group.cre_types, layers, group.layer_by)
        for layer, layers in LAYERS.items()
        for name, group in groups.items()
    }


class SynapticPhysiology:
    """The pairs and synapses of some projects, in memory.

    Attributes:
        cells: table `cell` with cortical_layer, by id.
        pairs: table `pair`.
        synapses: one row per synapse with its pair's cells and every metric under its name.
    """

    def __init__(self, path: Path | str, projects: tuple[str, ...] = MOUSE_V1):
        """Read a database.

        Args:
            path: SQLite file.
            projects: `experiment.project_name` of the experiments to use.

        Raises:
            DataError: the file is no such database, or holds no such experiments.
        """
        path = Path(path)
        uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        try:
            with closing(sqlite3.connect(uri, uri=True)) as database:
                self._read(database, projects)
        except (sqlite3.Error, pd.errors.DatabaseError) as error:
            raise DataError.of(
                "not a synaptic physiology database of schema version 22",
                path,
                error,
                "fetch the file that the manifest allen_synaptic_physiology names",
            ) from None
        if self.pairs.empty:
            raise DataError.of(
                "the database has no pairs of these projects",
                path,
                ", ".join(projects),
                "choose projects that it has (column project_name of table experiment)",
            )

    def _read(self, database: sqlite3.Connection, projects: tuple[str, ...]) -> None:
        marks = ", ".join("?" * len(projects))
        here = (
            "SELECT experiment.id FROM experiment JOIN slice ON experiment.slice_id = slice.id "
            f"WHERE slice.species = 'mouse' AND experiment.project_name IN ({marks})"
        )

        def table(sql: str) -> pd.DataFrame:
            return pd.read_sql_query(sql, database, params=list(projects))

        cells = table(
            "SELECT cell.id, cell.cell_class, cell.cre_type, cell.target_layer, "
            "cortical_cell_location.cortical_layer FROM cell LEFT JOIN cortical_cell_location "
            f"ON cortical_cell_location.cell_id = cell.id WHERE cell.experiment_id IN ({here})"
        )
        self.cells = cells.drop_duplicates("id").set_index("id")
        columns = "id, pre_cell_id, post_cell_id, has_synapse, n_ex_test_spikes, n_in_test_spikes"
        self.pairs = table(
            f"SELECT {columns}, lateral_distance FROM pair WHERE experiment_id IN ({here})"
        )
        values = ", ".join(f"{m.table}.{m.column} AS {m.name}" for m in METRICS + MORE_METRICS)
        self.synapses = table(
            f"SELECT pair.pre_cell_id, pair.post_cell_id, {values} FROM synapse "
            "JOIN pair ON synapse.pair_id = pair.id "
            "LEFT JOIN dynamics ON dynamics.pair_id = pair.id "
            "LEFT JOIN synapse_model ON synapse_model.pair_id = pair.id "
            f"WHERE pair.has_synapse AND pair.experiment_id IN ({here})"
        )

    def _between(
        self, frame: pd.DataFrame, groups: Mapping[str, CellGroup]
    ) -> list[tuple[str, str, pd.DataFrame]]:
        """Rows of pairs or synapses from each group to each, where there are any."""
        of_group = {
            name: self.cells.index[group.members(self.cells)].to_numpy()
            for name, group in groups.items()
        }
        sources = {name: np.isin(frame["pre_cell_id"], cells) for name, cells in of_group.items()}
        targets = {name: np.isin(frame["post_cell_id"], cells) for name, cells in of_group.items()}
        return [
            (pre, post, pd.DataFrame(frame[rows]))
            for pre in groups
            for post in groups
            if (rows := sources[pre] & targets[post]).any()
        ]

    def _probed(
        self, groups: Mapping[str, CellGroup]
    ) -> Iterator[tuple[dict[str, str], np.ndarray, np.ndarray]]:
        """Between each two groups with probed pairs: {pre, post}; per pair, connected, and distance, m."""
        for pre, post, pairs in self._between(self.pairs, groups):
            spikes = pairs[f"n_{groups[pre].sign}_test_spikes"].to_numpy(dtype=float)
            probed = spikes > MIN_TEST_SPIKES
            if probed.any():
                connected = pairs["has_synapse"].to_numpy(dtype=float)[probed] > 0
                distance = pairs["lateral_distance"].to_numpy(dtype=float)[probed]
                yield {"pre": pre, "post": post}, connected, distance

    def connectivity(
        self,
        groups: Mapping[str, CellGroup] = SUBCLASSES,
        sigma: float = SIGMA_M,
        confidence: float = 0.95,
    ) -> pd.DataFrame:
        """Connection probability between groups; pairs of groups that were never probed are left out.

        Args:
            groups: by name.
            sigma: m, of the Gaussian of lateral distance.
            confidence: of the intervals (Clopper-Pearson).

        Returns:
            Columns pre, post, n_probed, n_connected, cp, cp_lo, cp_hi, cp_adj, cp_adj_lo, cp_adj_hi,
            as table synaptic_physiology_connectivity.
        """
        rows = [
            names
            | _probability(connected, confidence)
            | _peak_probability(connected, distance, sigma, confidence)
            for names, connected, distance in self._probed(groups)
        ]
        columns = ["pre", "post", "n_probed", "n_connected", *_PROBABILITIES]
        return pd.DataFrame(rows, columns=columns)

    def connectivity_by_distance(
        self,
        groups: Mapping[str, CellGroup] = SUBCLASSES,
        edges: Sequence[float] = DISTANCES_M,
        confidence: float = 0.95,
    ) -> pd.DataFrame:
        """Connection probability in bins of lateral distance; bins without a probed pair are left out.

        Args:
            groups: by name.
            edges: m, rising. A bin holds distances from its lower edge up to, not with, its upper.
            confidence: of the intervals (Clopper-Pearson).

        Returns:
            Columns pre, post, distance_from, distance_to (m), n_probed, n_connected, cp, cp_lo, cp_hi.
        """
        rows = [
            names
            | {"distance_from": low, "distance_to": high}
            | _probability(connected[inside], confidence)
            for names, connected, distance in self._probed(groups)
            for low, high in pairwise(edges)
            if (inside := (distance >= low) & (distance < high)).any()
        ]
        columns = ["pre", "post", "distance_from", "distance_to", "n_probed", "n_connected"]
        return pd.DataFrame(rows, columns=[*columns, *_PROBABILITIES[:3]])

    def medians(
        self,
        groups: Mapping[str, CellGroup] = SUBCLASSES,
        metrics: tuple[MeasuredQuantity, ...] = METRICS,
    ) -> pd.DataFrame:
        """Median of every metric between groups.

        Returns:
            Columns metric, unit, pre, post, median, n_pairs, as table synaptic_physiology; only where
            there is a synapse with the metric.
        """
        chosen = self._between(self.synapses, groups)
        rows = [
            {"metric": metric.name, "unit": metric.unit, "pre": pre, "post": post}
            | {"median": _median(values), "n_pairs": len(values)}
            for metric in metrics
            for pre, post, synapses in chosen
            if len(values := _present(synapses[metric.name]))
        ]
        columns = ["metric", "unit", "pre", "post", "median", "n_pairs"]
        return pd.DataFrame(rows, columns=columns)

    def lognormal_fits(
        self,
        groups: Mapping[str, CellGroup] = SUBCLASSES,
        metrics: Sequence[str] = AMPLITUDES,
    ) -> pd.DataFrame:
        """Lognormal distributions of metrics' magnitudes between groups, by maximum likelihood.

        Args:
            groups: by name.
            metrics: names of `METRICS` or `MORE_METRICS`.

        Returns:
            Columns metric, unit, pre, post, n, mean, median, std, shape (standard deviation of the
            logarithm, 1), scale (exponential of its mean), in the unit of the metric; shape and scale
            empty below 5 synapses.
        """
        unit = {metric.name: metric.unit for metric in METRICS + MORE_METRICS}
        chosen = self._between(self.synapses, groups)
        rows = []
        for metric in metrics:
            for pre, post, synapses in chosen:
                values = np.abs(_present(synapses[metric]))
                values = values[(values > 0) & np.isfinite(values)]
                if len(values):
                    names = {"metric": metric, "unit": unit[metric], "pre": pre, "post": post}
                    rows.append(names | _lognormal(values))
        columns = ["metric", "unit", "pre", "post", "n", "mean", "median", "std", "shape", "scale"]
        return pd.DataFrame(rows, columns=columns)


def _present(values: Any) -> np.ndarray:
    """Values that are there; an infinite one, such as the logarithm of 0, is."""
    numbers = np.asarray(values, dtype=float)
    return numbers[~np.isnan(numbers)]


def _median(values: np.ndarray) -> float:
    """NaN where it is not finite: table synaptic_physiology has such a row, with its number of pairs."""
    with np.errstate(invalid="ignore"):
        median = float(np.median(values))
    return median if np.isfinite(median) else np.nan


def _lognormal(values: np.ndarray) -> dict[str, float]:
    """Moments of positive values, and shape and scale of their lognormal where there are enough."""
    logs = np.log(values)
    enough = len(values) >= _LEAST_FOR_FIT
    return {
        "n": len(values),
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "std": float(values.std()),
        "shape": float(logs.std()) if enough else np.nan,
        "scale": float(np.exp(logs.mean())) if enough else np.nan,
    }


def _interval(n_connected: int, n_probed: int, confidence: float) -> tuple[float, float]:
    """Clopper-Pearson."""
    tail = (1 - confidence) / 2
    low = stats.beta.ppf(tail, n_connected, n_probed - n_connected + 1) if n_connected else 0.0
    missed = n_probed - n_connected
    high = stats.beta.ppf(1 - tail, n_connected + 1, missed) if missed else 1.0
    return float(low), float(high)


def _probability(connected: np.ndarray, confidence: float) -> dict[str, Any]:
    n, n_connected = len(connected), int(connected.sum())
    low, high = _interval(n_connected, n, confidence)
    counts = {"n_probed": n, "n_connected": n_connected}
    return counts | {"cp": n_connected / n, "cp_lo": low, "cp_hi": high}


def _peak_probability(
    connected: np.ndarray, distance: np.ndarray, sigma: float, confidence: float
) -> dict[str, float]:
    """Probability at distance 0, at most 1; empty where no distance is known."""
    known = np.isfinite(distance)
    names = _PROBABILITIES[3:]
    n, n_connected = int(known.sum()), int(connected[known].sum())
    if n == 0:
        return dict.fromkeys(names, np.nan)
    reach = float(np.exp(-(distance[known] ** 2) / (2 * sigma**2)).mean())
    ends = (n_connected / n, *_interval(n_connected, n, confidence))
    return {name: min(end / reach, 1.0) for name, end in zip(names, ends, strict=True)}
