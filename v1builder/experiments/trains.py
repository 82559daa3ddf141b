"""Spike trains of trials, and what short-term plasticity and after-spike currents make of them.

Both only change at spikes and relax in between, so they are followed from spike to spike: all first spikes
of all trains at once, then all second ones, and so on (`Trains.by_rank`). The steps are those of
`model.plasticity` and `model.rollout`, whose numbers come out again.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


class SynapseDynamics(NamedTuple):
    """Short-term plasticity of a synapse: U release from rest, tau_rec and tau_fac (0 for none) in ms."""

    U: float
    tau_rec: float
    tau_fac: float


@dataclass(frozen=True)
class Trains:
    """Spikes of the units of one population. s spikes, in the order of (trial, unit, step).

    Attributes:
        trial: [s].
        unit: [s] position in the population.
        step: [s] counted from the start of the trial's warm-up.
        number: [s] spikes of the unit in the step; only an input can have several.
        first_step: [trials] steps of the warm-up: the window that counts begins there.
        n_steps: [trials] steps of warm-up and window.
        n_units: size of the population.
    """

    trial: Indices
    unit: Indices
    step: Indices
    number: Array
    first_step: Indices
    n_steps: Indices
    n_units: int

    def __len__(self) -> int:
        return len(self.step)

    @cached_property
    def in_window(self) -> NDArray[np.bool_]:
        """[s] True for the spikes that count."""
        return self.step >= self.first_step[self.trial]

    @cached_property
    def count(self) -> Array:
        """[units] spikes in the windows of all trials."""
        number = np.where(self.in_window, self.number, 0)
        return np.bincount(self.unit, number, self.n_units).astype(np.float64)

    @cached_property
    def _first(self) -> Indices:
        """[trains] position of the first spike of each train, the longest train first."""
        key = self.trial * self.n_units + self.unit
        first = np.flatnonzero(np.diff(key, prepend=-1))
        return first[np.argsort(-np.diff(first, append=len(key)), kind="stable")]

    @cached_property
    def _lengths(self) -> Indices:
        """[trains] number of spikes of each, in the order of `_first`."""
        order = np.argsort(self._first)
        lengths = np.empty(len(order), np.int64)
        lengths[order] = np.diff(self._first[order], append=len(self))
        return lengths

    def by_rank(self) -> Iterator[Indices]:
        """Positions of the first spikes of all trains, of the second ones of those that have two, ..."""
        rank, first, lengths = 0, self._first, self._lengths
        while len(first):
            yield first + rank
            rank += 1
            n = int(np.searchsorted(-lengths, -rank))  # trains with more spikes than `rank`
            first, lengths = first[:n], lengths[:n]

    @cached_property
    def last(self) -> Indices:
        """[trains] position of the last spike of each train, in the order of `by_rank`."""
        return self._first + self._lengths - 1

    def selected(self, which: NDArray[np.bool_]) -> "Trains":
        """Some of the spikes, `which` [s], of the same trials and units."""
        return Trains(
            self.trial[which],
            self.unit[which],
            self.step[which],
            self.number[which],
            self.first_step,
            self.n_steps,
            self.n_units,
        )

    def of_units(self, units: Indices) -> "Trains":
        """The spikes of some units (ascending), numbered among these."""
        own = self.selected(np.isin(self.unit, units))
        return replace(own, unit=np.searchsorted(units, own.unit), n_units=len(units))


def release(trains: Trains, dynamics: SynapseDynamics, dt: float) -> Array:
    """What every spike releases over what it would release from rest, u x / U.

    Args:
        trains: of the sources, from rest on.
        dynamics: of their synapses.
        dt: ms.

    Returns:
        [s]. Spikes of one step release together, as in `model.plasticity`.
    """
    return _followed(trains, dynamics, dt)[0]


def onset_release(trains: Trains, dynamics: SynapseDynamics, dt: float) -> Array:
    """What a spike in the first step of the window would release, u x / U: [units], mean over trials.

    Args: as `release`.
    """
    before = trains.selected(~trains.in_window)
    _, u, x = _followed(before, dynamics, dt)
    last = before.last
    steps = trains.first_step[before.trial[last]] - before.step[last]
    u = u * _decay(steps, dynamics.tau_fac, dt)
    x = 1 + (x - 1) * _decay(steps, dynamics.tau_rec, dt)
    beyond_rest = (u + dynamics.U * (1 - u)) * x / dynamics.U - 1
    return 1 + np.bincount(before.unit[last], beyond_rest, trains.n_units) / len(trains.n_steps)


def _followed(trains: Trains, dynamics: SynapseDynamics, dt: float) -> tuple[Array, Array, Array]:
    """[s] release of every spike, [trains] u and x after the last of each train."""
    U, tau_rec, tau_fac = dynamics
    released = np.empty(len(trains))
    u, x = np.zeros(len(trains.last)), np.ones(len(trains.last))
    for rank, at in enumerate(trains.by_rank()):
        n = len(at)
        if rank:
            steps = trains.step[at] - trains.step[at - 1]
            u[:n] *= _decay(steps, tau_fac, dt)
            x[:n] = 1 + (x[:n] - 1) * _decay(steps, tau_rec, dt)
        u[:n] += U * (1 - u[:n])
        released[at] = u[:n] * x[:n] / U
        x[:n] -= u[:n] * x[:n]
    return released, u, x


def _decay(steps: Indices, tau: float, dt: float) -> Array:
    """What is left after some steps; nothing where tau is 0."""
    return np.exp(-steps * dt / tau) if tau > 0 else np.zeros(len(steps))


@dataclass(frozen=True)
class AfterSpike:
    """How the after-spike currents of every cell go on, see `model.rollout.Propagators`.

    Attributes:
        mean: [n, a] mean over a step per value at its start.
        decay: [n, a] factor per step.
        amps: [n, a] pA added by a spike.
        kept: [n, a] what remains of the current at a spike, after the refractory period.
        refractory: [n] steps, in which nothing acts or decays.
    """

    mean: Array
    decay: Array
    amps: Array
    kept: Array
    refractory: Indices

    def mean_current(self, trains: Trains) -> Array:
        """[n] pA, mean over those steps of the windows in which the cell is not refractory.

        A constant current acts in the same steps, so one of this size brings the same charge. 0 for a cell
        that is always refractory.
        """
        after = self._after_spikes(trains)
        trial, cell, n = trains.trial, trains.unit, trains.n_units
        # From its end of refractoriness to the step of the next spike, a current acts and decays.
        begin = trains.step + 1 + self.refractory[cell]
        stop = np.array(trains.n_steps[trial])
        followed = np.ones(len(trains), bool)
        followed[trains.last] = False
        stop[followed] = trains.step[np.flatnonzero(followed) + 1] + 1
        first = trains.first_step[trial]
        until, since = np.maximum(stop - begin, 0), np.maximum(first - begin, 0)
        steps = _powers(self.decay[cell], np.minimum(since, until), until)
        charge = np.bincount(cell, (self.mean[cell] * after * steps).sum(axis=1), n)
        held = np.minimum(begin, trains.n_steps[trial]) - np.maximum(trains.step + 1, first)
        free = (trains.n_steps - trains.first_step).sum() - np.bincount(
            cell, np.maximum(held, 0), n
        )
        return np.divide(charge, free, out=np.zeros(n), where=free > 0)

    def _after_spikes(self, trains: Trains) -> Array:
        """[s, a] pA, the currents that every spike leaves behind."""
        after = np.empty((len(trains), self.amps.shape[1]))
        for rank, at in enumerate(trains.by_rank()):
            cell = trains.unit[at]
            after[at] = self.amps[cell]
            if rank:
                steps = trains.step[at] - trains.step[at - 1] - self.refractory[cell]
                after[at] += after[at - 1] * self.decay[cell] ** steps[:, None] * self.kept[cell]
        return after


def _powers(decay: Array, start: Indices, stop: Indices) -> Array:
    """[s, a] sum of decay^j over start <= j < stop."""
    safe = np.where(decay < 1, decay, 0.5)
    powers = (safe ** start[:, None] - safe ** stop[:, None]) / (1 - safe)
    return np.where(decay < 1, powers, (stop - start)[:, None])
