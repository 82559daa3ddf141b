"""Similarity of representations to those of another network, condition by condition: RSA.

Spearman's correlation of the distances between mean responses to pairs of conditions
(`analysis.similarity`), of the spike counts in the window.
"""

from typing import ClassVar, Final

import numpy as np

from v1builder.analysis.similarity import rank_similarity, response_distances
from v1builder.measures.activity import Array, Indices
from v1builder.measures.similarity import OfSimilarity

#: Which have 10 distances.
CONDITIONS_MIN: Final = 5


class RSA(OfSimilarity):
    """Rank correlation with the reference network of distances between conditions: 1 for the same order."""

    name: ClassVar[str] = "rsa"

    def why_not(self, condition: Indices) -> str:
        """Too few conditions with 2 trials."""
        n = len(repeated(condition))
        few = f"{n} conditions with 2 trials or more, fewer than {CONDITIONS_MIN}"
        return "" if n >= CONDITIONS_MIN else few

    def of_group(self, own: Array, other: Array, condition: Indices) -> float:
        """Of the conditions with 2 trials or more."""
        trials = np.isin(condition, repeated(condition))
        distances = [response_distances(each[trials], condition[trials]) for each in (own, other)]
        return rank_similarity(*distances)


def repeated(condition: Indices) -> Indices:
    """Conditions in which something is shown twice or more."""
    shown, n = np.unique(condition, return_counts=True)
    return shown[(n > 1) & (shown >= 0)]
