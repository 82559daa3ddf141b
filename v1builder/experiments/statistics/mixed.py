"""Networks crossed with seeds: the mixed model condition + (condition | network) + (condition | seed).

Effects of a condition may differ between networks and between seeds, so both are units: twenty seeds of two
networks are two networks. Of every condition the paired differences d[network, seed] from the baseline are
the mean effect + one deviation of the network + one of the seed + the rest. Where every network met every
seed, the restricted maximum likelihood of that is the analysis of variance of the table d, truncated at 0
(Searle, Casella & McCulloch 1992, Variance Components, 4.7), and the interval is Student's with
Satterthwaite's degrees of freedom. With one network per seed the two cannot be told apart, and the model
adds nothing to paired differences.

Random intercepts alone, value ~ condition + (1 | network) + (1 | seed), take all differences for replicates:
where effects differ between networks and seeds as much as runs do by chance, 95 % intervals of statsmodels'
`MixedLM` held the truth in 39 to 66 % of simulated tables (3 x 3 to 8 x 6 and 5 x 20 networks x seeds).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

#: What to know of every such model; coverage: `tests/experiments/test_power_and_mixed_model.py`.
LIMITS: Final = (
    "effects may differ between networks and between seeds, and both count as units: with few of either "
    "the intervals are wide (in simulations 95 % intervals held the truth in 94 to 99 % of cases)"
)


@dataclass(frozen=True)
class Effect:
    """Difference of a condition from the baseline.

    Attributes:
        name: of the condition.
        mean: over networks and seeds.
        low, high: its 95 % interval; NaN where all differences are equal, as `p` is.
        p: two-sided, of no difference.
        network_sd, seed_sd: standard deviations of the effect itself between networks, and between seeds.
    """

    name: str
    mean: float
    low: float
    high: float
    p: float
    network_sd: float
    seed_sd: float


@dataclass(frozen=True)
class MixedModel:
    """Effects of conditions, and how far values of the baseline spread.

    Attributes:
        effects: one per condition other than the baseline.
        network_sd: standard deviation of the baseline between networks.
        seed_sd: between seeds.
        residual_sd: of what is left.
    """

    effects: tuple[Effect, ...]
    network_sd: float
    seed_sd: float
    residual_sd: float


@dataclass(frozen=True)
class _Spread:
    """Analysis of variance of a table [network, seed] without replicates.

    Attributes:
        network, seed, rest: mean squares.
        shape: numbers of networks and of seeds.
    """

    network: float
    seed: float
    rest: float
    shape: tuple[int, int]

    @property
    def network_sd(self) -> float:
        return float(np.sqrt(max(0.0, self.network - self.rest) / self.shape[1]))

    @property
    def seed_sd(self) -> float:
        return float(np.sqrt(max(0.0, self.seed - self.rest) / self.shape[0]))

    def of_mean(self) -> tuple[float, float]:
        """Variance of the mean of the table, and its degrees of freedom; (0, NaN) where nothing varies.

        It is network + seed - rest over the number of values; a mean square below that of the rest, whose
        component is 0, stands for the rest (Satterthwaite 1946).
        """
        I, J = self.shape  # noqa: E741
        parts = [
            (square, df)
            for square, df in ((self.network, I - 1), (self.seed, J - 1))
            if square > self.rest
        ]
        if len(parts) != 1:  # the rest is subtracted once of two, and is all there is of none
            parts.append((self.rest * (1 - len(parts)), (I - 1) * (J - 1)))
        total = sum(square for square, _ in parts)
        if not total > 0:
            return 0.0, np.nan
        return total / (I * J), total**2 / sum(square**2 / df for square, df in parts)


def _spread(table: NDArray[np.float64]) -> _Spread:
    I, J = table.shape  # noqa: E741
    of_network, of_seed = table.mean(axis=1), table.mean(axis=0)
    rest = table - of_network[:, None] - of_seed + table.mean()
    return _Spread(
        network=float(J * of_network.var(ddof=1)),
        seed=float(I * of_seed.var(ddof=1)),
        rest=float((rest**2).sum() / ((I - 1) * (J - 1))),
        shape=(I, J),
    )


def crossed(networks: Sequence[object], seeds: Sequence[int]) -> bool:
    """Whether networks are crossed with seeds: several of both, and every network met every seed."""
    pairs = set(zip(networks, seeds, strict=True))
    n_networks, n_seeds = len(set(networks)), len(set(seeds))
    return n_networks > 1 and n_seeds > 1 and len(pairs) == n_networks * n_seeds


def mixed_model(table: pd.DataFrame, baseline: str) -> MixedModel:
    """Effects of all conditions, each from its own differences: spreads may differ between conditions.

    Args:
        table: columns value, condition, network, seed; one row per run, networks crossed with seeds.
        baseline: the condition that the others are compared with.
    """
    by_condition = {
        str(name): own.pivot_table("value", "network", "seed").to_numpy(float)
        for name, own in table.groupby("condition", sort=False)
    }
    base = by_condition.pop(baseline)
    of_base = _spread(base)
    return MixedModel(
        effects=tuple(effect_of(name, values - base) for name, values in by_condition.items()),
        network_sd=of_base.network_sd,
        seed_sd=of_base.seed_sd,
        residual_sd=float(np.sqrt(of_base.rest)),
    )


def effect_of(name: str, differences: NDArray[np.float64]) -> Effect:
    """The effect of a condition from its differences [network, seed] from the baseline."""
    spread, mean = _spread(differences), float(differences.mean())
    variance, df = spread.of_mean()
    half = p = np.nan
    if variance > 0:
        error = float(np.sqrt(variance))
        half = float(stats.t.ppf(0.975, df)) * error
        p = float(2 * stats.t.sf(abs(mean) / error, df))
    return Effect(name, mean, mean - half, mean + half, p, spread.network_sd, spread.seed_sd)
