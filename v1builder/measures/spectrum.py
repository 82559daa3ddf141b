"""Spectra of variance over dimensions: what measures of their exponent have in common."""

from typing import ClassVar, Final

import numpy as np

from v1builder.analysis.dimensions import power_law_exponent
from v1builder.measures.activity import Array
from v1builder.measures.halves import OfComponents

#: Components that an exponent is fitted to.
COMPONENTS_MIN: Final = 5


class OfSpectrum(OfComponents):
    """Exponent alpha of variances that fall as k^-alpha, fitted to the first half of the components.

    Fitted are those before the first without variance.
    """

    unit: ClassVar[str] = "1"
    cells_min: ClassVar[int] = 2 * COMPONENTS_MIN

    def of_group(self, halves: list[tuple[Array, Array]]) -> tuple[float, str]:
        """The exponent."""
        variances = self.along(halves)
        fitted = variances[: len(variances) // 2]
        gone = np.flatnonzero(fitted <= 0)
        fitted = fitted[: gone[0]] if len(gone) else fitted
        if len(fitted) < COMPONENTS_MIN:
            return np.nan, f"{len(fitted)} components above noise, fewer than {COMPONENTS_MIN}"
        return power_law_exponent(fitted), ""
