"""A linear mixed model where networks are crossed with seeds: condition + (1 | network) + (1 | seed).

With one network per seed the two cannot be told apart, and the model adds nothing to paired differences.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from statsmodels.regression.mixed_linear_model import MixedLM

#: Holds for every such model: what its random intercepts leave out.
LIMITS = (
    "random intercepts and the normal distribution only: with few networks or seeds, or where the effect "
    "itself differs between networks, these intervals are too narrow"
)


@dataclass(frozen=True)
class Effect:
    """Difference of a condition from the baseline, its 95 % Wald interval and p value."""

    name: str
    mean: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class MixedModel:
    """Fixed effects of conditions and spreads of the random ones.

    Attributes:
        effects: one per condition other than the baseline.
        network_sd: standard deviation between networks.
        seed_sd: standard deviation between seeds.
        residual_sd: of what is left.
        converged: whether the fit did; the numbers are not to be used if not.
    """

    effects: tuple[Effect, ...]
    network_sd: float
    seed_sd: float
    residual_sd: float
    converged: bool


def crossed(networks: Sequence[object], seeds: Sequence[int]) -> bool:
    """Whether networks are crossed with seeds: several of both, and every network met every seed."""
    pairs = set(zip(networks, seeds, strict=True))
    n_networks, n_seeds = len(set(networks)), len(set(seeds))
    return n_networks > 1 and n_seeds > 1 and len(pairs) == n_networks * n_seeds


def mixed_model(table: pd.DataFrame, baseline: str) -> MixedModel:
    """Fit by restricted maximum likelihood (statsmodels MixedLM).

    Args:
        table: columns value, condition, network, seed; one row per run.
        baseline: the condition that the others are compared with.
    """
    others = [str(name) for name in dict.fromkeys(table["condition"]) if name != baseline]
    # Names of conditions hold brackets and commas, which a formula would read: numbers stand for them.
    code = [[baseline, *others].index(name) for name in table["condition"]]
    model = MixedLM.from_formula(
        "value ~ C(code)",
        table.assign(code=code, all_runs=1),
        groups="all_runs",
        re_formula="0",
        vc_formula={"network": "0 + C(network)", "seed": "0 + C(seed)"},
    )
    with warnings.catch_warnings():
        # It warns of the boundary whenever a variance is small beside 1, as those of accuracies are;
        # `converged` says what matters.
        warnings.simplefilter("ignore")
        fit = model.fit(reml=True)
        interval, p = np.asarray(fit.conf_int()), np.asarray(fit.pvalues)
    spread = dict(zip(model.exog_vc.names, np.sqrt(fit.vcomp), strict=True))
    return MixedModel(
        effects=tuple(
            Effect(
                name,
                mean=float(fit.fe_params.iloc[i]),
                low=float(interval[i, 0]),
                high=float(interval[i, 1]),
                p=float(p[i]),
            )
            for i, name in enumerate(others, start=1)
        ),
        network_sd=float(spread["network"]),
        seed_sd=float(spread["seed"]),
        residual_sd=float(np.sqrt(fit.scale)),
        converged=bool(fit.converged),
    )
