"""How much of a cell's synaptic current is excitation."""

from typing import ClassVar

import numpy as np

from v1builder.measures.activity import Activity, Array, Design
from v1builder.measures.measure import OfCells


class ExcitationShare(OfCells):
    """I_E / (I_E + |I_I|) of a cell's mean currents: .5 where they cancel. Memory: 2 numbers per cell."""

    name: ClassVar[str] = "excitation_share"
    unit: ClassVar[str] = "1"
    needs: ClassVar[tuple[str, ...]] = ("currents",)

    def __init__(self, design: Design):
        super().__init__(design)
        self._charge = np.zeros((2, design.n_cells))

    def see(self, activity: Activity) -> None:
        """Add both currents."""
        both = activity.excitation_inhibition
        self._charge += np.stack([one.sum(axis=(0, 1)) for one in both])

    def of_cells(self) -> tuple[Array, str]:
        """The share of every cell."""
        total = self._charge.sum(axis=0)
        share = np.divide(self._charge[0], total, out=np.full_like(total, np.nan), where=total > 0)
        return share, "no synaptic currents"
