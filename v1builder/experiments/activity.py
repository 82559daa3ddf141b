"""What the intact network does, measured: what some ablations need in order to keep it.

Steady-state formulas do not describe short trials, so nothing here is computed from rates: spikes of
probe trials are recorded after a warm-up, and mean after-spike currents and efficacies of synapses
are what these spikes give.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Activity:
    """Activity of the simulated cells of a network.

    Attributes:
        rates: [n_cells] Hz, over the trials without their warm-up.
        asc_current: [n_cells] pA, mean after-spike current over the same time.
    """

    rates: NDArray[np.float64]
    asc_current: NDArray[np.float64]

    @property
    def n_cells(self) -> int:
        """Number of simulated cells."""
        return len(self.rates)
