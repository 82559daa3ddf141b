"""What a comparison could have found: the smallest difference it detects, and noise by trials alone."""

from functools import cache
from typing import Final

import numpy as np
from scipy import optimize, special, stats

#: A claim needs so many paired seeds: with a standard deviation of 2 points of the differences, 20 find
#: 2 points with power .99, 3 with .18.
CLAIM_SEEDS = 20
#: Test trials at which a paired difference has a noise of about one point by trials alone.
CLAIM_TRIALS = 2048


def detectable_difference(sd: float, n: int, *, alpha: float, power: float = 0.8) -> float:
    """Smallest mean difference that a two-sided paired t test finds with this power.

    Args:
        sd: standard deviation of the paired differences, in any unit; the result has it too.
        n: number of pairs.
        alpha: level of the test; for the first step of Holm's method, that of the family / its size.
        power: wanted probability to find the difference.

    Returns:
        The difference, NaN for fewer than two pairs or a spread that is unknown or 0.
    """
    return _detectable_effect(n, alpha, power) * sd if n > 1 and sd > 0 else np.nan


@cache
def _detectable_effect(n: int, alpha: float, power: float) -> float:
    """`detectable_difference` in standard deviations.

    The normal mean is averaged over quantiles of the estimated spread; the noncentral t of scipy and
    statsmodels fails for two and three pairs.
    """
    quantiles = (np.arange(4000) + 0.5) / 4000
    limit = stats.t.ppf(1 - alpha / 2, n - 1) * np.sqrt(stats.chi2.ppf(quantiles, n - 1) / (n - 1))

    def missing(shift: float) -> float:
        return power - float(np.mean(special.ndtr(shift - limit) + special.ndtr(-shift - limit)))

    return float(optimize.brentq(missing, 0, limit.max() + 10) / np.sqrt(n))


def trial_noise(accuracy: float, n_trials: int) -> float:
    """Standard deviation of the difference of two accuracies by the choice of trials alone.

    sqrt(2 p (1 - p) / n): both networks answer `n_trials` trials, right with probability `accuracy`,
    independently. Answers to the same trials agree more than that, so it is an upper bound.
    """
    return float(np.sqrt(2 * accuracy * (1 - accuracy) / n_trials))


def trial_noise_of_d_prime(d_prime: float, n_trials: int) -> float:
    """`trial_noise` of an unbiased observer's d', by the slope of accuracy = Phi(d' / 2)."""
    half = d_prime / 2
    return trial_noise(float(stats.norm.cdf(half)), n_trials) * 2 / float(stats.norm.pdf(half))


#: By score, its noise by trials alone, where that is known.
TRIAL_NOISE: Final = {"accuracy": trial_noise, "d_prime": trial_noise_of_d_prime}
