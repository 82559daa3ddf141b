"""What a measure is, and the two kinds that most of them are of: of cells, and of rates."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from v1builder.load.groups import Groups
from v1builder.measures.activity import Activity, Array, Design
from v1builder.measures.groups import GROUP_LEVELS

#: What a measure may need.
NEEDS: Final = ("spikes", "voltage", "currents")
_NO_CELLS: Final = "no cells"
_NOTHING: Final = "nothing was observed"


@dataclass(frozen=True)
class ByGroup:
    """The values of a measure, of g groups.

    Attributes:
        value: [g], NaN where there is none.
        n: [g] number of cells that a value rests on.
        reason: [g] why there is no value; empty where there is one.
    """

    value: Array
    n: NDArray[np.int64]
    reason: tuple[str, ...]

    @classmethod
    def missing(cls, groups: Groups, reason: str) -> Self:
        """No value in any group."""
        n = len(groups)
        return cls(np.full(n, np.nan), np.zeros(n, np.int64), (reason,) * n)

    @classmethod
    def where(
        cls, known: NDArray[np.bool_], value: Array, n: NDArray[np.int64], reason: str
    ) -> Self:
        """`value` where it is known, elsewhere none for this reason."""
        reasons = tuple("" if one else reason for one in known)
        return cls(np.where(known, value, np.nan), np.where(known, n, 0), reasons)

    @classmethod
    def share(
        cls, groups: Groups, chosen: NDArray[np.bool_], known: NDArray[np.bool_], reason: str
    ) -> Self:
        """Share of `chosen` cells among the `known`, [n_cells] both."""
        n = np.bincount(groups.of_cell[known], minlength=len(groups))
        found = np.bincount(groups.of_cell[known & chosen], minlength=len(groups))
        return cls.where(n > 0, found / np.maximum(n, 1), n, reason)


@dataclass(frozen=True)
class Axis:
    """What the curve of a measure is a function of.

    Attributes:
        name, unit: of the points.
        value, value_unit: what the curve shows at them.
    """

    name: str
    unit: str
    value: str
    value_unit: str


class Measure(ABC):
    """A number of activity, by group of cells. One instance belongs to one window of one network.

    A subclass with a name registers itself.

    Attributes:
        name: as tables and experiment files write it.
        unit: of the values; "1" for plain numbers.
        needs: what it looks at, of `NEEDS`.
        groups: levels it has values at, of `GROUP_LEVELS`.
        counts_cells: whether a value is a share of the n cells, and so has the interval of a proportion.
        streaming: whether it takes activity part by part. One that does not is given everything at once,
            which then has to fit into memory.
        axis: of its curve; None for a measure that has none.
        compares: whether it compares with another network in the same trials, which is then `reference`.
        design: what is known of the observed cells.
        reference: the same measure of the network that is compared with, having seen its activity; None for
            none.
    """

    name: ClassVar[str] = ""
    unit: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ("spikes",)
    groups: ClassVar[tuple[str, ...]] = GROUP_LEVELS
    counts_cells: ClassVar[bool] = False
    streaming: ClassVar[bool] = True
    axis: ClassVar[Axis | None] = None
    compares: ClassVar[bool] = False

    def __init__(self, design: Design):
        self.design = design
        self.reference: Self | None = None

    @classmethod
    def has(cls, level: str) -> bool:
        """Whether there are values at a level. A node set is any group of cells, as the whole network is."""
        return level in cls.groups or (level not in GROUP_LEVELS and "network" in cls.groups)

    @abstractmethod
    def see(self, activity: Activity) -> None:
        """Take a part of the activity (see `Activity` for their order)."""

    @abstractmethod
    def compute(self, groups: Groups) -> ByGroup:
        """The values by group of what was seen; it may be asked for again, and go on to see more.

        A group may be without cells: `values` says so whatever is returned for it.
        """

    def values(self, groups: Groups) -> ByGroup:
        """The values by group."""
        found = self.compute(groups)
        empty = groups.sizes == 0
        reasons = zip(empty, found.reason, strict=True)
        return ByGroup(
            np.where(empty, np.nan, found.value),
            np.where(empty, 0, found.n),
            tuple(_NO_CELLS if none else reason for none, reason in reasons),
        )

    def curve(self, groups: Groups) -> Mapping[float, ByGroup]:
        """The values by group at every point of the axis, of which the value of `values` is the summary."""
        del groups
        return {}


class OfCells(Measure):
    """A measure that every cell has; that of a group is the mean over those of its cells that have one."""

    @abstractmethod
    def of_cells(self) -> tuple[Array, str]:
        """[n_cells] values, NaN where a cell has none; and why one would have none."""

    def compute(self, groups: Groups) -> ByGroup:
        """Mean over the cells that have a value."""
        value, reason = self.of_cells()
        known = np.isfinite(value)
        n = np.bincount(groups.of_cell[known], minlength=len(groups))
        total = np.bincount(groups.of_cell[known], value[known], len(groups))
        return ByGroup.where(n > 0, total / np.maximum(n, 1), n, reason)


class OfRates(Measure):
    """A measure of the mean rates of cells. Memory: a number per cell."""

    def __init__(self, design: Design):
        super().__init__(design)
        self.counts = np.zeros(design.n_cells)
        self.n_trials, self._steps = 0, 0

    def see(self, activity: Activity) -> None:
        """Count the spikes of every cell."""
        self.counts += np.bincount(activity.cell, minlength=self.design.n_cells)
        self._steps += len(activity.trials) * (activity.stop - activity.start)
        self.n_trials += len(activity.trials) * (activity.start == 0)

    @abstractmethod
    def of_rates(self, rates: Array, groups: Groups) -> ByGroup:
        """The values by group from rates [n_cells] in Hz."""

    def compute(self, groups: Groups) -> ByGroup:
        """From the rates of all that was seen."""
        if not self._steps:
            return ByGroup.missing(groups, _NOTHING)
        seconds = self._steps * self.design.dt / 1000
        return self.of_rates(self.counts / seconds, groups)
