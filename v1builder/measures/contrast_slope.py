"""Contrast response: how the rate changes with contrast.

In mouse V1 it falls in Vip cells and grows in Sst cells (Millman et al. 2020, eLife 9:e55130), so the sign by
class is what is compared.
"""

from typing import ClassVar

import numpy as np

from v1builder.measures.activity import Array, Design
from v1builder.measures.shown import OfShown


class ContrastSlope(OfShown):
    """Slope of the mean rate against log2 contrast: Hz for every doubling of the contrast.

    The straight line of least squares through the mean rates at each contrast, whatever else differs between
    the trials of a contrast; a cell that does not fire has the slope 0. Since a slope is linear in rates, the
    mean over cells is the slope of the mean rate of a group. Memory: a number per cell and contrast.
    """

    name: ClassVar[str] = "contrast_slope"
    unit: ClassVar[str] = "Hz/octave"
    quantity: ClassVar[str] = "contrast"

    def __init__(self, design: Design):
        contrasts = design.contrasts
        if contrasts is not None:  # gray is no doubling away from anything
            contrasts = np.where(contrasts > 0, contrasts, np.nan)
        super().__init__(design, contrasts)

    def of_cells(self) -> tuple[Array, str]:
        """Slope of every cell."""
        none = np.full(self.design.n_cells, np.nan)
        if self.missing:
            return none, self.missing
        if len(self.shown) < 2:
            return none, f"all that was shown has the same contrast ({self.shown[0]:g})"
        octaves = np.log2(self.shown) - np.log2(self.shown).mean()
        return octaves @ self.rates() / (octaves @ octaves), ""
