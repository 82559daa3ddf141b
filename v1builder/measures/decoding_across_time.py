"""Whether what was shown is represented in the same way at different times: decoding across time.

Decoders of one bin (`measures.decoding`) are tested in all other bins of the trials that they were not fitted
to. A code that stays gives the same accuracy at all lags, one that changes falls to chance. King & Dehaene
2014, Trends Cogn. Sci. 18:203.
"""

from typing import ClassVar

import numpy as np

from v1builder.analysis.logistic import predicted
from v1builder.measures.activity import Array, Indices
from v1builder.measures.decoding import OfDecoding, balanced, fitted_in_folds
from v1builder.measures.measure import Axis


class DecodingAcrossTime(OfDecoding):
    """Accuracy of decoders in bins that they were not fitted to, mean over all pairs of bins.

    As a curve, mean over pairs of bins with the same lag, earlier and later alike; at lag 0 in their own bin.
    """

    name: ClassVar[str] = "decoding_across_time"
    axis: ClassVar[Axis | None] = Axis("lag of the tested bin", "ms", "accuracy", "1")

    def points(self) -> Array:
        """Lags."""
        return self.dt * np.arange(self.n_bins if self.n_bins > 1 else 0, dtype=np.float64)

    def accuracy(self, counts: Array, condition: Indices) -> Array:
        """At every lag."""
        pairs = self.matrix(counts, condition)
        n_bins = len(pairs)
        lag = np.abs(np.subtract.outer(np.arange(n_bins), np.arange(n_bins)))
        return np.bincount(lag.ravel(), pairs.ravel()) / np.bincount(lag.ravel())

    def matrix(self, counts: Array, condition: Indices) -> Array:
        """[fitted bin, tested bin] accuracies."""
        counts = counts.transpose(1, 0, 2)
        n_bins = len(counts)
        guess = np.zeros((n_bins, n_bins, len(condition)), np.int64)
        for test, decoders in fitted_in_folds(counts, condition):
            guess[:, :, test] = predicted(counts[None, :, test], decoders[:, None])
        return balanced(condition, guess)

    def summary(self, accuracy: Array) -> float:
        """Mean over pairs of different bins."""
        n_bins = len(accuracy)
        return float(np.average(accuracy[1:], weights=np.arange(n_bins - 1, 0, -1)))
