"""What was observed of some cells: the material of every measure, in parts as a run gives them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.load.network import NodePopulation

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """Steps in which something is measured.

    Attributes:
        steps: counted as the runs count them.
        conditions: the numbers of those it is measured in; all unless given.
        change: step within at which what is shown changes, for measures that compare before and after; None
            where none is meant.
    """

    steps: slice
    conditions: tuple[int, ...] | None = None
    change: int | None = None


@dataclass(frozen=True)
class Design:
    """What is known before anything was observed.

    Attributes:
        cells: those that are observed.
        dt: ms.
        n_steps: of a trial; of the window, where a measure has it.
        directions: [conditions] degrees, NaN for those in which nothing moves; None where nothing ever does.
        contrasts: [conditions] from 0 to 1, NaN for those that have none; None where none has.
        t_ref: [n_cells] ms that a cell is refractory after a spike; None where that is not known.
        change: step of the window at which what is shown changes; None where it does not.
        repeats: whether trials of one condition show the same, so that they differ by chance alone.
        in_vivo: quantiles of what was recorded in living mice, as `load.reference.read_in_vivo` has them;
            None for a network without them.
        node_sets: named selections of cells, by which they can be grouped.
    """

    cells: NodePopulation
    dt: float
    n_steps: int
    directions: Array | None = None
    contrasts: Array | None = None
    t_ref: Array | None = None
    change: int | None = None
    repeats: bool = True
    in_vivo: pd.DataFrame | None = None
    node_sets: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.cells)

    def within(self, window: Window) -> Self:
        """The design of a window."""
        start, stop = window.steps.start, window.steps.stop
        change = None if window.change is None else window.change - start
        return replace(self, n_steps=stop - start, change=change)


@dataclass(frozen=True)
class Activity:
    """What some cells did in some steps of some trials. s spike, b trial, t step, n cell.

    A run gives the parts of its trials one after another: all trials of a batch in some steps, then the same
    in the next steps, then another batch.

    Attributes:
        trials: [b] number of each trial, distinct over all that was observed.
        condition: [b] what was shown or asked, as a number; equal ones are repeats. -1: nothing.
        start, stop: the steps, counted from the begin of the window.
        trial: [s] position of every spike's trial among `trials`.
        cell: [s] position of its cell.
        step: [s] its step, counted as `start` is. Spikes are in the order of trial, cell, step.
        voltage: [b, t, n] mV, or None.
        currents: [b, t, n, port] pA, synaptic current of every port; or None.
    """

    trials: Indices
    condition: Indices
    start: int
    stop: int
    trial: Indices
    cell: Indices
    step: Indices
    voltage: Array | None = None
    currents: Array | None = None

    @cached_property
    def excitation_inhibition(self) -> tuple[Array, Array]:
        """[b, t, n] pA each, none negative: sums of the positive and of the negative currents of ports.

        Once for all measures that ask: there may be ten times as many currents.
        """
        assert self.currents is not None
        E, I = (np.empty(self.currents.shape[:-1]) for _ in range(2))  # noqa: E741
        ones = np.ones(self.currents.shape[-1])
        # A product with ones takes a third of the time of a sum over so short an axis.
        for e, i, ports in zip(E, I, self.currents, strict=True):
            np.matmul(np.maximum(ports, 0), ones, out=e)
            np.matmul(np.minimum(ports, 0), -ones, out=i)
        return E, I


def joined(parts: Sequence[Activity]) -> Activity:
    """Parts as one: the steps of every batch put together, then the batches."""
    batches: list[list[Activity]] = []
    for part in parts:
        if batches and np.array_equal(batches[-1][0].trials, part.trials):
            batches[-1].append(part)
        else:
            batches.append([part])
    whole = [_in_time(batch) for batch in batches]
    offsets = np.cumsum([0, *(len(batch.trials) for batch in whole[:-1])])
    trial = [batch.trial + offset for batch, offset in zip(whole, offsets, strict=True)]
    return Activity(
        trials=np.concatenate([batch.trials for batch in whole]),
        condition=np.concatenate([batch.condition for batch in whole]),
        start=whole[0].start,
        stop=whole[0].stop,
        trial=np.concatenate(trial),
        cell=np.concatenate([batch.cell for batch in whole]),
        step=np.concatenate([batch.step for batch in whole]),
        voltage=_together(whole, lambda batch: batch.voltage, axis=0),
        currents=_together(whole, lambda batch: batch.currents, axis=0),
    )


def _in_time(parts: Sequence[Activity]) -> Activity:
    trial, cell, step = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("trial", "cell", "step")
    )
    order = np.lexsort((step, cell, trial))
    return Activity(
        parts[0].trials,
        parts[0].condition,
        parts[0].start,
        parts[-1].stop,
        trial[order],
        cell[order],
        step[order],
        _together(parts, lambda part: part.voltage, axis=1),
        _together(parts, lambda part: part.currents, axis=1),
    )


def _together(
    parts: Sequence[Activity], of: Callable[[Activity], Array | None], axis: int
) -> Array | None:
    arrays = [array for array in map(of, parts) if array is not None]
    return np.concatenate(arrays, axis=axis) if arrays else None
