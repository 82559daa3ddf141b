"""Which part of the diversity of cells matters: Shapley values from sampled orders.

The parts (`ablations.coalition.PARTS`: every aspect, within and between populations) enter one after
another in a random order; what the outcome gains when a part enters is its contribution in that order. The
mean over orders is its Shapley value (Castro et al. 2009): the values of all parts add up to the outcome of
the intact network minus that of the mean cells, whatever the orders.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from v1builder.experiments.ablations.coalition import PARTS, Coalition
from v1builder.experiments.statistics.paired import mean_interval, t_interval
from v1builder.schema.errors import ConfigError

_INTACT = "intact"


def _name(kept: Sequence[str]) -> str:
    if len(kept) == len(PARTS):
        return _INTACT
    return Coalition(" + ".join(kept) or "none").name


def orders(n_orders: int, seed: int) -> list[tuple[str, ...]]:
    """Random orders of the parts; each is followed by its reverse, which halves the variance or better."""
    generator = np.random.default_rng(seed)
    found: list[tuple[str, ...]] = []
    while len(found) < n_orders:
        order = tuple(PARTS[i] for i in generator.permutation(len(PARTS)))
        found += [order, order[::-1]]
    return found[:n_orders]


def coalitions(n_orders: int, seed: int) -> tuple[str, ...]:
    """Names of the ablations whose outcomes `shapley_values` needs, each once, "intact" first."""
    names = [_name(order[:n]) for order in orders(n_orders, seed) for n in range(len(PARTS) + 1)]
    return tuple(dict.fromkeys([_INTACT, *names]))


@dataclass(frozen=True)
class ShapleyValue:
    """What one part contributes to an outcome.

    Attributes:
        part: one of `PARTS`.
        mean: over seeds.
        low, high: ends of the 95 % interval over seeds (BCa bootstrap), NaN for one seed.
        t_low, t_high: the same by Student's t.
        per_seed: value of every seed.
    """

    part: str
    mean: float
    low: float
    high: float
    t_low: float
    t_high: float
    per_seed: tuple[float, ...]


def shapley_values(
    outcomes: Mapping[str, Sequence[float]], n_orders: int, seed: int
) -> list[ShapleyValue]:
    """The Shapley value of every part.

    Args:
        outcomes: [n_seeds] outcome by name of the ablation, at least those of `coalitions`; seeds in one
            order.
        n_orders: as given to `coalitions`.
        seed: as given to `coalitions`.

    Raises:
        ConfigError: an outcome is missing.
    """
    missing = [name for name in coalitions(n_orders, seed) if name not in outcomes]
    if missing:
        raise ConfigError.of(
            "outcomes of coalitions are missing",
            "shapley_values",
            f"{len(missing)}, first: {missing[0]}",
            "compare all of `coalitions(n_orders, seed)`",
        )
    contributions: dict[str, list[np.ndarray]] = {part: [] for part in PARTS}
    for order in orders(n_orders, seed):
        before = np.asarray(outcomes[_name(())], np.float64)
        for n, part in enumerate(order, start=1):
            after = np.asarray(outcomes[_name(order[:n])], np.float64)
            contributions[part].append(after - before)
            before = after
    values = []
    for part, gains in contributions.items():
        per_seed = np.mean(gains, axis=0)
        estimate = mean_interval(per_seed, seed=0)
        t_low, t_high = t_interval(per_seed)
        values.append(
            ShapleyValue(
                part,
                estimate.mean,
                estimate.low,
                estimate.high,
                t_low,
                t_high,
                tuple(per_seed.tolist()),
            )
        )
    return values
