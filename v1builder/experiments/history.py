"""What the intact network does, measured: what some ablations need in order to keep it.

Steady-state formulas do not describe short trials, so nothing here is computed from rates: spikes of
probe trials are recorded after a warm-up, and mean after-spike currents and efficacies of synapses
are what these spikes give.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v1builder.experiments.trains import AfterSpike, SynapseDynamics, Trains, release
from v1builder.load.network import EdgePopulation
from v1builder.model import V1Network
from v1builder.model.edges import Edges
from v1builder.model.neurons.glif import Propagators
from v1builder.model.observation import Observer, SpikeEvents, observe
from v1builder.schema.errors import ConfigError, NetworkError

Inputs = Mapping[str, Tensor]
_MS_PER_S: Final = 1000.0
#: Trials x steps x cells that are run at once; more trials are run one part after the other.
_AT_ONCE: Final = 1 << 27


@dataclass(frozen=True)
class Probe:
    """Inputs of trials in which a network is measured; a slice of them are some of the trials.

    Attributes:
        warm_up: spikes [trial, step, unit] by input, run before the trial; None for a start from rest.
        trial: the same of the trials themselves: the time that counts.
    """

    warm_up: Inputs | None
    trial: Inputs

    def __getitem__(self, trials: slice) -> "Probe":
        warm_up = None if self.warm_up is None else _some(self.warm_up, trials)
        return Probe(warm_up, _some(self.trial, trials))

    @property
    def n_trials(self) -> int:
        """Number of trials; 0 without inputs."""
        return next((len(spikes) for spikes in self.trial.values()), 0)

    @property
    def first_step(self) -> int:
        """Steps of the warm-up: the number of the first step that counts."""
        return _length(self.warm_up or {})

    @property
    def n_steps(self) -> int:
        """Steps of warm-up and trial."""
        return self.first_step + _length(self.trial)

    def run(
        self, model: V1Network, observers: Sequence[Observer], *, from_rest: bool = False
    ) -> None:
        """Let observers watch the trials; from rest, and so the warm-up too, if they are to."""
        state = None
        if self.warm_up:
            state = observe(model, self.warm_up, observers if from_rest else ())
        observe(model, self.trial, observers, state=state, first_step=self.first_step)


def _some(inputs: Inputs, trials: slice) -> Inputs:
    return {name: spikes[trials] for name, spikes in inputs.items()}


def _length(inputs: Inputs) -> int:
    return next((spikes.shape[1] for spikes in inputs.values()), 0)


@dataclass(frozen=True)
class SpikeHistory:
    """Spikes of the simulated cells of a network from rest on, and what follows from them.

    Attributes:
        rates: [n_cells] Hz, over the trials without their warm-up.
        asc_current: [n_cells] pA, mean after-spike current over the same time (see
            `trains.AfterSpike.mean_current`).
        trains: spikes of the cells, with those of the warm-up; None when only the rest is known.
        inputs: spikes of those inputs whose synapses have short-term plasticity.
        dt: ms.
    """

    rates: NDArray[np.float64]
    asc_current: NDArray[np.float64]
    trains: Trains | None = None
    inputs: Mapping[str, Trains] = field(default_factory=dict)
    dt: float = 1.0

    @property
    def n_cells(self) -> int:
        """Number of simulated cells."""
        return len(self.rates)

    def trains_of(self, edges: EdgePopulation) -> Trains:
        """Spikes of the sources of `edges`.

        Raises:
            ConfigError: they were not recorded.
        """
        recurrent = edges.source == edges.target
        trains = self.trains if recurrent else self.inputs.get(edges.source)
        if trains is None:
            raise ConfigError.of(
                f"the activity has no spikes of population {edges.source}",
                f"efficacy of the synapses {edges.name}",
                ", ".join(self.inputs) or "none of inputs",
                "use what `measure_history` says of a network in which these synapses are plastic",
            )
        return trains

    def efficacy(
        self, edges: EdgePopulation, values: Mapping[str, NDArray[np.float64]] | None = None
    ) -> NDArray[np.float64]:
        """Mean release over release from rest of every synapse model, as the recorded spikes make it.

        Every spike in the window counts as the weights of the synapses that it reaches.

        Args:
            edges: plastic edges; the rows of `edges.plasticity` are the synapse models.
            values: U, tau_rec and tau_fac, [models]; those of the edges unless given.

        Returns:
            [models], NaN for those whose sources never spike in a window, or that no edge has.

        Raises:
            NetworkError: the edges have no short-term plasticity.
            ConfigError: the spikes of the sources were not recorded.
        """
        if edges.plasticity is None:
            raise NetworkError.of(
                "efficacy is that of short-term plasticity, and the synapses have none",
                f"edges {edges.name}",
                "static synapses",
                'build the network with the recipe [synapses] dynamics = "stp"',
            )
        values = edges.plasticity.values if values is None else values
        trains = self.trains_of(edges)
        found = np.full(len(edges.plasticity.labels), np.nan)
        for row, weight in source_weights(edges, trains.n_units).items():
            own = trains.selected(weight[trains.unit] > 0)
            share = own.number * weight[own.unit] * own.in_window
            if share.any():
                dynamics = SynapseDynamics(
                    *(float(values[name][row]) for name in SynapseDynamics._fields)
                )
                found[row] = share @ release(own, dynamics, self.dt) / share.sum()
        return found


def source_weights(edges: EdgePopulation, n_sources: int) -> dict[int, NDArray[np.float64]]:
    """By synapse model that edges have: [n_sources] sum of the absolute weights of each source, pA."""
    assert edges.plasticity is not None
    row = edges.plasticity.group_of
    order = np.argsort(row, kind="stable")
    order = order[np.searchsorted(row[order], 0) :]
    if not len(order):
        return {}
    models, starts = np.unique(row[order], return_index=True)
    return {
        int(model): np.bincount(
            edges.source_index[own], np.abs(edges.weight[own]), n_sources
        ).astype(np.float64)
        for model, own in zip(models, np.split(order, starts[1:]), strict=True)
    }


def measure_history(model: V1Network, probes: Sequence[Probe]) -> SpikeHistory:
    """Run trials without gradient, from rest, and keep their spikes.

    Args:
        model: of spiking neurons.
        probes: trials, all counted alike: for a mean over conditions give as many of each.

    Raises:
        ConfigError: the neurons do not spike, or there is no trial.
    """
    if not model.neuron.spikes:
        raise ConfigError.of(
            f"activity is measured in spikes, and {model.neuron.name.upper()} neurons have none",
            "measure_history",
            f"neuron {model.neuron.name}",
            'give a module of the same network with neuron = "glif"',
        )
    edges = cast(Iterator[Edges], iter(model.edges.values()))
    plastic = {e.source for e in edges if e.n_sites and e.source is not None}
    parts = [part for probe in probes for part in _run(model, probe, sorted(plastic))]
    if not parts:
        raise ConfigError.of("nothing to measure", "measure_history", "no trials", "give trials")
    cells = _joined([part.pop("") for part in parts])
    seconds = (cells.n_steps - cells.first_step).sum() * model.dt / _MS_PER_S
    return SpikeHistory(
        cells.count / seconds,
        after_spike(model).mean_current(cells),
        cells,
        {name: _joined([part[name] for part in parts]) for name in sorted(plastic)},
        model.dt,
    )


def after_spike(model: V1Network) -> AfterSpike:
    """The after-spike currents of a module's cells.

    Raises:
        ConfigError: the cells are not GLIF cells.
    """
    with torch.no_grad():
        p = model.propagators()
    if not isinstance(p, Propagators):
        raise ConfigError.of(
            "the after-spike currents that are measured are those of GLIF cells",
            "measure_history",
            f"neuron {model.neuron.name}",
            "leave out what needs them, such as ablations that match them",
        )
    mean, decay, amps, kept = (
        tensor.double().cpu().numpy()
        for tensor in (p.asc_mean, p.asc_decay, p.asc_amps, p.asc_refractory)
    )
    return AfterSpike(mean, decay, amps, kept, p.t_ref_steps.cpu().numpy().astype(np.int64))


def _run(model: V1Network, probe: Probe, plastic: Sequence[str]) -> Iterator[dict[str, Trains]]:
    """The trains of the cells, by the name "", and of the `plastic` inputs; some trials at a time."""
    n_trials = probe.n_trials
    first, n_steps = probe.first_step, probe.n_steps
    at_once = max(1, _AT_ONCE // (n_steps * model.n_cells))
    sizes = {"": model.n_cells} | {name: model.input_sizes[name] for name in plastic}
    for start in range(0, n_trials, at_once):
        part = probe[start : start + at_once]
        seen = {name: SpikeEvents(name or None) for name in sizes}
        part.run(model, list(seen.values()), from_rest=True)
        yield {
            name: _trains(events, (part.n_trials, first, n_steps, sizes[name]))
            for name, events in seen.items()
        }


def _trains(events: SpikeEvents, shape: tuple[int, int, int, int]) -> Trains:
    """Trains of trials, first step of the window, steps, and units (`shape`)."""
    n_trials, first_step, n_steps, n_units = shape
    (trial, step, unit), number = events.events()
    order = np.lexsort((step, unit, trial))
    trial, unit, step = (index[order].astype(np.int64) for index in (trial, unit, step))
    windows = np.full(n_trials, first_step), np.full(n_trials, n_steps)
    return Trains(trial, unit, step, number[order], *windows, n_units)


def _joined(parts: Sequence[Trains]) -> Trains:
    """Trains of different trials as one."""
    n_trials = [len(part.n_steps) for part in parts]
    offsets = np.cumsum(n_trials) - n_trials
    trial = [part.trial + offset for part, offset in zip(parts, offsets, strict=True)]
    names = ("unit", "step", "number", "first_step", "n_steps")
    rest = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Trains(trial=np.concatenate(trial), **rest, n_units=parts[0].n_units)
