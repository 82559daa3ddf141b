"""Number of dimensions that activity varies in, each counted by its variance: the participation ratio.

(tr C)^2 / tr C^2 of the covariance C of spike counts over trials of all conditions, from halves of the trials
(`analysis.dimensions`), so that it does not end at the number of trials. N for N equal independent cells, 1
for cells that all go up and down together. Rigotti et al. 2013; Gao et al. 2017, bioRxiv 214262.
"""

from typing import ClassVar

import numpy as np

from v1builder.analysis.dimensions import participation_terms
from v1builder.measures.activity import Array
from v1builder.measures.halves import OfHalves


class ParticipationRatio(OfHalves):
    """Participation ratio of the spike counts of a group."""

    name: ClassVar[str] = "participation_ratio"
    unit: ClassVar[str] = "dimensions"

    def of_group(self, halves: list[tuple[Array, Array]]) -> tuple[float, str]:
        """Ratio of means over splits."""
        traces, both = np.mean([participation_terms(*each) for each in halves], axis=0)
        if both <= 0:
            return np.nan, "what varies in one half of the trials does not in the other"
        return float(traces / both), ""
