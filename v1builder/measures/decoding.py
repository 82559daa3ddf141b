"""What was shown, decoded from single trials in time.

Multinomial logistic regression (`analysis.logistic`, as scikit-learn's; conditions weigh alike) from the
spike counts of 20 cells of a group in bins of 20 ms, cross-validated in 10 folds with as many of every
condition in each; fewer folds where a condition has fewer trials. The accuracy is the mean of those of
the conditions, so chance is 1 over their number. The cells are drawn once with a fixed seed from those
that fire, as many of every group, so that groups compare.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar, Final

import numpy as np
from sklearn.model_selection import StratifiedKFold

from v1builder.analysis.logistic import fitted_logistic, predicted
from v1builder.load.groups import Groups
from v1builder.measures.activity import Array, Design, Indices
from v1builder.measures.counts import SAMPLE_SEED, OfCounts, members
from v1builder.measures.groups import SEVERAL_CELLS
from v1builder.measures.measure import Axis, ByGroup

#: Of every group.
CELLS: Final = 20
FOLDS: Final = 10
#: Trials that a condition needs to be decoded.
TRIALS_MIN: Final = 5


class OfDecoding(OfCounts):
    """A measure of how well conditions are decoded in bins of 20 ms."""

    unit: ClassVar[str] = "1"
    groups: ClassVar[tuple[str, ...]] = SEVERAL_CELLS
    bin_ms: ClassVar[float | None] = 20.0

    def __init__(self, design: Design):
        super().__init__(design)
        self._decoded_of: object = None
        self._known: dict[bytes, Array] = {}

    @abstractmethod
    def points(self) -> Array:
        """[points] of the axis."""

    @abstractmethod
    def accuracy(self, counts: Array, condition: Indices) -> Array:
        """[points] from counts [trials, bins, CELLS], conditions from 0 on."""

    @abstractmethod
    def summary(self, accuracy: Array) -> float:
        """One number of accuracies [points]."""

    @property
    def dt(self) -> float:
        """Length of a bin, ms."""
        return self.bin_steps * self.design.dt

    def compute(self, groups: Groups) -> ByGroup:
        """The summary by group."""
        found, n, reason = self._decoded(groups)
        value = np.array([self.summary(row) if np.isfinite(row).all() else np.nan for row in found])
        return ByGroup.where(np.isfinite(value), value, n, reason)

    def curve(self, groups: Groups) -> Mapping[float, ByGroup]:
        """The accuracy by group at every point."""
        found, n, reason = self._decoded(groups)
        return {
            float(at): ByGroup.where(np.isfinite(column), column, n, reason)
            for at, column in zip(self.points(), found.T, strict=True)
        }

    def _decoded(self, groups: Groups) -> tuple[Array, Indices, str]:
        """[n_groups, points] accuracies, [n_groups] cells they rest on, and why there would be none."""
        counts = self.counts()
        if counts is not self._decoded_of:
            self._decoded_of, self._known = counts, {}
        found = np.full((len(groups), len(self.points())), np.nan)
        n = np.zeros(len(groups), np.int64)
        shown, n_trials = np.unique(counts.condition, return_counts=True)
        enough = shown[(n_trials >= TRIALS_MIN) & (shown >= 0)]
        if len(enough) < 2:
            return found, n, f"fewer than 2 conditions with {TRIALS_MIN} trials"
        if not found.shape[1]:
            return found, n, f"the window is shorter than {2 * self.dt:g} ms"
        trials = np.isin(counts.condition, enough)
        fires = np.flatnonzero(counts.table.sum(axis=0) > 0)
        for group, cells in enumerate(members(groups.of_cell, len(groups), fires)):
            if len(cells) >= CELLS:
                own = np.random.default_rng(SAMPLE_SEED).choice(cells, CELLS, replace=False)
                key = own.tobytes()  # a population may be all of a class, or of a layer
                if key not in self._known:
                    shown = np.searchsorted(enough, counts.condition[trials])
                    self._known[key] = self.accuracy(counts.of(own)[trials], shown)
                found[group] = self._known[key]
                n[group] = CELLS
        return found, n, f"fewer than {CELLS} cells that fire"


class Decoding(OfDecoding):
    """Accuracy of decoding what was shown from 20 cells, mean over bins; as a curve, in time.

    A point is the begin of its bin, from the begin of the window.
    """

    name: ClassVar[str] = "decoding"
    axis: ClassVar[Axis | None] = Axis("time", "ms", "accuracy", "1")

    def points(self) -> Array:
        """Begins of bins."""
        return self.dt * np.arange(self.n_bins, dtype=np.float64)

    def accuracy(self, counts: Array, condition: Indices) -> Array:
        """In every bin, of decoders of that bin."""
        counts = counts.transpose(1, 0, 2)
        guess = np.zeros((len(counts), len(condition)), np.int64)
        for test, decoders in fitted_in_folds(counts, condition):
            guess[:, test] = predicted(counts[:, test], decoders)
        return balanced(condition, guess)

    def summary(self, accuracy: Array) -> float:
        """Mean over bins."""
        return float(accuracy.mean())


def fitted_in_folds(counts: Array, condition: Indices) -> Iterator[tuple[Indices, Array]]:
    """The trials of each fold, and the decoders [bins, CELLS + 1, conditions] fitted to all others.

    Args:
        counts: [bins, trials, CELLS].
        condition: [trials] from 0 on, without gaps.
    """
    n_folds = min(FOLDS, int(np.bincount(condition).min()))
    split = StratifiedKFold(n_folds, shuffle=True, random_state=SAMPLE_SEED)
    folds = list(split.split(condition[:, None], condition))
    weights = np.zeros((n_folds, 1, len(condition)))
    for fold, (train, _) in enumerate(folds):
        n = np.bincount(condition[train])
        weights[fold, 0, train] = len(train) / (len(n) * n[condition[train]])
    decoders = fitted_logistic(counts[None], condition, weights)
    for (_, test), of_fold in zip(folds, decoders, strict=True):
        yield test, of_fold


def balanced(condition: Indices, guess: Indices) -> Array:
    """[...] mean over conditions of the share of their trials that was guessed, of guesses [..., trials]."""
    right = guess == condition
    shares = [right[..., condition == one].mean(axis=-1) for one in np.unique(condition)]
    return np.mean(shares, axis=0)
