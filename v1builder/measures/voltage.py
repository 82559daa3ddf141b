"""Membrane potential before and after a change, without the spikes: what measures of it have in common.

As Galvan Fraile et al. 2024, PLOS Comput. Biol. 20:e1011921: a cell depolarises where its mean V_m in the
steps after the change is more than 1 mV above that in the steps before, and hyperpolarises where it is more
than 1 mV below.

Spikes are clipped out: the step of a spike, at whose end V_m has been reset, and those in which the cell is
refractory and its V_m is held. A reset says how often a cell spikes and not how its inputs drive it. The
published analysis puts a straight line from 2 ms before a spike to 3 ms after it; here there is no upstroke
before the spike to hide, and what is left out is what the cell's own t_ref says, without values that nobody
observed in its place. The recovery from the reset, which takes a time constant of the membrane, is in the
mean either way. A spike before the window is not known, so up to t_ref at its begin may be held.
"""

from typing import ClassVar, Final

import numpy as np
import torch

from v1builder.measures.activity import Activity, Array, Design, Indices
from v1builder.measures.measure import Measure
from v1builder.model.neurons.neuron import refractory_steps

#: ms that is left out after a spike of a cell whose t_ref is not known; as published.
AFTER_SPIKE_MS: Final = 3.0
#: mV that counts as a change; as published.
CHANGE_MV: Final = 1.0


class OfVoltageChange(Measure):
    """A measure of V_m after a change minus V_m before, without spikes: means over steps and trials.

    Memory: four numbers per cell; while it sees a part, three per spike and refractory step.
    """

    needs: ClassVar[tuple[str, ...]] = ("spikes", "voltage")

    def __init__(self, design: Design):
        super().__init__(design)
        # Before and after, of every cell.
        self._total = np.zeros((2, design.n_cells))
        self._steps = np.zeros((2, design.n_cells))
        t_ref = np.full(design.n_cells, np.nan) if design.t_ref is None else design.t_ref
        known = torch.from_numpy(np.where(np.isfinite(t_ref), t_ref, AFTER_SPIKE_MS))
        self._refractory = refractory_steps(known, design.dt).numpy()
        self._trials: Indices = np.zeros(0, np.int64)
        self._held = np.zeros((3, 0), np.int64)

    def see(self, activity: Activity) -> None:
        """Add V_m before and after the change, less that of spikes."""
        change, voltage = self.design.change, activity.voltage
        if change is None:
            return
        assert voltage is not None
        trial, step, cell = self._clipped(activity)
        ends = (0, change), (change, self.design.n_steps)
        for row, (first, last) in enumerate(ends):
            start, stop = max(first, activity.start), min(last, activity.stop)
            if start >= stop:
                continue
            here = slice(start - activity.start, stop - activity.start)
            gone = (step >= start) & (step < stop)
            at = trial[gone], step[gone] - activity.start, cell[gone]
            n = self.design.n_cells
            self._total[row] += voltage[:, here].sum(axis=(0, 1))
            self._total[row] -= np.bincount(at[2], voltage[at], minlength=n)
            self._steps[row] += len(voltage) * (stop - start)
            self._steps[row] -= np.bincount(at[2], minlength=n)

    def _clipped(self, activity: Activity) -> Indices:
        """[3, k] trial, step and cell of spikes and refractory steps, none twice; later ones are kept."""
        n_held = self._refractory[activity.cell] + 1
        spike = np.repeat(np.arange(len(n_held)), n_held)
        since = np.arange(len(spike)) - np.repeat(np.cumsum(n_held) - n_held, n_held)
        found = np.stack(
            [activity.trial[spike], activity.step[spike] + since, activity.cell[spike]]
        )
        if np.array_equal(activity.trials, self._trials):
            found = np.concatenate([self._held, found], axis=1)
        found = found[:, found[1] < self.design.n_steps]
        shape = len(activity.trials), self.design.n_steps, self.design.n_cells
        found = np.stack(
            np.unravel_index(np.unique(np.ravel_multi_index(tuple(found), shape)), shape)
        )
        now = found[1] < activity.stop
        self._trials, self._held = activity.trials, found[:, ~now]
        return found[:, now]

    def change(self) -> tuple[Array, str]:
        """[n_cells] mV, NaN where there is nothing left of a cell; and why there would be nothing."""
        if self.design.change is None:
            reason = "what is shown does not change in this window"
        elif not self._steps.any():
            reason = "nothing was observed"
        else:
            reason = "the cells are refractory all the time"
        some = self._steps > 0
        mean = np.divide(
            self._total, self._steps, out=np.full_like(self._total, np.nan), where=some
        )
        return mean[1] - mean[0], reason
