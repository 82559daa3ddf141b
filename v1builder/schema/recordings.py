"""Which recordings stand for a V1 population, and how rates are taken from their quantiles.

A table of recordings (`neuropixels_reference`) has one row per cell type and metric: the number of units and
five quantiles. Between these a distribution is taken as linear, beyond them as held. A table of units
(`neuropixels_units`) has one row per unit; half of them are targets of training, the others are held out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from v1builder.schema.errors import DataError, NetworkError
from v1builder.schema.names import CELL_CLASSES

#: Columns of the reference and the probabilities they stand for.
QUANTILES: Final[dict[str, float]] = {
    "q05": 0.05,
    "q25": 0.25,
    "median": 0.50,
    "q75": 0.75,
    "q95": 0.95,
}
#: What a unit of `neuropixels_units` is for.
TARGET, JUDGE = "target", "judge"
#: With fewer units, five quantiles are noise.
MIN_UNITS: Final = 15

_CLASS_IN_REFERENCE: Final = {
    "Exc": "Exc",
    "Pvalb": "PV",
    "Sst": "SST",
    "Vip": "VIP",
    "Htr3a": "Htr3a",
}
_LAYER_IN_REFERENCE: Final = {"1": "L1", "23": "L2/3", "4": "L4", "5": "L5", "6": "L6"}


def reference_type(population: str) -> str:
    """Name in the reference table of a V1 population, for example "i23Pvalb" -> "L2/3 PV".

    Raises:
        NetworkError: not one of the V1 populations.
    """
    if population not in CELL_CLASSES:
        raise NetworkError.of(
            "no recordings belong to this population",
            "comparison with in vivo data",
            population,
            f"known populations: {', '.join(CELL_CLASSES)}",
        )
    layer = "".join(filter(str.isdigit, population[:3]))
    return f"{_LAYER_IN_REFERENCE[layer]} {_CLASS_IN_REFERENCE[CELL_CLASSES[population]]}"


@dataclass(frozen=True)
class Recorded:
    """The distribution of one metric in one population's recordings.

    Attributes:
        cell_types: rows of the reference it is from: the population's own type, or all of its class.
        n_units: recorded units behind it.
        values: [k] the metric at the probabilities `at`, not decreasing.
        at: [k] ascending.
    """

    cell_types: tuple[str, ...]
    n_units: int
    values: NDArray[np.float64]
    at: NDArray[np.float64]

    def sample(self, n: int) -> NDArray[np.float64]:
        """[n] values at the quantiles (i + 1/2) / n, ascending."""
        return np.interp((np.arange(n) + 0.5) / n, self.at, self.values)


def recorded(reference: pd.DataFrame, population: str, metric: str) -> Recorded:
    """The recordings that stand for a population.

    Those of its own layer and class; where there are none, or fewer than `MIN_UNITS` units, those of its
    class in all layers, every layer weighted by its number of units.

    Args:
        reference: columns cell_type, metric, n_units and `QUANTILES`.
        population: of V1, for example "i23Vip".
        metric: for example "spontaneous_rate_Hz".

    Raises:
        NetworkError: not one of the V1 populations.
        DataError: no layer has recordings of its class.
    """
    own = reference_type(population)
    known = pd.DataFrame(reference[reference["metric"] == metric])
    chosen = known[_standing_for(own, known["cell_type"], known["n_units"])]
    rows = pd.DataFrame(chosen).to_dict("records")
    if not rows:
        raise DataError.of(
            f"no layer has recordings of the class of population {population}",
            f"table neuropixels_reference, metric {metric}",
            own,
            "add its row",
        )
    at = np.array(list(QUANTILES.values()))
    layers = [
        Recorded((str(row["cell_type"]),), int(row["n_units"]), _quantiles(row), at) for row in rows
    ]
    if len(layers) == 1:
        return layers[0]
    values = np.concatenate([layer.sample(layer.n_units) for layer in layers])
    return _pooled([layer.cell_types[0] for layer in layers], values)


def recorded_units(units: pd.DataFrame, population: str, metric: str) -> Recorded:
    """The distribution over units that stands for a population; chosen and pooled as in `recorded`.

    Args:
        units: columns cell_type and `metric` (NaN where a unit has none).
        population: of V1.
        metric: for example "osi".

    Raises:
        NetworkError: not one of the V1 populations.
        DataError: no layer has units of its class.
    """
    own = reference_type(population)
    known = pd.DataFrame(units[units[metric].notna()])
    rows = pd.DataFrame(known[_standing_for(own, known["cell_type"], np.ones(len(known)))])
    if rows.empty:
        raise DataError.of(
            f"no layer has units of the class of population {population}",
            f"table neuropixels_units, column {metric}",
            own,
            "add some",
        )
    return _pooled(rows["cell_type"], rows[metric].to_numpy(np.float64))


def _standing_for(own: str, cell_types: Iterable[str], n_units: ArrayLike) -> NDArray[np.bool_]:
    """[k] which rows stand for a type: its own, or with too few units in these all of its class."""
    names = [str(name) for name in cell_types]
    of_type = np.array([name == own for name in names], bool)
    if np.asarray(n_units)[of_type].sum() >= MIN_UNITS:
        return of_type
    return np.array([name.split(" ")[-1] == own.split(" ")[-1] for name in names], bool)


def _pooled(cell_types: Iterable[str], values: NDArray[np.float64]) -> Recorded:
    """The distribution of single values, whichever type they are of."""
    at = (np.arange(len(values)) + 0.5) / len(values)
    types = tuple(dict.fromkeys(str(name) for name in cell_types))
    return Recorded(types, len(values), np.sort(values), at)


def _quantiles(row: dict) -> NDArray[np.float64]:
    return np.array([row[name] for name in QUANTILES], dtype=np.float64)
