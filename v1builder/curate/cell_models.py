"""The cell models of each V1 population, in model units, borrowed where a population has none.

A borrowed model keeps the parameters of its specimen and says which population it comes from. Its
background weight is the one tuned for that specimen at home, because the published weights of the
borrowing populations belong to specimens without GLIF parameters in the snapshot.
"""

import numpy as np
import pandas as pd

from v1builder.curate.selection import select_cell_models
from v1builder.curate.store import Store
from v1builder.schema.errors import ConfigError, DataError, Problem, raise_if_any, unknown_name
from v1builder.schema.parameters import GLIF_UNITS, THRESHOLD_PARAMETERS
from v1builder.schema.recipe import SelectionRule

_PARAMETERS = ("C_m", "g", "E_L", "V_th", "V_reset", "t_ref")
_AFTER_SPIKE = ("asc_amps_0", "asc_amps_1", "asc_decay_0", "asc_decay_1", "asc_r_0", "asc_r_1")
#: Levels with after-spike currents, with reset rules and a spike-dependent threshold, and with a
#: voltage-dependent threshold (Teeter et al. 2018, Nat. Commun. 9:709).
_WITH_CURRENTS = (3, 4, 5)
_WITH_RESET_RULES = (2, 4, 5)
_WITH_VOLTAGE_THRESHOLD = (5,)
_MS_PER_S = 1000.0
COLUMNS = (
    "population",
    "specimen_id",
    "borrowed_from",
    *_PARAMETERS,
    *_AFTER_SPIKE,
    *THRESHOLD_PARAMETERS,
    "bkg_weight",
    "bkg_weight_source",
)


def cell_models(store: Store, rule: SelectionRule | None = None) -> pd.DataFrame:
    """One row per (population, cell model) of the network.

    Args:
        store: the published tables.
        rule: selection and borrowing; None for the published rule.

    Returns:
        Columns population; specimen_id; borrowed_from (population, or fallback area, or "" for its
        own models);
        C_m (pF), g (nS), E_L, V_th, V_reset (mV), t_ref (ms); asc_amps_0/1 (pA), asc_decay_0/1
        (rates, 1/ms), asc_r_0/1 (1); the `THRESHOLD_PARAMETERS`; bkg_weight (pA) and
        bkg_weight_source: "published", "borrowed from <population>" (the specimen's published weight
        there), or "median of <population>" for a specimen that the published model does not have.
        Rows are in the order of the populations table, then in that of the populations borrowed from,
        then by specimen.

    Raises:
        ConfigError: the rule names an unknown population or area.
        DataError: a population of the network has no cell model, or a model lacks a parameter.
    """
    rule = SelectionRule() if rule is None else rule
    models = _borrow(select_cell_models(store, rule), store, rule)
    models = models.merge(
        _glif_parameters(store, rule.glif_level), on="specimen_id", how="left", validate="m:1"
    )
    models = _with_background_weight(models, store)
    needed = (*_PARAMETERS, *_AFTER_SPIKE, *THRESHOLD_PARAMETERS, "bkg_weight")
    problems = [
        Problem(
            "a cell model lacks a value",
            f"population {row['population']}, specimen {row['specimen_id']}, "
            f"GLIF level {rule.glif_level}",
            ", ".join(name for name in needed if pd.isna(row[name])),
            "complete the tables glif_models and population_cell_models",
        )
        for row in models.to_dict(orient="records")
        if any(pd.isna(row[name]) for name in needed)
    ]
    raise_if_any(problems, DataError)
    return pd.DataFrame(models, columns=list(COLUMNS))


def _borrow(selected: pd.DataFrame, store: Store, rule: SelectionRule) -> pd.DataFrame:
    """Add borrowed_from, and rows for the populations that selected nothing."""
    names = list(store.populations["population"])
    problems = [
        unknown_name("population", name, names, "selection rule, borrow")
        for name in dict.fromkeys([*rule.borrow, *sum(rule.borrow.values(), ())])
        if name not in names
    ]
    raise_if_any(problems, ConfigError)
    own = {str(name): rows for name, rows in selected.groupby("population", sort=False)}
    parts, without = [], []
    for name in rule.chosen(names):
        lenders = [name] if name in own else rule.borrow.get(name, ())
        found = [own[lender].assign(borrowed_from=lender) for lender in lenders if lender in own]
        if found:
            parts.append(pd.concat(found).assign(population=name))
        else:
            without.append(f"{name} (borrows from {', '.join(lenders)})" if lenders else name)
    if without:
        raise DataError.of(
            f"{len(without)} populations have no cell model"
            if len(without) > 1
            else "a population has no cell model",
            f"recipe, selection: area {rule.area}, GLIF level {rule.glif_level}, explained variance "
            f"above {rule.explained_variance_min:g}",
            ", ".join(without),
            "lower explained_variance_min, name fallback_areas, let them borrow "
            "(borrow.<population> = [...]), or leave them out (populations = [...])",
        )
    models = pd.concat(parts, ignore_index=True)
    at_home = models["borrowed_from"] == models["population"]
    elsewhere = models["area"] != rule.area
    models.loc[at_home, "borrowed_from"] = models["area"].where(elsewhere, "")
    return models.drop(columns="area")


def _glif_parameters(store: Store, level: int) -> pd.DataFrame:
    """Parameters of every model of a level under the names that NEST and the SONATA files use.

    What the level lacks is zero, or without effect; what it should have and the table lacks is NaN.
    """
    table = store.glif_models[store.glif_models["glif_level"] == level]
    columns = {"specimen_id": table["specimen_id"]}
    columns |= {name: table[f"{name}_{GLIF_UNITS[name]}"] for name in _PARAMETERS}
    has_currents = level in _WITH_CURRENTS
    for k in (0, 1):
        columns[f"asc_amps_{k}"] = table[f"asc_amp_{k}_pA"] if has_currents else 0.0
        columns[f"asc_decay_{k}"] = 1 / table[f"asc_tau_{k}_ms"] if has_currents else 1.0
        columns[f"asc_r_{k}"] = table[f"asc_r_{k}"] if has_currents else 1.0
    columns |= dict.fromkeys(THRESHOLD_PARAMETERS, 0.0)
    if level in _WITH_RESET_RULES:
        columns["V_reset"] = table["E_L_mV"] + table["v_reset_add_mV"]
        columns["voltage_reset_fraction"] = table["v_reset_fraction"]
        columns["th_spike_add"] = table["th_spike_add_mV"]
        columns["th_spike_decay"] = table["th_spike_decay_per_s"] / _MS_PER_S
    if level in _WITH_VOLTAGE_THRESHOLD:
        columns["th_voltage_index"] = table["th_voltage_index_per_s"] / _MS_PER_S
        columns["th_voltage_decay"] = table["th_voltage_decay_per_s"] / _MS_PER_S
    return pd.DataFrame(columns)


def _with_background_weight(models: pd.DataFrame, store: Store) -> pd.DataFrame:
    """Add bkg_weight (pA) and bkg_weight_source."""
    published: dict[tuple[str, int], float] = {}
    of_population: dict[str, list[float]] = {}
    for row in store.population_cell_models.to_dict(orient="records"):
        published[row["population"], row["specimen_id"]] = row["bkg_syn_weight_pA"]
        of_population.setdefault(row["population"], []).append(row["bkg_syn_weight_pA"])
    populations = set(store.populations["population"])  # a lender can be an area, too
    weights, origins = [], []
    for row in models.to_dict(orient="records"):
        lender = row["borrowed_from"]
        home = lender if lender in populations else row["population"]
        weight = published.get((home, row["specimen_id"]))
        if weight is None:
            weight, origin = (
                float(np.median(of_population.get(home, [np.nan]))),
                f"median of {home}",
            )
        else:
            origin = "published" if home == row["population"] else f"borrowed from {home}"
        weights.append(weight)
        origins.append(origin)
    return models.assign(bkg_weight=weights, bkg_weight_source=origins)
