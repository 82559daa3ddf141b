"""SONATA node sets: named selections of nodes.

A set is a dictionary of conditions that must all hold: an attribute equals a value or is one of a
list, or satisfies an operator ({"$gt": 5}, "$gte", "$lt", "$lte", "$regex"). The keys "population",
"node_id" and "node_ids" (BMTK: "gids") select by population and id. A list of names is the union of
those sets ("compound"). A plain list of integers is a list of node ids.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v1builder.schema.errors import ConfigError, Problem, unknown_name

_COMPARISONS: dict[str, Callable[[NDArray[Any], Any], NDArray[np.bool_]]] = {
    "$gt": lambda values, limit: values > limit,
    "$gte": lambda values, limit: values >= limit,
    "$lt": lambda values, limit: values < limit,
    "$lte": lambda values, limit: values <= limit,
}
_OPERATORS = (*_COMPARISONS, "$regex")
#: Keys of conditions on ids; gids are BMTK's older name.
_IDS = ("node_id", "node_ids", "gids")


def resolve_node_set(
    node_set: Any,
    population: str,
    node_id: NDArray[np.int64],
    attributes: Mapping[str, NDArray[Any]],
    node_sets: Mapping[str, Any] | None = None,
    where: object = "node set",
) -> NDArray[np.int64]:
    """Positions of the nodes of one population that a node set selects.

    Args:
        node_set: a name in `node_sets` (or "all"), a dictionary of conditions, a list of names,
            or a list of node ids.
        population: name of the population to select from.
        node_id: [n] its ids.
        attributes: [n]-arrays by name, types joined.
        node_sets: the named sets of the configuration.
        where: where the set is used, for messages.

    Returns:
        Positions, ascending. Empty when the set is of another population.

    Raises:
        ConfigError: an unknown set, attribute or operator, an id that does not exist, or sets that
            name one another in a circle.
    """
    sets = dict(node_sets or {})
    mask = _mask(node_set, population, node_id, attributes, sets, str(where), ())
    return np.flatnonzero(mask).astype(np.int64)


def _mask(
    node_set: Any,
    population: str,
    node_id: NDArray[np.int64],
    attributes: Mapping[str, NDArray[Any]],
    sets: Mapping[str, Any],
    where: str,
    within: tuple[str, ...],
) -> NDArray[np.bool_]:
    if isinstance(node_set, str):
        if node_set in within:
            raise ConfigError.of(
                "node sets name one another in a circle", where, " -> ".join((*within, node_set))
            )
        if node_set not in sets:
            if node_set == "all":
                return np.ones(len(node_id), dtype=bool)
            if node_set == population:  # BMTK accepts the name of a population
                return np.ones(len(node_id), dtype=bool)
            raise ConfigError([unknown_name("node set", node_set, [*sets, "all"], where)])
        within = (*within, node_set)
        return _mask(sets[node_set], population, node_id, attributes, sets, where, within)
    if isinstance(node_set, list):
        if all(isinstance(item, int) and not isinstance(item, bool) for item in node_set):
            return _by_id(node_set, node_id, where)
        parts = [
            _mask(item, population, node_id, attributes, sets, where, within) for item in node_set
        ]
        return np.logical_or.reduce(parts)
    if not isinstance(node_set, dict):
        raise ConfigError.of(
            "a node set is a name, a list or a dictionary", where, repr(node_set), "correct it"
        )
    conditions = dict(node_set)
    wanted = conditions.pop("population", population)
    wanted = wanted if isinstance(wanted, list) else [wanted]
    if not all(isinstance(name, str) for name in wanted):
        raise ConfigError.of("a population is not a name", where, repr(wanted)[:80], "write a text")
    if population not in wanted:
        return np.zeros(len(node_id), dtype=bool)
    mask = np.ones(len(node_id), dtype=bool)
    for key, condition in conditions.items():
        if key in _IDS:
            ids = condition if isinstance(condition, list) else [condition]
            mask &= _by_id(ids, node_id, where)
        elif key not in attributes:
            raise ConfigError([unknown_name("node attribute", key, attributes, where)])
        else:
            mask &= _condition(attributes[key], condition, f"{where}, attribute {key}")
    return mask


def _by_id(ids: list[Any], node_id: NDArray[np.int64], where: str) -> NDArray[np.bool_]:
    wrong = [item for item in ids if not isinstance(item, int) or isinstance(item, bool)]
    if wrong:
        raise ConfigError.of(
            "a node id is not a whole number", where, repr(wrong[0])[:80], "correct the node set"
        )
    absent = sorted(set(ids) - set(node_id.tolist()))
    if absent:
        has = f"ids {node_id.min()} to {node_id.max()}" if len(node_id) else "no nodes"
        raise ConfigError.of(
            "a node set names a node that does not exist",
            where,
            ", ".join(map(str, absent[:5])),
            f"the population has {has}",
        )
    return np.isin(node_id, ids)


def _condition(values: NDArray[Any], condition: Any, where: str) -> NDArray[np.bool_]:
    if values.ndim != 1:
        raise ConfigError.of("an attribute has several values per node", where)
    if isinstance(condition, dict):
        mask = np.ones(len(values), dtype=bool)
        for operator, operand in condition.items():
            mask &= _operated(values, operator, operand, where)
        return mask
    mask = np.zeros(len(values), dtype=bool)
    for wanted in condition if isinstance(condition, list) else [condition]:
        if not isinstance(wanted, str | int | float):
            raise ConfigError.of(
                "a value is neither a number nor a text", where, repr(wanted)[:80], "correct it"
            )
        if isinstance(wanted, str) == _is_text(values):
            mask |= np.asarray(values == wanted, dtype=bool)
    return mask


def _is_text(values: NDArray[Any]) -> bool:
    return values.dtype.kind in "OUT"


def _operated(values: NDArray[Any], operator: str, operand: Any, where: str) -> NDArray[np.bool_]:
    """Which values satisfy an operator."""
    if operator not in _OPERATORS:
        raise ConfigError([unknown_name("operator", operator, _OPERATORS, where)])
    if operator == "$regex":
        try:
            pattern = re.compile(operand)
        except (re.error, TypeError, RecursionError, OverflowError) as error:
            raise ConfigError.of(
                "this is not a regular expression", where, repr(operand)[:80], str(error)
            ) from None
        return np.array([pattern.fullmatch(str(value)) is not None for value in values], dtype=bool)
    number = isinstance(operand, int | float) and not isinstance(operand, bool)
    if _is_text(values) or not number:
        raise ConfigError.of(
            "only numbers can be compared", f"{where}, operator {operator}", repr(operand)[:80]
        )
    return np.asarray(_COMPARISONS[operator](values, operand), dtype=bool)


def nobody_problem(
    node_set: Any,
    populations: Mapping[str, Mapping[str, NDArray[Any]]],
    node_sets: Mapping[str, Any],
    where: object,
    what: str = "simulated cell",
) -> Problem:
    """The problem of a valid node set that selects nobody, with the nearest thing that would.

    Args:
        node_set: as it is asked for.
        populations: attributes [n] by name, by population that can be selected from.
        node_sets: the named sets.
        where: where the set is used.
        what: what it was to select.
    """
    named = f"node set {node_set!r}"[:200]
    asked = node_set
    for _ in range(len(node_sets) + 1):  # names may name names; circles were refused before
        asked = node_sets.get(asked, asked) if isinstance(asked, str) else asked
    here = f"{where}, {named}"
    conditions = dict(asked) if isinstance(asked, dict) else {}
    wanted = conditions.pop("population", list(populations))
    for name in wanted if isinstance(wanted, list) else [wanted]:
        if name not in populations:
            return unknown_name("population", str(name), populations, here)
    for key, condition in conditions.items():
        found = [own[key] for own in populations.values() if key in own]
        values = list(dict.fromkeys(str(value) for own in found for value in np.unique(own)))
        single = condition if isinstance(condition, list) else [condition]
        if found and not isinstance(condition, dict) and not {str(v) for v in single} & {*values}:
            return unknown_name(key, ", ".join(map(str, single)), values[:30], here)
    return Problem(
        f"the node set selects no {what}",
        here,
        repr(asked)[:200],
        f"choose conditions that nodes of {', '.join(populations)} fulfil together",
    )
