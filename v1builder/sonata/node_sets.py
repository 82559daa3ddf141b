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

from v1builder.schema.errors import ConfigError, unknown_name

_OPERATORS: dict[str, Callable[[NDArray[Any], Any], NDArray[np.bool_]]] = {
    "$gt": lambda values, limit: values > limit,
    "$gte": lambda values, limit: values >= limit,
    "$lt": lambda values, limit: values < limit,
    "$lte": lambda values, limit: values <= limit,
    "$regex": lambda values, pattern: np.array(
        [re.fullmatch(pattern, str(value)) is not None for value in values], dtype=bool
    ),
}


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
        if all(isinstance(item, int) for item in node_set):
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
    if population not in (wanted if isinstance(wanted, list) else [wanted]):
        return np.zeros(len(node_id), dtype=bool)
    mask = np.ones(len(node_id), dtype=bool)
    for key, condition in conditions.items():
        if key in ("node_id", "node_ids", "gids"):
            ids = condition if isinstance(condition, list) else [condition]
            mask &= _by_id(ids, node_id, where)
        elif key not in attributes:
            raise ConfigError([unknown_name("node attribute", key, attributes, where)])
        else:
            mask &= _condition(attributes[key], condition, f"{where}, attribute {key}")
    return mask


def _by_id(ids: list[int], node_id: NDArray[np.int64], where: str) -> NDArray[np.bool_]:
    absent = sorted(set(ids) - set(node_id.tolist()))
    if absent:
        raise ConfigError.of(
            "a node set names a node that does not exist",
            where,
            ", ".join(map(str, absent[:5])),
            f"the population has ids {node_id.min()} to {node_id.max()}",
        )
    return np.isin(node_id, ids)


def _condition(values: NDArray[Any], condition: Any, where: str) -> NDArray[np.bool_]:
    if isinstance(condition, list):
        return np.isin(values.astype(str) if values.dtype == object else values, condition)
    if not isinstance(condition, dict):
        return np.asarray(values == condition, dtype=bool)
    mask = np.ones(len(values), dtype=bool)
    for operator, operand in condition.items():
        if operator not in _OPERATORS:
            raise ConfigError([unknown_name("operator", operator, _OPERATORS, where)])
        mask &= np.asarray(_OPERATORS[operator](values, operand), dtype=bool)
    return mask
