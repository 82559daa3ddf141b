"""By how much inhibition is later than excitation."""

from typing import ClassVar, Final

import numpy as np

from v1builder.measures.activity import Array, Design
from v1builder.measures.currents import OfCurrents, lags_within

#: ms either way in which the peak is looked for; inhibition follows within a few (Okun & Lampl 2008).
WITHIN_MS: Final = 25.0


class EiLag(OfCurrents):
    """Mean over cells of the lag at which excitation and inhibition correlate most, within 25 ms.

    Positive where inhibition comes later (Okun & Lampl 2008, Nat. Neurosci. 11:535). A cell whose correlation
    is largest at either end has no value: there is no peak. Resolution: 1 ms, or a step that is longer.
    """

    name: ClassVar[str] = "ei_lag"
    unit: ClassVar[str] = "ms"

    def __init__(self, design: Design):
        super().__init__(design, lags_within(WITHIN_MS, design.dt))

    def of_cells(self) -> tuple[Array, str]:
        """The lag of every cell."""
        correlation, reason = self.correlation()
        known = np.isfinite(correlation).all(axis=0)
        best = np.where(known, correlation, -np.inf).argmax(axis=0)
        peak = known & (best > 0) & (best < len(self._lags) - 1)
        if known.any():
            reason = (
                f"excitation and inhibition have no peak of correlation within {WITHIN_MS:g} ms"
            )
        return np.where(peak, self._lags[best] * self.design.dt, np.nan), reason
