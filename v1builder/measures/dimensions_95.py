"""Number of principal components that carry 95 % of the variance of other trials.

Components are those of the spike counts of one half of the trials, variances those of the other half
(`analysis.dimensions`). Half of T trials have T / 2 - 1 components: where these do not carry 95 %, there is
no number.
"""

from typing import ClassVar, Final

import numpy as np

from v1builder.analysis.dimensions import held_out_variances
from v1builder.measures.activity import Array
from v1builder.measures.halves import OfComponents
from v1builder.measures.measure import Axis

SHARE: Final = 0.95


class Dimensions95(OfComponents):
    """Components of one half of the trials that carry 95 % of the variance of the other half.

    As a curve, the share of the variance that the first 1, 2, 4, 8 ... components carry.
    """

    name: ClassVar[str] = "dimensions_95"
    unit: ClassVar[str] = "dimensions"
    axis: ClassVar[Axis | None] = Axis(
        "principal components", "1", "share of the variance of other trials", "1"
    )

    def along(self, halves: list[tuple[Array, Array]]) -> Array:
        """Share that the first k components carry, mean over splits."""
        found = [held_out_variances(*each) for each in halves]
        variances = np.mean([variances for variances, _ in found], axis=0)
        total = float(np.mean([total for _, total in found]))
        return np.cumsum(variances) / total if total > 0 else np.zeros(len(variances))

    def of_group(self, halves: list[tuple[Array, Array]]) -> tuple[float, str]:
        """First number of components with that share."""
        share = self.along(halves)
        enough = np.flatnonzero(share >= SHARE)
        if not len(enough):
            carry = f"{len(share)} components carry {100 * share[-1]:.0f} %"
            return np.nan, f"{carry} of the variance of other trials: too few trials"
        return float(enough[0] + 1), ""
