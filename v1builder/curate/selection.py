"""Which specimens stand for which V1 population: the selection rule of the Allen V1 model.

For each population, the specimens of the right area and layer whose line, reporter and me-type fit,
that the published model does not exclude, and whose GLIF model explains enough variance of a noise
stimulus that the fit did not see. On the snapshot this gives the 165 published cell models of which
the snapshot has the GLIF parameters.
"""

import pandas as pd

from v1builder.curate.store import Store
from v1builder.schema.errors import DataError, Problem, raise_if_any
from v1builder.schema.recipe import SelectionRule


def _words(cell: str | None) -> list[str]:
    return cell.split(",") if isinstance(cell, str) else []


def _matches_type(specimens: pd.DataFrame, wanted: list[str]) -> pd.Series:
    """Whether a specimen has one of the me-types, or of the e-types if it has no me-type."""
    me_types = [name for name in wanted if name.startswith("M")]
    e_types = [name for name in wanted if name.startswith("E")]
    by_e_type = specimens["e_type"].isin(e_types) & specimens["me_type"].isna()
    return pd.Series(specimens["me_type"].isin(me_types) | by_e_type)


def select_cell_models(store: Store, rule: SelectionRule | None = None) -> pd.DataFrame:
    """Apply the selection rule; nothing is borrowed.

    Args:
        store: the published tables.
        rule: None for the published rule.

    Returns:
        Columns population and specimen_id, in the order of the populations table, then by specimen.

    Raises:
        DataError: a population lies in a layer, or a specimen fits two populations, of which the
            rule says nothing.
    """
    rule = SelectionRule() if rule is None else rule
    glif = store.glif_models
    level = glif["glif_level"] == rule.glif_level
    # NaN where the level has no such term.
    level &= ~((glif["v_reset_fraction"] < 0) | (glif["v_reset_fraction"] > 1))
    explained = pd.Series(
        glif.set_index("specimen_id")["explained_variance_noise2"][level.to_numpy()]
    )
    specimens = store.specimens.sort_values(by="specimen_id")
    fits = specimens["area"] == rule.area
    fits &= specimens["excluded_because"].isna()
    explained_by = pd.Series(specimens["specimen_id"]).map(
        explained
    )  # NaN, so no fit, without model
    fits &= explained_by > rule.explained_variance_min
    specimens = pd.DataFrame(specimens[fits])

    parts, problems = [], []
    for population in store.populations.to_dict("records"):
        if population["location"] not in rule.layers:
            problems.append(
                Problem(
                    f"the selection rule names no layer for '{population['location']}'",
                    f"population {population['population']}",
                    ", ".join(rule.layers),
                    "add the location to the rule's layers",
                )
            )
            continue
        chosen = specimens["layer"].isin(rule.layers[population["location"]])
        lines = _words(population["select_cre_lines"])
        if lines:
            line = specimens["transgenic_line"]
            chosen &= pd.Series([any(word in name for word in lines) for name in line], line.index)
        if isinstance(population["select_reporter"], str):
            chosen &= specimens["reporter_status"] == population["select_reporter"]
        types = _words(population["select_me_types"])
        if types:
            chosen &= _matches_type(specimens, types)
        found = specimens.loc[chosen, ["specimen_id"]]
        parts.append(found.assign(population=population["population"]))
    raise_if_any(problems, DataError)
    selected = pd.DataFrame(
        pd.concat(parts, ignore_index=True), columns=["population", "specimen_id"]
    )
    _check_one_population(selected)
    return selected


def _check_one_population(selected: pd.DataFrame) -> None:
    twice = selected[selected.duplicated("specimen_id", keep=False)]
    problems = [
        Problem(
            "a specimen fits more than one population",
            f"specimen {specimen}",
            ", ".join(rows["population"]),
            "make the selection columns of the populations table exclusive",
        )
        for specimen, rows in twice.groupby("specimen_id")
    ]
    raise_if_any(problems, DataError)
