"""Which cells a layer has: drawn from the Allen data, their mean, or given as a table.

| cells | what they are |
|---|---|
| "allen:VISp" | whole cell models drawn from an area: spread and covariance of the data |
| "random", "random:VISl" | every aspect of a cell drawn on its own: the spread of the data, no covariance |
| "mean", "mean:VISl" | the mean cell of the area, many times: homogeneous |
| a DataFrame | one row per cell model, see `from_table` |
| a `GroupedValues` | membranes as they are, for example what another layer has learned |

Populations of an area are drawn in proportion to their cells in the column (column `share`), cell models of
a population alike. Means, and what is drawn on its own, are those of `load.coordinates`: tau_m = C_m/g
instead of C_m, the charge of an after-spike current instead of its amplitude, positive ones as logarithms.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.curate import SelectionRule, Store, cell_models, read_store, select_cell_models
from v1builder.layers.checks import is_number
from v1builder.load.coordinates import ASPECTS, BACKGROUND, from_theta, to_theta
from v1builder.load.network import GroupedValues
from v1builder.schema.errors import ConfigError, Problem, raise_if_any, unknown_name
from v1builder.schema.parameters import ASC_FILL, THRESHOLD_PARAMETERS

Cells = str | pd.DataFrame | GroupedValues

#: Ways to draw cells of an area, by name.
DRAWS: Final = ("allen", "random", "mean")
#: GLIF levels with after-spike currents, with reset rules and a threshold that spikes raise, and with a
#: threshold that follows the voltage (Teeter et al. 2018, Nat. Commun. 9:709).
_WITH_CURRENTS: Final = (3, 4, 5)
_WITH_RESET_RULES: Final = (2, 4, 5)
_WITH_VOLTAGE_THRESHOLD: Final = (5,)

_MEMBRANE: Final = ("C_m", "g", "E_L", "V_th", "V_reset", "t_ref")
_WHERE: Final = "layer, cells"


@dataclass(frozen=True)
class DrawnCells:
    """The cells of a layer.

    Attributes:
        membrane: their parameters; rows are the cell models.
        population: [n] name of each cell's population.
        ei: [n] "e" or "i"; "" where nobody said.
    """

    membrane: GroupedValues
    population: NDArray[np.object_]
    ei: NDArray[np.object_]


def allen_cells(
    area: str = "VISp",
    level: int = 3,
    *,
    explained_variance_min: float = 0.7,
    store: Store | None = None,
) -> pd.DataFrame:
    """Cell models of an area, as a table that a layer takes (after any change you like).

    Args:
        area: of the specimens.
        level: GLIF level.
        explained_variance_min: as of `schema.recipe.SelectionRule`.
        store: published tables; those shipped with the package unless given.

    Returns:
        One row per cell model: specimen_id, population, ei, share (chance to be drawn), and the parameters
        under NEST's names (C_m pF, g nS, E_L, V_th, V_reset mV, t_ref ms, asc_amps_0 pA, asc_decay_0 1/ms
        ...).

    Raises:
        ConfigError: the area is unknown, or has no cell of this level.
    """
    if level not in range(1, 6):
        raise ConfigError.of("the GLIF level must be 1, 2, 3, 4 or 5", "layer, level", level)
    store = embedded_store() if store is None else store
    if not (is_number(explained_variance_min) and 0 <= explained_variance_min <= 1):
        got, fix = explained_variance_min, "give a part of the variance, such as 0.7"
        raise ConfigError.of("explained_variance_min must be from 0 to 1", _WHERE, got, fix)
    known = sorted(set(store.specimens["area"]))
    if area not in known:
        raise ConfigError([unknown_name("area", str(area), known, _WHERE)])
    rule = SelectionRule(area=area, glif_level=level, explained_variance_min=explained_variance_min)
    found = tuple(dict.fromkeys(select_cell_models(store, rule)["population"]))
    if not found:
        raise ConfigError.of(
            f"area {area} has no cell model of GLIF level {level}",
            _WHERE,
            f"no specimen whose model explains more than {explained_variance_min:g} of the variance",
            "choose another area or level, or allen_cells(explained_variance_min=...)",
        )
    models = cell_models(store, rule.model_copy(update={"populations": found}))
    names = store.populations["population"]
    ei_of = dict(zip(names, store.populations["ei"], strict=True))
    size_of = dict(zip(names, store.populations["n_cells_radius_400um"], strict=True))
    models = models.drop(columns=["borrowed_from", "bkg_weight", "bkg_weight_source"])
    population = models["population"]
    n_models = population.value_counts()
    share = np.array([size_of[name] / n_models[name] for name in population])
    return models.assign(ei=[ei_of[name] for name in population], share=share / share.sum())


@cache
def embedded_store() -> Store:
    """The tables shipped with the package."""
    return read_store()


def draw_cells(cells: Cells, n: int, level: int, rng: np.random.Generator) -> DrawnCells:
    """The cells of a layer.

    Args:
        cells: see above.
        n: how many.
        level: GLIF level: what cells have beyond it is left out.
        rng: for draws.

    Raises:
        ConfigError: an unknown name, or data that lacks what the level needs.
    """
    if isinstance(cells, str):
        return _named(cells, n, level, rng)
    if isinstance(cells, GroupedValues):
        membrane = _of_level(cells, level)
        order = np.arange(n)
        if len(membrane.group_of) != n:
            order = rng.choice(len(membrane.group_of), n)
        drawn = _rows(membrane.values, membrane.group_of[order], membrane.labels)
        return DrawnCells(drawn, np.full(n, "cells", object), np.full(n, "", object))
    if isinstance(cells, pd.DataFrame):
        return _drawn(cells, n, level, rng)
    raise ConfigError.of(
        "the cells are neither a name, a table, nor GroupedValues",
        _WHERE,
        type(cells).__name__,
        "give for example 'allen:VISp' or a pandas DataFrame",
    )


def _named(name: str, n: int, level: int, rng: np.random.Generator) -> DrawnCells:
    how, _, area = name.partition(":")
    if how not in DRAWS:
        raise ConfigError([unknown_name("kind of cells", how, DRAWS, _WHERE)])
    table = allen_cells(area or "VISp", level)
    if how == "allen":
        return _drawn(table, n, level, rng)
    membrane, share = from_table(table, level), _shares(table)
    theta, space = to_theta(membrane)
    if how == "mean":
        points, group_of = share @ theta, np.zeros(n, dtype=np.int64)
        points = points[None]
    else:
        points, group_of = np.empty((n, theta.shape[1])), np.arange(n)
        for columns in _aspects():
            mine = space.of(columns)
            points[:, mine] = theta[rng.choice(len(theta), n, p=share)][:, mine]
    values, _ = from_theta(points, space)
    labels = tuple(f"{how} {row}" for row in range(len(points)))
    whole = np.full(n, how, object)
    return DrawnCells(GroupedValues(values, group_of, labels), whole, np.full(n, "", object))


def _aspects() -> list[tuple[str, ...]]:
    """Coordinates that are drawn together."""
    return [columns for name, columns in ASPECTS.items() if name != BACKGROUND] + [("E_L",)]


def _drawn(table: pd.DataFrame, n: int, level: int, rng: np.random.Generator) -> DrawnCells:
    """Rows of a table: as they are where there are as many as cells and no `share`, else drawn."""
    membrane = from_table(table, level)
    if len(table) == n and "share" not in table:
        chosen = np.arange(n)
    else:
        chosen = rng.choice(len(table), n, p=_shares(table))
    drawn = _rows(membrane.values, chosen, membrane.labels)
    columns = {}
    for name, fill in (("population", "cells"), ("ei", "")):
        given = table[name] if name in table else pd.Series(fill, index=table.index)
        columns[name] = given.astype(str).to_numpy(dtype=object)[chosen]
    return DrawnCells(drawn, **columns)


def _shares(table: pd.DataFrame) -> NDArray[np.float64]:
    share = np.asarray(table.get("share", np.ones(len(table))), dtype=np.float64)
    if not ((share >= 0) & np.isfinite(share)).all() or not share.sum() > 0:
        raise ConfigError.of(
            "the shares of cell models must be numbers from 0 up",
            f"{_WHERE}, column share",
            fix="correct the column, or leave it out",
        )
    return share / share.sum()


def _rows(
    values: dict[str, NDArray[np.float64]], chosen: NDArray[np.integer], labels: tuple[str, ...]
) -> GroupedValues:
    """Those cell models that are in use."""
    used, group_of = np.unique(chosen, return_inverse=True)
    kept = {name: column[used] for name, column in values.items()}
    return GroupedValues(kept, group_of.reshape(-1), tuple(labels[row] for row in used))


def from_table(table: pd.DataFrame, level: int) -> GroupedValues:
    """The cell models of a table, one row each, as far as their level goes.

    Args:
        table: columns C_m (pF), g (nS), V_th, E_L, V_reset (mV), t_ref (ms); of levels 3, 4 and 5
            asc_amps_0 (pA), asc_decay_0 (1/ms), asc_r_0 (1 unless given), then _1 and so on; of levels 2, 4
            and 5 th_spike_add (mV), th_spike_decay (1/ms), voltage_reset_fraction; of level 5
            th_voltage_index and th_voltage_decay (1/ms). Others are left alone.
        level: GLIF level.

    Raises:
        ConfigError: listing every column that is missing or has a value that is not a number.
    """
    needed = [*_MEMBRANE]
    n_currents = 0
    if level in _WITH_CURRENTS:
        while f"asc_amps_{n_currents}" in table:
            n_currents += 1
        currents = range(max(n_currents, 1))
        needed += [f"{name}_{k}" for name in ("asc_amps", "asc_decay") for k in currents]
    threshold = _threshold_names(level)
    needed += threshold
    problems = []
    for name in needed:
        if name not in table:
            fix = f"add the column, or choose a level below {level}"
            problems.append(
                Problem(f"cells of GLIF level {level} need '{name}'", _WHERE, "no such column", fix)
            )
        elif not np.isfinite(pd.to_numeric(table[name], errors="coerce")).all():
            problems.append(Problem(f"'{name}' is not a number everywhere", _WHERE))
    if not len(table):
        problems.append(Problem("the table of cells is empty", _WHERE))
    raise_if_any(problems, ConfigError)
    raise_if_any(_impossible(table, n_currents), ConfigError)

    def column(name: str) -> NDArray[np.float64]:
        return table[name].to_numpy(dtype=np.float64)

    def currents_of(name: str) -> NDArray[np.float64]:
        given = [
            column(f"{name}_{k}") if f"{name}_{k}" in table else np.full(len(table), ASC_FILL[name])
            for k in range(n_currents)
        ] or [np.full(len(table), ASC_FILL[name])]
        return np.stack(given, axis=1)

    values = {name: column(name) for name in _MEMBRANE}
    values |= {name: currents_of(name) for name in ("asc_amps", "asc_decay", "asc_r")}
    silent = np.zeros(len(table))
    values |= {name: column(name) if name in threshold else silent for name in THRESHOLD_PARAMETERS}
    ids = table["specimen_id"] if "specimen_id" in table else range(len(table))
    labels = tuple(str(one) for one in ids)
    return GroupedValues(values, np.arange(len(table)), labels)


def _impossible(table: pd.DataFrame, n_currents: int) -> list[Problem]:
    """One problem for every column that no cell can have, with how many rows are so."""
    columns = {str(name): table[name].to_numpy() for name in table}
    positive = ["C_m", "g", *(f"asc_decay_{k}" for k in range(n_currents))]
    found = [(name, "must be positive", columns[name] <= 0) for name in positive]
    found += [
        ("V_th", "must lie above E_L", columns["V_th"] <= columns["E_L"]),
        ("t_ref", "must not be negative", columns["t_ref"] < 0),
    ]
    return [
        Problem(f"{name} {rule}", _WHERE, f"{np.sum(wrong)} of {len(table)} cell models")
        for name, rule, wrong in found
        if np.any(wrong)
    ]


def _threshold_names(level: int) -> list[str]:
    """Those of `THRESHOLD_PARAMETERS` that cells of a level have."""
    follows = ("th_voltage_index", "th_voltage_decay")
    return [
        name
        for name in THRESHOLD_PARAMETERS
        if level in (_WITH_VOLTAGE_THRESHOLD if name in follows else _WITH_RESET_RULES)
    ]


def _of_level(membrane: GroupedValues, level: int) -> GroupedValues:
    """Membranes without what the level lacks."""
    needed = [*_MEMBRANE, "asc_amps", "asc_decay", "asc_r", *THRESHOLD_PARAMETERS]
    problems = [
        Problem(f"cells of GLIF level {level} need '{name}'", _WHERE, ", ".join(membrane.values))
        for name in needed
        if name not in membrane.values
    ]
    raise_if_any(problems, ConfigError)
    values = {name: membrane.values[name] for name in needed}
    if level not in _WITH_CURRENTS:
        values |= {name: np.full_like(values[name], ASC_FILL[name]) for name in ASC_FILL}
    kept = _threshold_names(level)
    values |= {name: 0 * values[name] for name in THRESHOLD_PARAMETERS if name not in kept}
    return GroupedValues(values, membrane.group_of, membrane.labels)
