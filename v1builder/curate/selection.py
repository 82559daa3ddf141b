"""Which specimens stand for which V1 population: the selection rule of the Allen V1 model.

For each population, the specimens of the right area and layer whose line, reporter and me-type fit,
that the published model does not exclude, and whose GLIF model explains enough variance of a noise
stimulus that the fit did not see. A population that finds nothing looks in the fallback areas.
On the snapshot this gives the 165 published cell models of which the snapshot has the GLIF parameters.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from v1builder.curate.store import Store
from v1builder.schema.errors import ConfigError, DataError, Problem, raise_if_any, unknown_name
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
        Columns population, specimen_id and area, in the order of the populations table, then by
        specimen. Populations that the rule does not choose are among them where they have a model:
        others may borrow it.

    Raises:
        ConfigError: the rule names an area that no specimen is from.
        DataError: a chosen population lies in a layer, or a specimen fits two populations, of which
            the rule says nothing.
    """
    rule = SelectionRule() if rule is None else rule
    areas = (rule.area, *rule.fallback_areas)
    known = sorted(set(store.specimens["area"]))
    raise_if_any(
        [
            unknown_name("area", area, known, "recipe, selection")
            for area in areas
            if area not in known
        ],
        ConfigError,
    )
    glif = store.glif_models
    level = glif["glif_level"] == rule.glif_level
    # NaN where the level has no such term.
    level &= ~((glif["v_reset_fraction"] < 0) | (glif["v_reset_fraction"] > 1))
    explained = pd.Series(
        glif.set_index("specimen_id")["explained_variance_noise2"][level.to_numpy()]
    )
    specimens = store.specimens.sort_values(by="specimen_id")
    fits = specimens["area"].isin(areas)
    fits &= specimens["excluded_because"].isna()
    explained_by = pd.Series(specimens["specimen_id"]).map(
        explained
    )  # NaN, so no fit, without model
    fits &= explained_by > rule.explained_variance_min
    specimens = pd.DataFrame(specimens[fits])

    parts, problems = [], []
    in_network = rule.chosen(list(store.populations["population"]))
    for population in store.populations.to_dict("records"):
        if population["location"] not in rule.layers:
            if population["population"] not in in_network:
                continue
            problems.append(
                Problem(
                    f"the selection rule names no layer for '{population['location']}'",
                    f"population {population['population']}",
                    ", ".join(rule.layers),
                    "add the location to the rule's layers",
                )
            )
            continue
        found = _members(specimens, population, rule.layers[population["location"]])
        area = next((one for one in areas if one in set(found["area"])), rule.area)
        found = found.loc[found["area"] == area, ["specimen_id", "area"]]
        parts.append(found.assign(population=population["population"]))
    raise_if_any(problems, DataError)
    selected = pd.DataFrame(
        pd.concat(parts, ignore_index=True), columns=["population", "specimen_id", "area"]
    )
    _check_one_population(selected)
    return selected


def _members(
    specimens: pd.DataFrame, population: Mapping[Hashable, Any], layers: tuple[str, ...]
) -> pd.DataFrame:
    """Specimens of all areas whose layer, line, reporter and type are those of a population."""
    chosen = specimens["layer"].isin(layers)
    lines = _words(population["select_cre_lines"])
    if lines:
        line = specimens["transgenic_line"]
        chosen &= pd.Series([any(word in name for word in lines) for name in line], line.index)
    if isinstance(population["select_reporter"], str):
        chosen &= specimens["reporter_status"] == population["select_reporter"]
    types = _words(population["select_me_types"])
    if types:
        chosen &= _matches_type(specimens, types)
    return pd.DataFrame(specimens[chosen])


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
