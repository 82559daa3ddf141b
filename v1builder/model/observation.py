"""The one loop over time of whatever only watches a network: no gradient, segment by segment.

A run goes in segments of steps. Every segment is handed to observers, and then forgotten, so that memory
does not grow with the length of a run. Segments change no number.

    counts = SpikeCounts()
    state = observe(model, {"lgn": spikes}, [counts])

Spikes and voltages cost nothing beyond the run. Other quantities (`recordables`) follow from the states
around each step, so a run in which one is asked for goes step by step: see `observe` for what that costs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v1builder.model.recordables import V_M, Step, recordable
from v1builder.model.rollout import Coefficients, Rollout, State
from v1builder.schema.errors import ConfigError

SEGMENT_STEPS: Final = 250
#: Spikes [batch, step, cell] of a segment, 64 MiB in float32; likewise all that is recorded step by step.
_SEGMENT_SPIKES: Final = 1 << 24

#: Spikes [batch, step, unit] by input, whole or as a function of first and last step. A function is called
#: once for every segment, in their order.
Inputs = Mapping[str, Tensor] | Callable[[int, int], Mapping[str, Tensor]]
#: Injected current [batch or 1, step or 1, cell] pA, whole or as such a function; None is no current.
Current = Tensor | Callable[[int, int], Tensor | None] | None


@dataclass(frozen=True)
class Segment:
    """Consecutive steps of a run. b sample, t step, n cell.

    Attributes:
        start: number of its first step.
        spikes: [b, t, n] as a rollout gives them.
        inputs: [b, t, unit] what drove it, by input.
        recorded: [b, t, n] or [b, t, n, port] by name of a recordable that an observer needs; V_m in float64.
    """

    start: int
    spikes: Tensor
    inputs: Mapping[str, Tensor]
    recorded: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def stop(self) -> int:
        """Number of the step after its last."""
        return self.start + self.spikes.shape[1]


class Observer(ABC):
    """Sees every segment of a run, in their order.

    Attributes:
        needs: names of recordables it wants besides the spikes.
    """

    needs: Sequence[str] = ()

    @abstractmethod
    def see(self, segment: Segment) -> None:
        """Take what it wants of a segment."""


class Observable(Protocol):
    """What a run needs of a model. `V1Network` has it, and calls `observe` itself."""

    n_cells: int
    n_ports: int
    cells: Any
    neuron: Any
    bias_current: Any

    def check_inputs(
        self,
        inputs: Mapping[str, Tensor],
        n_steps: int | None,
        current: Tensor | None,
        state: State | None,
    ) -> tuple[int, int]:
        """Batch size and number of steps."""
        ...

    def initial_state(self, batch: int = 1) -> State:
        """Cells at rest."""
        ...

    def propagators(self) -> Coefficients:
        """Coefficients of the cells."""
        ...

    def __call__(self, *args: Any, **options: Any) -> Any:
        """A rollout."""
        ...


def segment_steps(batch: int, n_cells: int, longest_delay: int = 1) -> int:
    """Steps of a segment: 250, or 8 times the longest delay; fewer where their spikes need more than 64 MiB.

    What is on its way is handed from segment to segment, as many steps as the longest delay has: 2 000 at a
    step of .001 ms, where segments of 250 steps took 17 times as long as those of 8 000. Beyond 16 times the
    longest delay the spikes of a segment no longer fit into the caches, which costs more than it saves.
    """
    wanted = max(SEGMENT_STEPS, 8 * longest_delay)
    return max(1, min(wanted, _SEGMENT_SPIKES // max(1, batch * n_cells)))


@torch.no_grad()
def observe(
    model: Observable,
    inputs: Inputs,
    observers: Sequence[Observer] = (),
    *,
    n_steps: int | None = None,
    current: Current = None,
    state: State | None = None,
    first_step: int = 0,
    steps: int | None = None,
) -> State:
    """Run a network and let observers watch.

    Args:
        model: of the network.
        inputs: what drives it.
        observers: what watches it. What they need besides spikes and V_m makes the run go step by step: 6 ms
            a step with 400 cells, 25 ms with 4 000 (2 million edges) on one core, 25 to 70 times as much.
        n_steps: length; needed where `inputs` is a function or there are none.
        current: injected into the cells.
        state: where to start; at rest unless given.
        first_step: number that the first step has for the observers.
        steps: length of a segment; unless given that of `segment_steps`, where quantities other than spikes
            and V_m count as more cells.

    Returns:
        The state after the last step.

    Raises:
        ConfigError: as `V1Network.forward`; an observer needs what cannot be recorded; or the length is not
            known.
    """
    batch = 1 if state is None else len(state.U)
    if not callable(inputs):
        given = None if callable(current) else current
        batch, n_steps = model.check_inputs(inputs, n_steps, given, state)
    if n_steps is None:
        raise ConfigError.of("the number of steps is not known", "observe", fix="give n_steps")
    recorder = _Recorder(model, {name for one in observers for name in one.needs})
    longest = 1 if state is None else len(state.pending)
    length = steps or segment_steps(batch, model.n_cells * recorder.numbers, longest)
    for start in range(0, n_steps, length):
        stop = min(start + length, n_steps)
        spikes = dict(inputs(start, stop)) if callable(inputs) else _cut(inputs, start, stop)
        injected = current(start, stop) if callable(current) else _part(current, start, stop)
        if state is None:
            batch, _ = model.check_inputs(spikes, stop - start, injected, None)
            state = model.initial_state(batch)
        fired, recorded, state = recorder.run(spikes, stop - start, injected, state)
        segment = Segment(first_step + start, fired, spikes, recorded)
        for one in observers:
            one.see(segment)
    assert state is not None  # there is at least one step
    return state


def _cut(inputs: Mapping[str, Tensor], start: int, stop: int) -> dict[str, Tensor]:
    return {name: spikes[:, start:stop] for name, spikes in inputs.items()}


def _part(current: Tensor | None, start: int, stop: int) -> Tensor | None:
    return current if current is None or current.shape[1] == 1 else current[:, start:stop]


class _Recorder:
    """Runs segments, at once or step by step, and knows what is held over a refractory period.

    Attributes:
        numbers: that are kept of every cell and step of a run step by step, 1 of any other.
    """

    def __init__(self, model: Observable, names: Collection[str]):
        self._model = model
        own = model.neuron.recordables
        self._wanted = {name: recordable(name, own) for name in sorted(names)}
        self._held: dict[str, Tensor] = {}
        self._by_step = not self._wanted.keys() <= {V_M}
        each = (model.n_ports if one.by_port else 1 for one in self._wanted.values())
        self.numbers = sum(each) if self._by_step else 1
        self._propagators = model.propagators() if self._by_step else None

    def run(
        self, inputs: Mapping[str, Tensor], n_steps: int, current: Tensor | None, state: State
    ) -> tuple[Tensor, dict[str, Tensor], State]:
        """Spikes, what was recorded, and the state after some steps."""
        if not self._by_step:
            rollout = self._rollout(
                inputs, n_steps, current, state, record_voltage=V_M in self._wanted
            )
            voltage, recorded = rollout.voltage, {}
            if voltage is not None:
                recorded[V_M] = voltage.double() + self._model.cells.E_L
            return rollout.spikes, recorded, rollout.state
        spikes, columns = [], {name: [] for name in self._wanted}
        for t in range(n_steps):
            before = state
            rollout = self._rollout(_cut(inputs, t, t + 1), 1, _part(current, t, t + 1), before)
            state = rollout.state
            spikes.append(rollout.spikes)
            for name, value in self._values(before, state).items():
                columns[name].append(value)
        recorded = {name: torch.stack(column, dim=1) for name, column in columns.items()}
        return torch.cat(spikes, dim=1), recorded, state

    def _rollout(
        self,
        inputs: Mapping[str, Tensor],
        n_steps: int,
        current: Tensor | None,
        state: State,
        **options: bool,
    ) -> Rollout:
        return self._model(inputs, n_steps=n_steps, current=current, state=state, **options)

    def _values(self, before: State, after: State) -> dict[str, Tensor]:
        """[b, n, ...] of every quantity after a step."""
        model = self._model
        assert self._propagators is not None
        step = Step(before, after, self._propagators, model.cells.E_L, model.bias_current)
        found = {name: one.value(step) for name, one in self._wanted.items()}
        for name, one in self._wanted.items():
            if one.held:
                last = self._held.get(name, found[name])
                integrates = step.before.refractory == 0
                self._held[name] = found[name] = torch.where(integrates, found[name], last)
        return found


class SpikeCounts(Observer):
    """Counts the spikes of every cell in every sample.

    Attributes:
        counts: [b, n] float64, spikes from step `first_step` on.
    """

    def __init__(self, first_step: int = 0):
        """Count from this step on."""
        self._first_step = first_step
        self._total: Tensor | None = None

    @property
    def counts(self) -> NDArray[np.float64]:
        """[b, n] of all segments seen."""
        assert self._total is not None, "nothing was run"
        return self._total.cpu().numpy()

    def see(self, segment: Segment) -> None:
        """Add the spikes of a segment."""
        counted = segment.spikes[:, max(0, self._first_step - segment.start) :]
        counts = counted.sum(dim=1, dtype=torch.float64)
        self._total = counts if self._total is None else self._total + counts


class EverySpike(Observer):
    """Keeps the spikes as they come, for trials that fit into memory."""

    def __init__(self):
        self._parts: list[Tensor] = []

    @property
    def spikes(self) -> Tensor:
        """[b, t, n] of all segments seen."""
        return torch.cat(self._parts, dim=1)

    def see(self, segment: Segment) -> None:
        """Keep the spikes of a segment."""
        self._parts.append(segment.spikes)


class SpikeEvents(Observer):
    """Keeps every spike, as positions: memory grows with the number of spikes, not of steps and cells."""

    def __init__(self, source: str | None = None):
        """Keep the spikes of the input `source`; of the cells when None."""
        self._source = source
        self._parts: list[tuple[NDArray[np.int32], NDArray[np.float64]]] = []

    def see(self, segment: Segment) -> None:
        """Keep the spikes of a segment."""
        spikes = segment.spikes if self._source is None else segment.inputs[self._source]
        # A fifth of the time of torch's nonzero on numbers, nearly all of which are zero.
        at = np.flatnonzero((spikes != 0).cpu().numpy())
        sample, step, unit = np.unravel_index(at, spikes.shape)
        rows = np.stack([sample, step + segment.start, unit]).astype(np.int32)
        found = spikes.flatten()[torch.from_numpy(at).to(spikes.device)]
        self._parts.append((rows, found.double().cpu().numpy()))

    def events(self) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Of s spikes: sample, step and unit [3, s], by segment and there by sample, step, unit; number [s].

        The number is how often the unit fired in the step; only an input can fire more than once.
        """
        if not self._parts:
            return np.zeros((3, 0), np.int32), np.zeros(0)
        rows, numbers = zip(*self._parts, strict=True)
        return np.concatenate(rows, axis=1), np.concatenate(numbers)
