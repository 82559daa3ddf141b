"""The cell models of each V1 population, in model units, borrowed where a population has none.

A borrowed model keeps the parameters of its specimen and says which population it comes from. Its
background weight is the one tuned for that specimen at home, because the published weights of the
borrowing populations belong to specimens without GLIF parameters in the snapshot.
"""

import numpy as np
import pandas as pd

from v1builder.curate.selection import SelectionRule, select_cell_models
from v1builder.curate.store import Store
from v1builder.schema.errors import ConfigError, DataError, Problem, raise_if_any, unknown_name
from v1builder.schema.names import GLIF_UNITS

_GLIF3 = 3
_PARAMETERS = ("C_m", "g", "E_L", "V_th", "V_reset", "t_ref")
_AFTER_SPIKE = ("asc_amps_0", "asc_amps_1", "asc_decay_0", "asc_decay_1", "asc_r_0", "asc_r_1")
COLUMNS = (
    "population",
    "specimen_id",
    "borrowed_from",
    *_PARAMETERS,
    *_AFTER_SPIKE,
    "bkg_weight",
    "bkg_weight_source",
)


def cell_models(store: Store, rule: SelectionRule | None = None) -> pd.DataFrame:
    """One row per (population, cell model) of the network.

    Args:
        store: the published tables.
        rule: selection and borrowing; None for the published rule.

    Returns:
        Columns population; specimen_id; borrowed_from (population, or "" for its own models);
        C_m (pF), g (nS), E_L, V_th, V_reset (mV), t_ref (ms); asc_amps_0/1 (pA), asc_decay_0/1
        (rates, 1/ms), asc_r_0/1 (1); bkg_weight (pA) and bkg_weight_source: "published",
        "borrowed from <population>" (the specimen's published weight there), or "median of
        <population>" for a specimen that the published model does not have. Rows are in the order of
        the populations table, then in that of the populations borrowed from, then by specimen.

    Raises:
        ConfigError: the rule asks for another level than GLIF3.
        DataError: a population has no cell model, or a model lacks a parameter.
    """
    rule = SelectionRule() if rule is None else rule
    if rule.glif_level != _GLIF3:
        raise ConfigError.of(
            "cell models of this level cannot be made",
            "selection rule, glif_level",
            rule.glif_level,
            "use level 3; select_cell_models takes any level",
        )
    models = _borrow(select_cell_models(store, rule), store, rule)
    models = models.merge(_glif3_parameters(store), on="specimen_id", how="left", validate="m:1")
    models = _with_background_weight(models, store)
    needed = (*_PARAMETERS, *_AFTER_SPIKE, "bkg_weight")
    problems = [
        Problem(
            "a cell model lacks a value",
            f"population {row['population']}, specimen {row['specimen_id']}, GLIF level {_GLIF3}",
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
    parts = []
    for name in names:
        lenders = [name] if name in own else rule.borrow.get(name, ())
        found = [own[lender].assign(borrowed_from=lender) for lender in lenders if lender in own]
        if not found:
            problems.append(
                Problem(
                    f"population '{name}' has no cell model",
                    "selection rule",
                    f"borrows from {', '.join(lenders)}" if lenders else "borrows from none",
                    "loosen the rule, or let it borrow from a population that has models",
                )
            )
            continue
        parts.append(pd.concat(found).assign(population=name))
    raise_if_any(problems, DataError)
    models = pd.concat(parts, ignore_index=True)
    models.loc[models["borrowed_from"] == models["population"], "borrowed_from"] = ""
    return models


def _glif3_parameters(store: Store) -> pd.DataFrame:
    """Parameters of every GLIF3 model under the names that NEST and the SONATA files use."""
    table = store.glif_models[store.glif_models["glif_level"] == _GLIF3]
    columns = {"specimen_id": table["specimen_id"]}
    columns |= {name: table[f"{name}_{GLIF_UNITS[name]}"] for name in _PARAMETERS}
    for k in (0, 1):
        columns[f"asc_amps_{k}"] = table[f"asc_amp_{k}_pA"]
        columns[f"asc_decay_{k}"] = 1 / table[f"asc_tau_{k}_ms"]
        columns[f"asc_r_{k}"] = table[f"asc_r_{k}"]
    return pd.DataFrame(columns)


def _with_background_weight(models: pd.DataFrame, store: Store) -> pd.DataFrame:
    """Add bkg_weight (pA) and bkg_weight_source."""
    published: dict[tuple[str, int], float] = {}
    of_population: dict[str, list[float]] = {}
    for row in store.population_cell_models.to_dict(orient="records"):
        published[row["population"], row["specimen_id"]] = row["bkg_syn_weight_pA"]
        of_population.setdefault(row["population"], []).append(row["bkg_syn_weight_pA"])
    weights, origins = [], []
    for row in models.to_dict(orient="records"):
        home = row["borrowed_from"] or row["population"]
        weight = published.get((home, row["specimen_id"]))
        if weight is None:
            weight, origin = (
                float(np.median(of_population.get(home, [np.nan]))),
                f"median of {home}",
            )
        else:
            origin = f"borrowed from {home}" if row["borrowed_from"] else "published"
        weights.append(weight)
        origins.append(origin)
    return models.assign(bkg_weight=weights, bkg_weight_source=origins)
