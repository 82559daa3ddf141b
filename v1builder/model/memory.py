"""How much memory a rollout and its gradient need, and segments short enough for a budget.

What a backend keeps of every step is measured, on two short rollouts of a single sample with autograd's
hooks for saved tensors; what does not depend on the backend is counted. So the estimate holds for any backend
and any set of trained parameters. (The triton backend saves its snapshots, sqrt(T) of them, through the
same hooks; counted from rollouts as short as these they are more than a long one needs.) What training adds
to the model is counted as well: the gradients, Adam's two moments, and a loss on the voltages where they are
recorded.
"""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn

from v1builder.model.rollout import Rollout, State
from v1builder.schema.errors import ConfigError

GIB: Final = 2**30
#: Steps of the two rollouts that are measured.
_PROBES: Final = (8, 16)
#: Copies of an output [b, t, n] that live at once: spikes and their gradient; drive, its gradient, and three
#: of the voltage loss.
_SPIKE_COPIES: Final = 2
_VOLTAGE_COPIES: Final = 5
#: Copies of a state that live at once besides those of segments: before, after, adjoint, in two layouts.
_STATE_COPIES: Final = 6
#: Per edge: weights in the order of files and of the backend with their gradients, exp(log_scale), and the
#: sorted plan with what sorting needs. Fitted to measured peaks, see tests/model/test_memory.py.
_EDGE_WEIGHTS: Final = 4
_EDGE_PLAN_BYTES: Final = 24
#: Per spike of an input: sample, step and unit as torch finds them, sorted, with a value.
_INPUT_SPIKE_BYTES: Final = 40
#: Of the free memory, what may be planned for.
_PLANNED: Final = 0.9


class Model(Protocol):
    """What is asked of a network."""

    n_cells: int
    bias_current: Tensor
    input_sizes: dict[str, int]

    def initial_state(self, batch: int = 1) -> State:
        """A state to start from."""
        ...

    def run(
        self, inputs: dict[str, Tensor], n_steps: int, state: State, record_voltage: bool
    ) -> Rollout:
        """A rollout that keeps everything."""
        ...

    def parameters(self) -> Any:
        """What may be learned."""
        ...

    def n_edges(self) -> int:
        """Number of edges."""
        ...


@dataclass(frozen=True)
class Need:
    """Bytes that a rollout and its gradient add to what is in use.

    Attributes:
        steps: kept by the backend of every step of a segment, until its backward pass.
        inputs: lists of the inputs' spikes (the inputs themselves are in use already).
        outputs: spikes and voltages of the whole rollout, their gradients and losses.
        states: at the begin of every segment, and those at work.
        edges: weights, their gradients, and the plan of who reaches whom.
        optimizer: gradients of the parameters and Adam's moments.
    """

    steps: float
    inputs: float
    outputs: float
    states: float
    edges: float
    optimizer: float

    @property
    def total(self) -> float:
        """Bytes."""
        return sum(getattr(self, field.name) for field in fields(self))

    def __str__(self) -> str:
        parts = (f"{field.name} {getattr(self, field.name) / GIB:.2g}" for field in fields(self))
        return f"{self.total / GIB:.3g} GiB ({', '.join(parts)})"


@dataclass(frozen=True)
class Costs:
    """From which the need of a rollout of any size follows.

    Attributes:
        step: bytes kept per step and sample.
        input: bytes of listed input spikes per step and sample.
        output: bytes of an output per step and sample.
        state: bytes of a state per sample.
        edges, optimizer: bytes, whatever the size.
        record_voltage: whether voltages are outputs too.
        gradient: whether a backward pass follows.
    """

    step: float
    input: float
    output: float
    state: float
    edges: float
    optimizer: float
    record_voltage: bool
    gradient: bool

    @classmethod
    def of(cls, model: Model, record_voltage: bool, inputs: Mapping[str, Tensor]) -> "Costs":
        """Measured and counted on a model and the inputs [batch, time, source] it is to see."""
        gradient = torch.is_grad_enabled()
        item = model.bias_current.element_size()
        start = model.initial_state(1)
        learned = [p for p in model.parameters() if p.requires_grad] if gradient else []
        few, more = (_kept(model, n, record_voltage) for n in _PROBES) if learned else (0, 0)
        return cls(
            step=(more - few) / (_PROBES[1] - _PROBES[0]),
            input=_INPUT_SPIKE_BYTES * sum(_spikes_per_step(x) for x in inputs.values()),
            output=model.n_cells * item,
            state=sum(_bytes(getattr(start, field.name)) for field in fields(start)),
            edges=model.n_edges() * ((_EDGE_WEIGHTS if learned else 2) * item + _EDGE_PLAN_BYTES),
            optimizer=3 * sum(map(_bytes, learned)),
            record_voltage=record_voltage,
            gradient=bool(learned),
        )

    def need(self, batch: int, n_steps: int, segment: int | None = None) -> Need:
        """Of `n_steps` steps of `batch` samples, recomputed in segments of so many steps."""
        length = min(segment or n_steps, n_steps)
        n_segments = -(-n_steps // length)
        copies = _SPIKE_COPIES if self.gradient else 1
        if self.record_voltage:
            copies += _VOLTAGE_COPIES if self.gradient else 2
        outputs = batch * n_steps * self.output
        if n_segments > 1:
            # Segments are joined while their parts are still there.
            copies += 3 if self.record_voltage else 1
        return Need(
            steps=batch * length * self.step,
            inputs=batch * length * self.input,
            outputs=copies * outputs,
            states=batch * self.state * (_STATE_COPIES + (n_segments if n_segments > 1 else 0)),
            edges=self.edges,
            optimizer=self.optimizer,
        )

    def segment(self, batch: int, n_steps: int, free: float) -> int | None:
        """The longest segment with which the need is at most `free` bytes; None when there is none."""
        lengths = {-(-n_steps // k) for k in range(1, n_steps + 1)} if self.gradient else {n_steps}
        fitting = (
            n for n in sorted(lengths, reverse=True) if self.need(batch, n_steps, n).total <= free
        )
        return next(fitting, None)

    def least(self, batch: int, n_steps: int) -> Need:
        """With the segments that need least."""
        lengths = range(1, n_steps + 1) if self.gradient else (n_steps,)
        return min((self.need(batch, n_steps, n) for n in lengths), key=lambda need: need.total)


def choose_segment(
    model: Model,
    inputs: Mapping[str, Tensor],
    batch: int,
    n_steps: int,
    record_voltage: bool,
    budget: float | None,
) -> int:
    """The longest segment with which a rollout stays within a budget.

    Args:
        model: a network.
        inputs: what it is to see.
        batch: samples of the rollout.
        n_steps: its steps.
        record_voltage: whether voltages are kept.
        budget: GiB for the whole process (on a GPU, its memory there); what is free when None.

    Raises:
        ConfigError: not even the shortest segments stay within it.
    """
    device = model.bias_current.device
    used = in_use(device)
    free = _PLANNED * free_memory(device) if budget is None else budget * GIB - used
    costs = Costs.of(model, record_voltage, inputs)
    segment = costs.segment(batch, n_steps, free)
    if segment is not None:
        return segment
    least = costs.least(batch, n_steps)

    def fits(batch: int, n_steps: int, costs: Costs = costs) -> bool:
        return costs.segment(batch, n_steps, free) is not None

    ways = []
    if (most := _largest(lambda b: fits(b, n_steps), batch)) > 0:
        ways.append(
            f"a batch of at most {most} (per process: train --devices shares a batch between them)"
        )
    if (most := _largest(lambda t: fits(batch, t), n_steps)) > 0:
        ways.append(f"at most {most} steps")
    if record_voltage:
        silent = Costs(**{**costs.__dict__, "record_voltage": False})
        if fits(batch, n_steps, silent):
            ways.append("no recorded voltages (train.voltage_weight = 0)")
    if model.bias_current.dtype == torch.float64:
        half = {f: getattr(costs, f) / 2 for f in ("step", "output", "state", "edges", "optimizer")}
        if fits(batch, n_steps, Costs(**{**costs.__dict__, **half})):
            ways.append("float32")
    ways.append(f"memory for {(used + least.total) / GIB:.3g} GiB in all")
    raise ConfigError.of(
        "the rollout needs more memory than there is",
        f"{batch} samples, {n_steps} steps, {model.n_cells} cells, {model.n_edges()} edges",
        f"at least {least} on top of {used / GIB:.3g} GiB in use, {max(free, 0) / GIB:.3g} GiB free",
        "one of: " + "; ".join(ways),
    )


def in_use(device: torch.device) -> int:
    """Bytes of memory in use: by this process, or by torch on its GPU."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    try:
        resident = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(resident) * os.sysconf("SC_PAGE_SIZE")


def free_memory(device: torch.device) -> int:
    """Bytes this process can still get, within the limit of its container."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable")]
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            found.append(int(limit) - int((group / "memory.current").read_text()))
    except OSError:
        pass
    return max(0, min(found))


def _kept(model: Model, n_steps: int, record_voltage: bool) -> int:
    """Bytes that autograd keeps of a rollout of one sample, outputs aside."""
    device = model.bias_current.device
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    inputs = {
        # One spike per step, because without any an input's edges would not be walked.
        name: torch.nn.functional.one_hot(torch.zeros(1, n_steps, dtype=torch.int64), size)
        .to(torch.uint8)
        .to(device)
        for name, size in model.input_sizes.items()
    }
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        rollout = model.run(inputs, n_steps, model.initial_state(1), record_voltage)
    for output in (rollout.spikes, rollout.voltage, rollout.drive):
        if output is not None:
            kept.pop(output.untyped_storage().data_ptr(), None)
    return sum(map(_bytes, kept.values()))


def _spikes_per_step(spikes: Tensor) -> float:
    """Mean over samples and steps."""
    return int(torch.count_nonzero(spikes)) / max(1, spikes.shape[0] * spikes.shape[1])


def _bytes(tensor: Tensor | nn.Parameter) -> int:
    return tensor.untyped_storage().nbytes()


def _largest(fits: Callable[[int], bool], end: int) -> int:
    """The largest number below `end` that fits, 0 when none does."""
    low, high = 0, end
    while high - low > 1:
        middle = math.floor((low + high) / 2)
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
