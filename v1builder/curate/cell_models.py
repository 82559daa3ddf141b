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
    missing = models[models[list(_PARAMETERS + _AFTER_SPIKE)].isna().any(axis=1)]
    raise_if_any(
        [
            Problem(
                "a cell model lacks a parameter",
                f"table glif_models, specimen {row['specimen_id']}, level 3",
                ", ".join(name for name in _PARAMETERS + _AFTER_SPIKE if pd.isna(row[name])),
                "complete the row",
            )
            for row in missing.to_dict("records")
        ],
        DataError,
    )
    return models[list(COLUMNS)]


def _borrow(selected: pd.DataFrame, store: Store, rule: SelectionRule) -> pd.DataFrame:
    """Add borrowed_from, and rows for the populations that selected nothing."""
    names = list(store.populations["population"])
    problems = [
        unknown_name("population", name, names, "selection rule, borrow")
        for name in dict.fromkeys([*rule.borrow, *sum(rule.borrow.values(), ())])
        if name not in names
    ]
    raise_if_any(problems, ConfigError)
    own = {name: rows for name, rows in selected.groupby("population", sort=False)}
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
    units = {"C_m": "pF", "g": "nS", "E_L": "mV", "V_th": "mV", "V_reset": "mV", "t_ref": "ms"}
    columns |= {name: table[f"{name}_{units[name]}"] for name in _PARAMETERS}
    for k in (0, 1):
        columns[f"asc_amps_{k}"] = table[f"asc_amp_{k}_pA"]
        columns[f"asc_decay_{k}"] = 1 / table[f"asc_tau_{k}_ms"]
        columns[f"asc_r_{k}"] = table[f"asc_r_{k}"]
    return pd.DataFrame(columns)


def _with_background_weight(models: pd.DataFrame, store: Store) -> pd.DataFrame:
    """Add bkg_weight (pA) and bkg_weight_source."""
    published = store.population_cell_models
    by_model = published.set_index(["population", "specimen_id"])["bkg_syn_weight_pA"]
    median = published.groupby("population")["bkg_syn_weight_pA"].median()
    borrowed = models["borrowed_from"] != ""
    home = models["borrowed_from"].where(borrowed, models["population"])
    weight = by_model.reindex(pd.MultiIndex.from_arrays([home, models["specimen_id"]])).to_numpy()
    known = np.isfinite(weight)
    source = np.where(borrowed, "borrowed from " + home, "published")
    return models.assign(
        bkg_weight=np.where(known, weight, home.map(median)),
        bkg_weight_source=np.where(known, source, "median of " + home),
    )
