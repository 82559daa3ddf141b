"""Similarity of representations to those of another network: what its measures have in common."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from v1builder.load.groups import Groups
from v1builder.measures.activity import Array, Indices
from v1builder.measures.counts import OfCounts, members
from v1builder.measures.groups import SEVERAL_CELLS
from v1builder.measures.measure import ByGroup


class OfSimilarity(OfCounts):
    """A measure of the spike counts of the same cells in two networks that were shown the same trials."""

    unit: ClassVar[str] = "1"
    groups: ClassVar[tuple[str, ...]] = SEVERAL_CELLS
    compares: ClassVar[bool] = True
    cells_min: ClassVar[int] = 2

    @abstractmethod
    def why_not(self, condition: Indices) -> str:
        """Why trials of these conditions do not do; empty where they do."""

    @abstractmethod
    def of_group(self, own: Array, other: Array, condition: Indices) -> float:
        """The similarity of counts [trials, cells]; NaN where what is shown makes no difference to them."""

    def compute(self, groups: Groups) -> ByGroup:
        """By group."""
        if self.reference is None:
            return ByGroup.missing(groups, "no network to compare with")
        own, other = self.counts(), self.reference.counts()
        if own.table.shape != other.table.shape or (own.condition != other.condition).any():
            return ByGroup.missing(groups, "the other network has other cells or saw other trials")
        reason = self.why_not(own.condition)
        if reason:
            return ByGroup.missing(groups, reason)
        value, n = np.full(len(groups), np.nan), np.zeros(len(groups), np.int64)
        reasons = []
        for group, cells in enumerate(members(groups.of_cell, len(groups))):
            reason = f"fewer than {self.cells_min} cells"
            if len(cells) >= self.cells_min:
                counts = own.of(cells)[:, 0], other.of(cells)[:, 0]
                value[group] = self.of_group(*counts, own.condition)
                known = np.isfinite(value[group])
                reason = "" if known else "responses differ no more than by chance"
            n[group] = 0 if reason else len(cells)
            reasons.append(reason)
        return ByGroup(value, n, tuple(reasons))
