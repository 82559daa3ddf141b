"""Similarity of representations to those of another network, trial by trial: linear CKA.

`analysis.similarity.linear_cka` of the spike counts in the window. The samples are trials, which both
networks are given with the same input spikes; noise that is independent in cells and trials does not count.
"""

from typing import ClassVar, Final

from v1builder.analysis.similarity import linear_cka
from v1builder.measures.activity import Array, Indices
from v1builder.measures.similarity import OfSimilarity

TRIALS_MIN: Final = 10


class CKA(OfSimilarity):
    """Linear CKA with the reference network: 1 for the same geometry of trials, 0 for independent ones."""

    name: ClassVar[str] = "cka"

    def why_not(self, condition: Indices) -> str:
        """Too few trials."""
        n = len(condition)
        return "" if n >= TRIALS_MIN else f"{n} trials, fewer than {TRIALS_MIN}"

    def of_group(self, own: Array, other: Array, condition: Indices) -> float:
        """Of all trials."""
        del condition
        return linear_cka(own, other)
