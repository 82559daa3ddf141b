"""Similarity of representations to those of another network: linear CKA.

`analysis.similarity.linear_cka` of the spike counts in the window. The samples are mean responses to
conditions; single trials would count that those of one condition are alike, which they are in any network
that tells conditions apart. Where the trials of a condition show different things they are the samples:
both networks are given the same with the same input spikes. Noise that is independent in cells and
samples does not count.
"""

from typing import ClassVar, Final

import numpy as np

from v1builder.analysis.similarity import linear_cka
from v1builder.measures.activity import Array, Indices
from v1builder.measures.similarity import OfSimilarity

SAMPLES_MIN: Final = 5


class CKA(OfSimilarity):
    """Linear CKA with the reference network: 1 for the same geometry of responses, 0 for independent ones."""

    name: ClassVar[str] = "cka"

    def why_not(self, condition: Indices) -> str:
        """Too few samples."""
        n = len(np.unique(condition[condition >= 0])) if self.design.repeats else len(condition)
        samples = "conditions" if self.design.repeats else "trials"
        return "" if n >= SAMPLES_MIN else f"{n} {samples}, fewer than {SAMPLES_MIN}"

    def of_group(self, own: Array, other: Array, condition: Indices) -> float:
        """Of mean responses, or of all trials."""
        if not self.design.repeats:
            return linear_cka(own, other)
        shown = np.unique(condition[condition >= 0])
        means = [
            np.stack([each[condition == one].mean(axis=0) for one in shown])
            for each in (own, other)
        ]
        return linear_cka(*means)
