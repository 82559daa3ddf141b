"""Short-term plasticity of every pair of subclasses: Tsodyks-Markram parameters fitted to the metrics.

The protocol of Campagnola et al. 2022 is 8 spikes at 50 Hz from rest, a pause of 250 ms and 4 spikes
at 50 Hz. With A_k the amplitude of response k and A90 the 90th percentile of all 12,

    stp_induction_50hz = (median(A6, A7, A8) - A1) / A90
    stp_recovery_250ms = median(A9 - A1, A10 - A2, A11 - A3, A12 - A4) / A90

The amplitudes of the model are its releases u x (Markram, Wang & Tsodyks 1998, PNAS 95:5323: at a
spike u <- u + U (1 - u), release u x, x <- x - u x; between spikes u relaxes to 0 with tau_fac and x to 1
with tau_rec). They have no noise, so that A90 is smaller than in the recordings, where it contains the
variability of single responses: where that is large (weak facilitating synapses), the measured metrics
are smaller than those of the same synapse without noise, and the fit underestimates facilitation.

Two metrics do not determine three parameters. The fit is the most probable one:

    sum over metrics ((fitted - measured) / s)^2 + sum over parameters ((p - p0) / w)^2

with p = logit U, log tau_rec, log tau_fac and p0 from the release model that was fitted to the same
recordings (ml_release_prob, ml_depression_tau, ml_facilitation_tau, a model of another form, hence only a
weak guide: w = 2, a factor of 7). s = sigma / sqrt(n) is the standard error of a median over n synapses
whose standard deviation sigma is taken to be that between pairs of subclasses, because the table has no
spread within a pair. Of several starts the best end is taken; everything is deterministic.

`plasticity_draws` makes synapses of a pair differ. The published table has medians only, so the standard
deviation among them is an assumption: that between pairs, sigma, times a width. Metrics of each synapse are
drawn around those of the fit, and its parameters are the nearest to the fit that have them (nearest in p,
with the same w). So parameters spread as far as the metrics need; along the direction in which the
metrics say nothing all synapses stay where the fit is, since not to know is not to differ.

A pair with fewer than 5 synapses is not fitted on its own: it gets the fit of its presynaptic
subclass, whose metrics are the means over all its pairs weighted by their synapses, and is marked
"pooled".
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import OptimizeResult, least_squares

from v1builder.schema.errors import DataError, Problem, raise_if_any

SUBCLASSES: Final = ("pyr", "pvalb", "sst", "vip")
METRICS: Final = ("stp_induction_50hz", "stp_recovery_250ms")
#: Metrics of the release model that guide U (1), tau_rec (s) and tau_fac (s).
GUIDES: Final = ("ml_release_prob", "ml_depression_tau", "ml_facilitation_tau")
MIN_SYNAPSES: Final = 5

_INTERVAL_MS, _PAUSE_MS = 20.0, 250.0
_GUIDE_WIDTH = 2.0
#: A drawn metric is met to about this part of its standard deviation, unless no synapse has it.
_NEAR = 0.1
#: U (1), tau_rec and tau_fac (ms).
_LOWER: Final = np.array([0.01, 5.0, 1.0])
_UPPER: Final = np.array([0.95, 2000.0, 2000.0])
_GRID = 10
COLUMNS: Final = (
    "pre", "post", "U", "tau_rec_ms", "tau_fac_ms", "source", "n_pairs", "at_bound",
    *(f"{metric}{kind}" for metric in METRICS for kind in ("", "_fitted", "_residual")),
)  # fmt: skip


def releases(U: ArrayLike, tau_rec: ArrayLike, tau_fac: ArrayLike) -> NDArray[np.float64]:
    """Releases u x of the protocol's 12 spikes from rest.

    Args:
        U: in (0, 1].
        tau_rec: ms, positive.
        tau_fac: ms, positive.

    Returns:
        [..., 12] of the broadcast shape.
    """
    U, tau_rec, tau_fac = np.broadcast_arrays(U, tau_rec, tau_fac)
    decay = {h: (np.exp(-h / tau_rec), np.exp(-h / tau_fac)) for h in (_INTERVAL_MS, _PAUSE_MS)}
    u, x = np.zeros(U.shape), np.ones(U.shape)
    released = np.empty((*U.shape, 12))
    for k in range(12):
        recover, forget = decay[_PAUSE_MS if k == 8 else _INTERVAL_MS]
        if k > 0:
            u, x = u * forget, 1 - (1 - x) * recover
        u = u + U * (1 - u)
        released[..., k] = u * x
        x = x * (1 - u)
    return released


def metrics(U: ArrayLike, tau_rec: ArrayLike, tau_fac: ArrayLike) -> NDArray[np.float64]:
    """[..., 2] the two `METRICS` of a synapse; arguments as for `releases`."""
    A = releases(U, tau_rec, tau_fac)
    in_order = np.sort(A, axis=-1)
    A90 = 0.1 * in_order[..., 9] + 0.9 * in_order[..., 10]  # linear interpolation at 0.9 (12 - 1)
    induction = np.sort(A[..., 5:8], axis=-1)[..., 1] - A[..., 0]
    gains = np.sort(A[..., 8:12] - A[..., 0:4], axis=-1)
    return np.stack([induction, (gains[..., 1] + gains[..., 2]) / 2], axis=-1) / A90[..., None]


def short_term_plasticity(synaptic_physiology: pd.DataFrame) -> pd.DataFrame:
    """Fit every pair of subclasses.

    Args:
        synaptic_physiology: the published table: metric, pre, post, median (SI units), n_pairs.

    Returns:
        16 rows with the columns `COLUMNS`: pre, post; U, tau_rec_ms, tau_fac_ms; source ("fitted",
        or "pooled over <pre> -> all" where the pair has too few synapses); n_pairs, the synapses
        behind the pair's own metrics (the smaller number); at_bound, the parameters that sit at the
        edge of their range; and per metric the pair's own value (NaN if none), the fitted one
        and fitted - own.

    Raises:
        DataError: a presynaptic subclass has too few measurements altogether.
    """
    medians, counts = _tables(synaptic_physiology)
    names = list(METRICS)
    own_counts = counts[names].min(axis=1)
    sigma = _sigma(medians, own_counts)
    pooled, problems = _pooled(medians, counts)
    raise_if_any(problems, DataError)
    fits: dict[str, NDArray[np.float64]] = {}
    rows = []
    for pre in SUBCLASSES:
        for post in SUBCLASSES:
            n = int(own_counts.to_numpy()[len(rows)])
            own = medians.loc[(pre, post), names].to_numpy()
            guide = medians.loc[(pre, post), list(GUIDES)].to_numpy()
            if n >= MIN_SYNAPSES and np.isfinite([*own, *guide]).all():
                errors = sigma / np.sqrt(counts.loc[(pre, post), names].to_numpy())
                fitted, source = _fit(own, errors, guide), "fitted"
            else:
                source = f"pooled over {pre} -> all"
                if pre not in fits:
                    target, n_pre, guide = pooled[pre]
                    fits[pre] = _fit(target, sigma / np.sqrt(n_pre), guide)
                fitted = fits[pre]
            rows.append(_row(pre, post, fitted, source, n, own))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def plasticity_draws(
    synaptic_physiology: pd.DataFrame, fits: pd.DataFrame, width: float, n: int, seed: int
) -> pd.DataFrame:
    """Synapses of every pair of subclasses that differ in their plasticity, see the module.

    Args:
        synaptic_physiology: the published table.
        fits: `short_term_plasticity` of it.
        width: standard deviation of the metrics among them, over that between pairs.
        n: synapses of each pair, 3 or more.
        seed: of the draws. Their mean and covariance are exact: what is drawn is how they lie.

    Returns:
        16 n rows: pre, post, draw (0 to n - 1), U, tau_rec_ms, tau_fac_ms, the metrics that were drawn
        and (`_fitted`) those that the parameters have.
    """
    medians, counts = _tables(synaptic_physiology)
    sigma = width * _sigma(medians, counts[list(METRICS)].min(axis=1))
    rng = np.random.default_rng(seed)
    rows = []
    for fit in fits.to_dict("records"):
        center = np.array([fit["U"], fit["tau_rec_ms"], fit["tau_fac_ms"]])
        wanted = metrics(*center) + sigma * _standard(rng, n)
        for draw, target in enumerate(wanted):
            found = _nearest(target, sigma, center)
            numbers = [*found, *target, *metrics(*found)]
            rows.append([fit["pre"], fit["post"], draw, *numbers])
    columns = ["pre", "post", "draw", "U", "tau_rec_ms", "tau_fac_ms"]
    return pd.DataFrame(rows, columns=[*columns, *METRICS, *(f"{m}_fitted" for m in METRICS)])


def _standard(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """[n, 2] Gaussian points with mean 0 and covariance 1."""
    points = rng.standard_normal((n, 2))
    directions, _, turn = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    return directions @ turn * np.sqrt(n)


def _nearest(
    target: NDArray[np.float64], sigma: NDArray[np.float64], center: NDArray[np.float64]
) -> NDArray[np.float64]:
    """U, tau_rec, tau_fac (ms) nearest to `center` among those with the metrics `target`."""
    start = _free(center)
    return _bound(_minimum(_residuals(target, _NEAR * sigma, start), start).x)


def _sigma(medians: pd.DataFrame, own_counts: pd.Series) -> NDArray[np.float64]:
    """[2] standard deviation of the metrics between pairs of subclasses."""
    sigma = medians.loc[own_counts >= MIN_SYNAPSES, list(METRICS)].std(ddof=1).to_numpy()
    return np.where(np.isfinite(sigma) & (sigma > 0), sigma, 0.1)


def _tables(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Medians (times in ms) and numbers, by (pre, post) and metric; NaN and 0 where there are none."""
    wanted = [*METRICS, *GUIDES]
    pairs = pd.MultiIndex.from_product([SUBCLASSES, SUBCLASSES], names=["pre", "post"])
    found = table[table["metric"].isin(wanted) & table["median"].notna()]
    medians, counts = (
        found.pivot_table(index=["pre", "post"], columns="metric", values=name)
        .reindex(index=pairs, columns=wanted)
        .astype(np.float64)
        for name in ("median", "n_pairs")
    )
    medians[list(GUIDES[1:])] *= 1000.0
    return medians, counts.fillna(0.0)


def _pooled(
    medians: pd.DataFrame, counts: pd.DataFrame
) -> tuple[dict[str, tuple[NDArray[np.float64], ...]], list[Problem]]:
    """Metrics, their numbers and guides of each presynaptic subclass with all its targets."""
    pooled, problems = {}, []
    for pre in SUBCLASSES:
        n = counts.loc[pre].where(medians.loc[pre].notna(), 0.0)
        total = n.sum()
        if (total < MIN_SYNAPSES).any():
            problems.append(
                Problem(
                    "too few synapses to fit short-term plasticity",
                    "table synaptic_physiology",
                    f"{pre} -> all: "
                    + ", ".join(f"{name} {total[name]:g}" for name in [*METRICS, *GUIDES]),
                    f"it takes {MIN_SYNAPSES} synapses with each metric",
                )
            )
            continue
        mean = (n * medians.loc[pre].fillna(0.0)).sum() / total
        pooled[pre] = tuple(
            part.to_numpy()
            for part in (mean[list(METRICS)], total[list(METRICS)], mean[list(GUIDES)])
        )
    return pooled, problems


def _free(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logit U, log tau_rec, log tau_fac of [..., 3] U, tau_rec, tau_fac."""
    U = parameters[..., :1]
    return np.concatenate([np.log(U / (1 - U)), np.log(parameters[..., 1:])], axis=-1)


def _bound(free: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `_free`."""
    return np.concatenate([1 / (1 + np.exp(-free[..., :1])), np.exp(free[..., 1:])], axis=-1)


def _fit(
    target: NDArray[np.float64], errors: NDArray[np.float64], guide: NDArray[np.float64]
) -> NDArray[np.float64]:
    """U, tau_rec, tau_fac (ms) that minimise the sum of squares of the module docstring."""
    low, high = _free(_LOWER), _free(_UPPER)
    center = _free(np.clip(guide, _LOWER, _UPPER))
    residuals = _residuals(target, errors, center)
    axes = [np.linspace(a, b, _GRID) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    cost = (residuals(grid) ** 2).sum(axis=-1)
    # The best point of the grid in each third of the range of U.
    thirds = np.array_split(np.arange(len(grid)), 3)
    starts = [grid[part[np.argmin(cost[part])]] for part in thirds]
    ends = [_minimum(residuals, start) for start in [*starts, center]]
    return _bound(min(ends, key=lambda end: end.cost).x)


def _residuals(
    target: NDArray[np.float64], errors: NDArray[np.float64], center: NDArray[np.float64]
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Of points [..., 3] in `_free`: from metrics in units of their errors, and from the centre; [..., 5]."""

    def residuals(free: NDArray[np.float64]) -> NDArray[np.float64]:
        U, tau_rec, tau_fac = np.moveaxis(_bound(free), -1, 0)
        of_metrics = (metrics(U, tau_rec, tau_fac) - target) / errors
        return np.concatenate([of_metrics, (free - center) / _GUIDE_WIDTH], axis=-1)

    return residuals


def _minimum(
    residuals: Callable[[NDArray[np.float64]], NDArray[np.float64]], start: NDArray[np.float64]
) -> OptimizeResult:
    """Of the sum of their squares within the bounds of the parameters."""
    low, high = _free(_LOWER), _free(_UPPER)

    def slopes(free: NDArray[np.float64]) -> NDArray[np.float64]:
        step = 1e-5 * np.eye(3)
        return ((residuals(free + step) - residuals(free - step)) / 2e-5).T

    return least_squares(
        residuals,
        np.clip(start, low + 1e-6, high - 1e-6),
        jac=slopes,  # pyright: ignore[reportArgumentType]
        bounds=(low, high),
    )


def _row(
    pre: str,
    post: str,
    fitted: NDArray[np.float64],
    source: str,
    n: int,
    own: NDArray[np.float64],
) -> list[object]:
    near = 1e-3 * (_UPPER - _LOWER)
    at_bound = [
        f"{name} {which}"
        for name, value, low, high, eps in zip(
            ("U", "tau_rec", "tau_fac"), fitted, _LOWER, _UPPER, near, strict=True
        )
        for which, hit in (
            ("lower", value < low + min(eps, 0.02 * low)),
            ("upper", value > high - eps),
        )
        if hit
    ]
    found = metrics(*fitted)
    numbers = [n for triple in zip(own, found, found - own, strict=True) for n in triple]
    return [pre, post, *fitted, source, n, ", ".join(at_bound), *numbers]
