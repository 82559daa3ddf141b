"""Excitatory and inhibitory synaptic currents of cells: what measures of their balance have in common.

A port carries what one kind of sources sends, so the current of a port has one sign: excitation is the sum of
the positive ones, inhibition that of the negative ones, taken as positive. (A port on which sources of both
signs end has only their sum.) The model must keep its ports apart (`V1Network`, keep_ports).
"""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from v1builder.measures.activity import Activity, Array, Design, Indices
from v1builder.measures.measure import OfCells


class OfCurrents(OfCells):
    """A measure of how excitation E and inhibition I of a cell go together, at some lags.

    Sums run over the pairs E(t), I(t + lag) within a trial; means and variances are those of all steps of all
    trials. Memory: three numbers per cell and lag, and the currents of a batch over the longest lag.
    """

    needs: ClassVar[tuple[str, ...]] = ("currents",)

    def __init__(self, design: Design, lags: Indices):
        """Nothing seen.

        Args:
            design: of what is observed.
            lags: steps; inhibition after excitation is positive. 0 is among them.
        """
        super().__init__(design)
        self._lags = lags
        shape = len(lags), design.n_cells
        self._product, self._earlier, self._later = (np.zeros(shape) for _ in range(3))
        self._pairs = np.zeros(len(lags))
        self._squares = np.zeros((2, design.n_cells))
        self._trials: Indices = np.zeros(0, np.int64)
        self._before: tuple[Array, Array] | None = None

    def see(self, activity: Activity) -> None:
        """Add products at all lags that end in these steps."""
        E, I = activity.excitation_inhibition  # noqa: E741
        self._squares += np.stack([(E**2).sum(axis=(0, 1)), (I**2).sum(axis=(0, 1))])
        n_before = 0
        if self._before is not None and np.array_equal(activity.trials, self._trials):
            n_before = self._before[0].shape[1]
            E, I = (np.concatenate(both, axis=1) for both in zip(self._before, (E, I), strict=True))  # noqa: E741
        # Of any lag the sums are a difference of these.
        until_E, until_I = (_until(both) for both in (E, I))
        for row, lag in enumerate(self._lags):
            stop = E.shape[1]
            first = max(n_before, abs(lag))
            if first >= stop:
                continue
            now, then = slice(first, stop), slice(first - abs(lag), stop - abs(lag))
            of_e, of_i = (then, now) if lag >= 0 else (now, then)
            self._product[row] += np.einsum("btn,btn->n", E[:, of_e], I[:, of_i])
            self._earlier[row] += until_E[of_e.stop] - until_E[of_e.start]
            self._later[row] += until_I[of_i.stop] - until_I[of_i.start]
            self._pairs[row] += len(E) * (stop - first)
        keep = max(0, E.shape[1] - int(np.abs(self._lags).max()))
        self._trials, self._before = activity.trials, (E[:, keep:].copy(), I[:, keep:].copy())

    @property
    def _now(self) -> int:
        """Row of lag 0, whose sums are those of all steps."""
        return int(np.flatnonzero(self._lags == 0)[0])

    def means(self) -> tuple[Array, Array]:
        """[n_cells] pA, mean excitation and inhibition; of something observed."""
        n = self._pairs[self._now]
        return self._earlier[self._now] / n, self._later[self._now] / n

    def correlation(self) -> tuple[Array, str]:
        """[lag, n_cells], NaN where a current does not vary; and why there would be none."""
        if not self._pairs[self._now]:
            return np.full(self._product.shape, np.nan), "nothing was observed"
        E, I = self.means()  # noqa: E741
        n, pairs = self._pairs[self._now], np.maximum(self._pairs, 1)[:, None]
        covariance = (self._product - I * self._earlier - E * self._later) / pairs + E * I
        variance = np.stack([self._squares[0] / n - E**2, self._squares[1] / n - I**2])
        # What is left of a current that never changes is rounding.
        varies = (variance > 1e-12 * self._squares / n).all(axis=0) & (self._pairs > 0)[:, None]
        spread = np.sqrt(variance.clip(min=0).prod(axis=0))
        value = np.divide(
            covariance, spread, out=np.full_like(covariance, np.nan), where=varies & (spread > 0)
        )
        return value, "excitation or inhibition does not vary"


def _until(current: Array) -> Array:
    """[step + 1, n_cells] sums over trials and all steps before, of [trial, step, n_cells]."""
    by_step = current.sum(axis=0)
    return np.concatenate([np.zeros_like(by_step[:1]), by_step.cumsum(axis=0)])


def lags_within(most_ms: float, dt: float) -> Indices:
    """Lags in steps, every millisecond (every step where one is longer) up to `most_ms` either way."""

    def steps() -> Iterator[int]:
        each = max(1, round(1 / dt))
        most = round(most_ms / dt) // each
        yield from (each * k for k in range(-most, most + 1))

    return np.fromiter(steps(), np.int64)
