"""How well the change of a metric says how an outcome changes: over conditions, within them, out of sample.

All changes are paired: those of a condition from the intact network of the same seed. Three questions, each
with its own trap:

- *Over conditions* the slope is that of their means. Conditions are the units here, not runs: twenty seeds of
  one ablation say one thing about ablations. So conditions are a random effect, and the interval is that of
  Student's t with two degrees of freedom fewer than there are conditions.
- *Within a condition* runs differ by chance alone. If a metric carries an effect (mediation), then its chance
  differences carry some of the outcome's, with the same slope. A metric that only follows the ablation has
  none; nor has one that is measured with much noise, so its absence proves nothing.
- *Out of sample* the slope of a half of the conditions predicts the others.
"""

import itertools
import math
import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.regression.mixed_linear_model import MixedLM

Array = NDArray[np.float64]

#: Conditions that a slope over conditions needs, and those that a prediction of their half needs.
CONDITIONS_MIN: Final = 4
HALVES_MIN: Final = 6
SEEDS_MIN: Final = 3
_SPLITS: Final = 200
_RESAMPLES: Final = 400
_DRAWS: Final = 10_000


@dataclass(frozen=True)
class Slope:
    """Change of the outcome per change of the metric.

    Attributes:
        mean, low, high: with its 95 % interval, NaN where there is none.
        p: two-sided, of no slope.
        note: why there is none, or "".
    """

    mean: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan
    note: str = ""


@dataclass(frozen=True)
class Prediction:
    """R^2 of conditions that were not fitted; with its 95 % bootstrap interval over seeds."""

    r2: float = np.nan
    low: float = np.nan
    high: float = np.nan
    n_splits: int = 0
    note: str = ""


@dataclass(frozen=True)
class Mediated:
    """What of the effect of a condition goes through the metric (Imai et al. 2010)."""

    condition: str
    total: float
    indirect: float
    low: float
    high: float


def slopes(changes: pd.DataFrame) -> tuple[Slope, Slope]:
    """Slopes over conditions and within them, of a mixed model with random conditions and seeds.

    Where conditions have the same seeds, the slope over conditions of that model is the line through their
    means, with Student's t. It is computed so, since statsmodels' `MixedLM` stops short of a variance between
    conditions that is large beside the residual one, which halves its standard error. The slope within
    conditions is that of `MixedLM`.

    Args:
        changes: columns condition, seed, metric, outcome: paired changes, finite.

    Returns:
        Over conditions (of their means), within conditions (of the deviations from these).
    """
    of_condition = changes.groupby("condition")
    n_conditions, n_seeds = of_condition.ngroups, len(set(changes["seed"]))
    note = too_few(n_conditions, n_seeds, CONDITIONS_MIN)
    means: Array = np.asarray(of_condition[["metric", "outcome"]].mean(), float)
    if not note and not (np.ptp(means, axis=0) > 0).all():
        note = "neither metric nor outcome may be the same in all conditions"
    if note:
        return Slope(note=note), Slope(note=note)
    fit = OLS(means[:, 1], np.column_stack([np.ones(n_conditions), means[:, 0]])).fit()
    over = _slope(float(fit.params[1]), float(fit.bse[1]), n_conditions - 2)
    return over, _within(changes, of_condition["metric"].transform("mean").to_numpy(float))


def _within(changes: pd.DataFrame, over: Array) -> Slope:
    """The slope of the deviations from the means of conditions, `over`."""
    own = changes["metric"].to_numpy(float) - over
    scale, size = (float(np.std(changes[name], ddof=1)) for name in ("metric", "outcome"))
    if not np.ptp(own) > 1e-9 * scale:
        return Slope(note="the metric does not vary within conditions")
    code, _ = pd.factorize(changes["condition"])  # names hold brackets, which a formula would read
    table = pd.DataFrame(
        {
            "y": changes["outcome"].to_numpy(float) / size,
            "over": over / scale,
            "own": own / scale,
            "condition": code,
            "seed": changes["seed"].to_numpy(),
            "every": 1,
        }
    )
    model = MixedLM.from_formula(
        "y ~ over + own",
        table,
        groups="every",
        re_formula="0",
        vc_formula={"condition": "0 + C(condition)", "seed": "0 + C(seed)"},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the boundary, where a variance is 0: as it may be
        fit = model.fit(reml=True)
        se = float(fit.bse_fe["own"])  # of a perfect fit NaN, and a warning
    df = len(table) - len(set(code)) - len(set(changes["seed"])) - 1
    unit = size / scale
    return _slope(float(fit.fe_params["own"]) * unit, se * unit, df)


def _slope(mean: float, se: float, df: int) -> Slope:
    """With Student's interval."""
    if not (math.isfinite(se) and se >= 0 and df > 0):
        return Slope(note="the model cannot be fitted to these runs")
    half = float(stats.t.ppf(0.975, df)) * se
    p = float(2 * stats.t.sf(abs(mean / se), df)) if se > 0 else 0.0
    return Slope(mean, mean - half, mean + half, p)


def too_few(n_conditions: int, n_seeds: int, conditions_min: int) -> str:
    """Why nothing can be said of so few, or ""."""
    if n_conditions < conditions_min:
        return f"{n_conditions} conditions with both values, fewer than {conditions_min}"
    if n_seeds < SEEDS_MIN:
        return f"{n_seeds} seeds with both values, fewer than {SEEDS_MIN}"
    return ""


def predicted_halves(changes: pd.DataFrame, *, seed: int) -> Prediction:
    """Fit means of one half of the conditions by a line, predict those of the other, many times.

    R^2 is 1 - sum of squared errors / sum of squared distances from the mean of the *fitted* half, over all
    splits; it is negative where the metric predicts worse than that mean.

    Args:
        changes: as of `slopes`.
        seed: of splits and resampling.
    """
    metric = changes.pivot_table(index="condition", columns="seed", values="metric")
    outcome = changes.pivot_table(index="condition", columns="seed", values="outcome")
    n_conditions, n_seeds = metric.shape
    note = too_few(n_conditions, n_seeds, HALVES_MIN)
    if note:
        return Prediction(note=note)
    rng = np.random.default_rng(seed)
    fitted = _halves(n_conditions, rng)
    x, y = metric.to_numpy(float), outcome.to_numpy(float)
    r2 = _r2(np.nanmean(x, axis=1), np.nanmean(y, axis=1), fitted)
    resampled = []
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", RuntimeWarning
        )  # a condition without any of the drawn seeds
        for _ in range(_RESAMPLES):
            drawn = rng.integers(n_seeds, size=n_seeds)
            means = np.nanmean(x[:, drawn], axis=1), np.nanmean(y[:, drawn], axis=1)
            if np.isfinite(means).all():
                resampled.append(_r2(*means, fitted))
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Prediction(r2, float(low), float(high), len(fitted))


def _halves(n: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """[split, n] which are fitted: every half, or as many random ones."""
    size = n // 2
    if math.comb(n, size) <= _SPLITS:
        chosen = np.array(list(itertools.combinations(range(n), size)))
    else:
        chosen = np.array([rng.permutation(n)[:size] for _ in range(_SPLITS)])
    fitted = np.zeros((len(chosen), n), bool)
    np.put_along_axis(fitted, chosen, True, axis=1)
    return fitted


def _r2(x: Array, y: Array, fitted: NDArray[np.bool_]) -> float:
    weight = fitted / fitted.sum(axis=1, keepdims=True)
    mean_x, mean_y = weight @ x, weight @ y
    dx, dy = x - mean_x[:, None], y - mean_y[:, None]
    variance = (weight * dx**2).sum(axis=1)
    covariance = (weight * dx * dy).sum(axis=1)
    slope = np.divide(covariance, variance, out=np.zeros_like(variance), where=variance > 0)
    error = np.where(fitted, 0, dy - slope[:, None] * dx)
    total = np.where(fitted, 0, dy)
    return float(1 - (error**2).sum() / (total**2).sum())


def mediation(runs: pd.DataFrame, baseline: str, *, seed: int) -> list[Mediated]:
    """The indirect effect of every condition, with one slope within conditions for all of them.

    Linear models of outcome and metric on conditions and seeds (statsmodels `OLS`). The interval simulates
    the parameters, as statsmodels' parametric `Mediation` does, whose models need not be linear: it takes
    seconds for a condition, and the same number comes out.

    Args:
        runs: columns condition, seed, metric, outcome: values of runs, finite, with those of the baseline.
        baseline: condition that the others are compared with.
        seed: of the simulated parameters.
    """
    others = [name for name in dict.fromkeys(runs["condition"]) if name != baseline]
    conditions = np.stack([(runs["condition"] == name).to_numpy(float) for name in others], axis=1)
    seeds = pd.get_dummies(runs["seed"]).to_numpy(float)
    metric, outcome = (runs[name].to_numpy(float) for name in ("metric", "outcome"))
    given = np.column_stack([conditions, seeds])
    if len(runs) <= given.shape[1] + 1 or np.linalg.matrix_rank(given) < given.shape[1]:
        return []
    of_metric = OLS(metric, given).fit()
    of_outcome = OLS(outcome, np.column_stack([given, metric])).fit()
    total = OLS(outcome, given).fit().params
    rng = np.random.default_rng(seed)
    slope = rng.normal(of_outcome.params[-1], of_outcome.bse[-1], _DRAWS)
    found = []
    for position, name in enumerate(others):
        change = rng.normal(of_metric.params[position], of_metric.bse[position], _DRAWS)
        low, high = np.percentile(change * slope, [2.5, 97.5])
        indirect = of_metric.params[position] * of_outcome.params[-1]
        found.append(
            Mediated(str(name), float(total[position]), float(indirect), float(low), float(high))
        )
    return found


def mediated_share(found: list[Mediated]) -> float:
    """Slope of indirect on total effects through 0: 1 where all of every effect goes through the metric."""
    total = np.array([one.total for one in found])
    indirect = np.array([one.indirect for one in found])
    return float(indirect @ total / (total @ total)) if total.any() else np.nan
