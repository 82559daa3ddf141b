"""How fast the variance that stimuli explain falls over dimensions: cvPCA of mean responses.

Means of the spike counts in each condition over either half of its trials give the variance that both share
along each principal component (`analysis.dimensions.signal_variances`). Near 1 for the responses of mouse V1
to 2 800 natural images (Stringer et al. 2019, Nature 571:361).
"""

from typing import ClassVar, Final

import numpy as np

from v1builder.analysis.dimensions import signal_variances
from v1builder.measures.activity import Array, Indices
from v1builder.measures.measure import Axis
from v1builder.measures.spectrum import COMPONENTS_MIN, OfSpectrum

#: With at least 2 trials each: one component less, half of which are fitted.
CONDITIONS_MIN: Final = 2 * COMPONENTS_MIN + 1


class SignalSpectrumExponent(OfSpectrum):
    """Exponent of the variances of mean responses along principal components; as a curve, the variances."""

    name: ClassVar[str] = "signal_spectrum_exponent"
    axis: ClassVar[Axis | None] = Axis("principal component", "1", "signal variance", "spikes^2")

    @property
    def missing(self) -> str:
        """Why there is no value in any group; empty where there may be one."""
        if not self.design.repeats:
            return "trials of one condition show different things"
        n = len(self._repeated())
        if n < CONDITIONS_MIN:
            return f"{n} conditions with 2 trials or more, fewer than {CONDITIONS_MIN}"
        return super().missing

    def _repeated(self) -> Indices:
        shown, n = np.unique(self.counts().condition, return_counts=True)
        return shown[(n > 1) & (shown >= 0)]

    def responses(self, cells: Indices) -> list[tuple[Array, Array]]:
        """Mean responses [conditions, cells] in both halves, of every split."""
        counts, condition = self.counts().of(cells)[:, 0], self.counts().condition
        shown = self._repeated()

        def means(trials: Indices) -> Array:
            own = condition[trials][:, None] == shown
            return own.T.astype(np.float64) @ counts[trials] / own.sum(axis=0)[:, None]

        return [(means(first), means(second)) for first, second in self.splits()]

    def along(self, halves: list[tuple[Array, Array]]) -> Array:
        """Signal variances, mean over splits."""
        return np.mean([signal_variances(*each) for each in halves], axis=0)
