"""The fused CPU backend: the whole rollout in compiled kernels, forward and backward.

One autograd function per rollout. The forward pass stores the voltage before the spike test (from
which the spikes follow) and a snapshot of the slow state every sqrt(T) steps; the backward pass
recomputes each segment exactly from its snapshot. Gradients with respect to the coefficients of
cells and synapses cost time and memory only when one of them is asked for.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import isqrt
from typing import Any, Final

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from v1builder.model.backends import _kernels_backward, _kernels_forward, _kernels_replay
from v1builder.model.backends._kernels_edges import EdgePlan, InputSpikes, list_spikes, plan_edges
from v1builder.model.backends._kernels_forward import SYNAPSE_FIELDS, WIDTH
from v1builder.model.backends._kernels_layout import (
    COEFFICIENTS,
    STATE,
    Array,
    Cells,
    Dynamics,
    as_steps,
    samples_last,
)
from v1builder.model.rollout import Plasticity, Projection, Propagators, Rollout, State
from v1builder.model.surrogate import Surrogate
from v1builder.schema.errors import ConfigError

_THREADED_FROM: Final = (
    16384  # units of work per step (about 1 ns each) that pay for a second thread
)
_CELLS_PER_TASK: Final = 256
_N_CELL: Final = len(COEFFICIENTS) - len(SYNAPSE_FIELDS)


@dataclass(frozen=True)
class _Setting:
    """What a rollout is given besides the tensors that may need a gradient."""

    edges: EdgePlan
    inputs: InputSpikes
    input_slices: tuple[slice, ...]  # units, among all input units, of inputs that need a gradient
    t_ref: Array  # [n] int32
    refractory: Array  # [b, n] int32, before the first step
    n_weights: int  # number of weight tensors
    n_steps: int
    n_receptors: int
    n_delays: int
    surrogate: Surrogate
    detach_reset: bool
    record_voltage: bool

    def threaded(self, work_per_step: float) -> bool:
        return numba.get_num_threads() > 1 and work_per_step >= _THREADED_FROM

    def cell_work(self) -> int:
        return self.refractory.size * (self.n_receptors + 2)


@dataclass(frozen=True)
class _Snapshot:
    """State before step `begin`, from which the steps up to `end` are recomputed."""

    begin: int
    end: int
    U: Array
    asc: Array
    refractory: Array
    current: Array
    y: Array  # of length 0, like ring, unless the synapses' coefficients need a gradient
    ring: Array


def why_unsupported(propagators: Propagators, plasticity: Plasticity | None) -> str | None:
    """What of a model these kernels cannot compute, or None."""
    if propagators.threshold is not None:
        return "cells of GLIF level 2, 4 or 5"
    if propagators.y2_init_fast is not None or propagators.U_jump is not None:
        return "exponential or delta synapses"
    if plasticity is not None:
        return "short-term plasticity"
    return None


def rollout(
    propagators: Propagators,
    projections: Sequence[Projection],
    weights: Sequence[Tensor],
    inputs: Mapping[str, Tensor],
    current: Tensor | None,
    state: State,
    n_steps: int,
    *,
    plasticity: Plasticity | None = None,
    surrogate: Surrogate,
    detach_reset: bool,
    record_voltage: bool,
) -> Rollout:
    """Run `n_steps` steps. See `v1builder.model.rollout.Backend` for the arguments.

    Raises:
        ConfigError: the model has what these kernels cannot compute (`why_unsupported`), the
            tensors are not all float32 or all float64 on the CPU, or their shapes do not fit.
    """
    reason = why_unsupported(propagators, plasticity)
    if reason is not None:
        raise ConfigError.of(
            "the fused backend cannot compute this model",
            "backend 'fused'",
            reason,
            "use backend 'reference' or 'auto'",
        )
    coefficients = [getattr(propagators, name) for name in COEFFICIENTS]
    start = [getattr(state, name) for name in STATE]
    _check_tensors([*coefficients, *start, *weights, *([] if current is None else [current])])
    n_delays, n_batch, n_cells, n_receptors = state.pending.shape
    _check_shapes(projections, weights, inputs, current, (n_batch, n_steps, n_cells))
    edges = plan_edges(projections, (n_cells, n_receptors, n_delays))
    differentiable = [name for name in edges.first_source if inputs[name].requires_grad]
    dtype = np.dtype(str(state.U.dtype).removeprefix("torch."))
    with _torch_threads():
        setting = _Setting(
            edges=edges,
            inputs=list_spikes(inputs, edges, n_batch, n_steps, dtype),
            input_slices=tuple(
                slice(edges.first_source[name] - n_cells, edges.first_source[name] - n_cells
                      + inputs[name].shape[2])
                for name in differentiable
            ),
            t_ref=propagators.t_ref_steps.to(torch.int32).contiguous().numpy(),
            refractory=state.refractory.to(torch.int32).contiguous().numpy(),
            n_weights=len(weights),
            n_steps=n_steps,
            n_receptors=n_receptors,
            n_delays=n_delays,
            surrogate=surrogate,
            detach_reset=detach_reset,
            record_voltage=record_voltage,
        )  # fmt: skip
        spikes, voltage, drive, refractory, *end = _FusedRollout.apply(  # pyright: ignore[reportGeneralTypeIssues]
            setting,
            *coefficients,
            *start,
            current,
            *weights,
            *(inputs[name] for name in differentiable),
        )
    end_state = replace(state, refractory=refractory, **dict(zip(STATE, end, strict=True)))
    return Rollout(spikes=spikes, voltage=voltage, drive=drive, state=end_state)


class _FusedRollout(torch.autograd.Function):
    """Tensors: coefficients, state, current or None, weights, inputs that need a gradient."""

    @staticmethod
    def forward(ctx, setting: _Setting, *tensors: Any) -> tuple[Tensor | None, ...]:
        ctx.set_materialize_grads(False)
        first = len(COEFFICIENTS) + len(STATE)
        coefficients, state = tensors[: len(COEFFICIENTS)], tensors[len(COEFFICIENTS) : first]
        current, weights = tensors[first], tensors[first + 1 : first + 1 + setting.n_weights]
        needs = ctx.needs_input_grad[1:]
        cells = Cells.pack(coefficients, setting.edges.n_padded)
        dynamics = Dynamics.pack(state, setting.edges.n_padded)
        refractory = setting.refractory.copy()
        run = _Forward(setting, cells, dynamics, refractory, keep_drive=any(needs))
        snapshots = run.advance(
            setting.edges.gather(weights, dynamics.U.dtype),
            as_steps(current, dynamics.U),
            keep_synapses=any(needs[_N_CELL : len(COEFFICIENTS)]),
        )
        drive, ended = torch.from_numpy(run.drive), torch.from_numpy(refractory)
        ctx.mark_non_differentiable(ended)
        if any(needs):
            ctx.save_for_backward(drive, current, *weights)
            ctx.setting, ctx.cells, ctx.snapshots = setting, cells, snapshots
        voltage = torch.from_numpy(run.voltage) if setting.record_voltage else None
        return (
            torch.from_numpy(run.spikes),
            voltage,
            drive if setting.record_voltage else None,
            ended,
            *dynamics.unpack(setting.n_receptors, setting.n_delays, setting.n_steps),
        )

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Any) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        drive, current, *weights = ctx.saved_tensors
        with _torch_threads():
            run = _Backward(ctx.setting, ctx.cells, drive.numpy(), current, weights, grads)
            return None, *run.retreat(ctx.snapshots, ctx.needs_input_grad[1:])


class _Forward:
    """Arrays of one forward pass. drive and voltage have one row when nobody wants them."""

    def __init__(
        self,
        setting: _Setting,
        cells: Cells,
        dynamics: Dynamics,
        refractory: Array,
        keep_drive: bool,
    ):
        self.setting, self.cells, self.dynamics = setting, cells, dynamics
        self.refractory = refractory
        self.segmented = keep_drive
        n_batch, n_cells = refractory.shape
        n_steps, dtype = setting.n_steps, dynamics.U.dtype
        recorded = setting.record_voltage
        self.spikes = np.zeros((n_batch, n_steps, n_cells), dtype)
        self.drive = np.empty((n_batch, n_steps if keep_drive or recorded else 1, n_cells), dtype)
        self.voltage = np.empty((n_batch, n_steps if recorded else 0, n_cells), dtype)

    def advance(self, weight: Array, current: Array, keep_synapses: bool) -> list[_Snapshot]:
        """Run all steps; returns a snapshot at the begin of every segment when drive is kept."""
        setting, cells, state = self.setting, self.cells, self.dynamics
        edges, spikes_in = setting.edges, setting.inputs
        n_batch = len(self.refractory)
        total = np.zeros((n_batch, edges.n_padded), state.U.dtype)
        spiked = np.empty((2, n_batch, edges.n_blocks, edges.block_size), np.int32)
        n_spiked = np.zeros((2, n_batch, edges.n_blocks), np.int64)
        ones = np.ones(edges.block_size, state.U.dtype)
        length = isqrt(setting.n_steps) + 1 if self.segmented else setting.n_steps
        kept = n_batch if keep_synapses else 0
        snapshots = []
        for begin in range(0, setting.n_steps, length):
            end = min(begin + length, setting.n_steps)
            if self.segmented:
                snapshots.append(
                    _Snapshot(
                        begin,
                        end,
                        state.U.copy(),
                        state.asc.copy(),
                        self.refractory.copy(),
                        state.current.copy(),
                        state.y[:kept].copy(),
                        state.ring[:kept].copy(),
                    )
                )
            _kernels_forward.advance(
                begin, end, setting.threaded(setting.cell_work()), edges.n_blocks,
                edges.block_size, state.U, state.asc, self.refractory, state.current, state.y,
                state.ring, total, spiked, n_spiked, cells.membrane, cells.adaptation,
                cells.synapse, setting.t_ref, weight, edges.slot, edges.row, ones,
                spikes_in.start, spikes_in.source, spikes_in.value, current, self.drive,
                self.voltage, self.spikes,
            )  # fmt: skip
        return snapshots


class _Backward:
    """Arrays of one backward pass."""

    def __init__(
        self,
        setting: _Setting,
        cells: Cells,
        drive: Array,
        current: Tensor | None,
        weights: Sequence[Tensor],
        grads: Sequence[Tensor | None],
    ):
        self.setting, self.cells, self.drive = setting, cells, drive
        self.current = current
        self.weights = weights
        g_spikes, g_voltage, g_drive, _, *g_end = grads
        self.g_spikes = as_steps(g_spikes, drive[0])
        self.g_voltage = as_steps(g_voltage, drive[0])
        self.g_drive = as_steps(g_drive, drive[0])
        n_batch, n_cells = setting.refractory.shape
        dtype = torch.from_numpy(drive).dtype
        n_asc = cells.adaptation.shape[1]
        shapes: list[tuple[int, ...]] = [(n_batch, n_cells)] * len(STATE)
        shapes[1] = (n_batch, n_cells, n_asc)
        for k in range(2, 6):
            shapes[k] = (n_batch, n_cells, setting.n_receptors)
        shapes[7] = (setting.n_delays, n_batch, n_cells, setting.n_receptors)
        end = [
            torch.zeros(shape, dtype=dtype) if g is None else g
            for g, shape in zip(g_end, shapes, strict=True)
        ]
        padded = setting.edges.n_padded
        self.arrival = samples_last(end[7], padded, setting.n_steps)
        end[7] = end[7][:0]  # the ring is `arrival`
        self.adjoint = Dynamics.pack(end, padded)

    def retreat(self, snapshots: list[_Snapshot], needs: Sequence[bool]) -> list[Tensor | None]:
        """Run all steps in reverse; returns the gradient of every tensor of the forward pass."""
        setting, cells, adjoint = self.setting, self.cells, self.adjoint
        edges, dtype = setting.edges, self.drive.dtype
        n_batch, n_cells = setting.refractory.shape
        first = len(COEFFICIENTS) + len(STATE)
        needs_current = needs[first]
        needs_weights = needs[first + 1 : first + 1 + setting.n_weights]
        needs_membrane, needs_synapse = (
            any(needs[:_N_CELL]),
            any(needs[_N_CELL : len(COEFFICIENTS)]),
        )

        weight = edges.gather(self.weights, dtype)
        grad_cells = cells.zeros(needs_membrane, needs_synapse)
        grad_weight = np.zeros(len(weight) if any(needs_weights) else 0, dtype)
        n_inputs = edges.n_sources - n_cells if setting.input_slices else 0
        grad_input = np.zeros((n_batch if n_inputs else 0, setting.n_steps, n_inputs), dtype)
        current = as_steps(self.current, adjoint.U)
        grad_current = np.zeros(self.current.shape if needs_current else (0, 0, n_cells), dtype)  # pyright: ignore[reportOptionalMemberAccess]

        n_tasks = -(-edges.n_padded // _CELLS_PER_TASK)
        work = setting.cell_work() + len(weight) * n_batch / 2
        scratch = [
            np.zeros((n_batch, edges.n_padded), dtype),
            np.zeros((n_batch, n_cells), dtype),
            np.zeros((n_cells, n_batch), dtype),
            np.zeros((n_tasks, _CELLS_PER_TASK), np.int64),
            np.zeros((n_tasks, WIDTH), dtype),
        ]
        l_drive, slope, grad_spike, wanted, tile = scratch
        segment = _Segment(
            setting, cells, self.drive, weight, current, needs_membrane, needs_synapse
        )
        surrogate, spikes_in = setting.surrogate, setting.inputs
        for snapshot in reversed(snapshots):
            segment.replay(snapshot)
            _kernels_backward.retreat(
                snapshot.begin, snapshot.end, setting.threaded(work), n_tasks, _CELLS_PER_TASK,
                edges.n_blocks, surrogate.code, surrogate.dampening, surrogate.width, setting.detach_reset,
                segment.phase, self.drive, segment.asc, segment.U, segment.current, segment.y,
                segment.arrived, cells.membrane, cells.adaptation, cells.synapse, weight,
                edges.slot, edges.row, spikes_in.start, spikes_in.source, spikes_in.value,
                adjoint.U, adjoint.asc, adjoint.current, adjoint.y, l_drive, self.arrival, slope,
                grad_spike, wanted, tile, self.g_spikes, self.g_voltage, self.g_drive,
                grad_weight, grad_input, grad_current, grad_cells.membrane, grad_cells.adaptation,
                grad_cells.synapse,
            )  # fmt: skip

        state = self.adjoint.unpack_start(self.arrival, setting.n_receptors, setting.n_delays)
        of_weights = [None] * len(self.weights)
        if any(needs_weights):
            of_weights = edges.scatter(grad_weight, self.weights)
        of_inputs = [torch.from_numpy(grad_input[:, :, s].copy()) for s in setting.input_slices]
        of_current = torch.from_numpy(grad_current) if needs_current else None
        everything = [*grad_cells.unpack(n_cells), *state, of_current, *of_weights, *of_inputs]
        return [g if need else None for g, need in zip(everything, needs, strict=True)]


class _Segment:
    """What is recomputed of one segment. Arrays nobody needs have length 1."""

    def __init__(
        self,
        setting: _Setting,
        cells: Cells,
        drive: Array,
        weight: Array,
        current: Array,
        needs_membrane: bool,
        needs_synapse: bool,
    ):
        self.setting, self.cells, self.drive = setting, cells, drive
        self.weight, self.injected = weight, current
        self.needs_membrane, self.needs_synapse = needs_membrane, needs_synapse
        n_batch, n_steps, n_cells = drive.shape
        length = isqrt(n_steps) + 1
        n_padded, n_receptors = setting.edges.n_padded, setting.n_receptors
        dtype = drive.dtype
        self.phase = np.empty((length, n_batch, n_cells), np.uint8)
        self.asc = np.empty((length, n_batch, cells.adaptation.shape[1], n_cells), dtype)
        of_membrane = length if needs_membrane else 1
        self.U = np.empty((of_membrane, n_batch, n_cells), dtype)
        self.current = np.empty((of_membrane, n_batch, n_cells), dtype)
        of_synapse, batch = (length, n_batch) if needs_synapse else (1, 1)
        tiles, width = cells.synapse.shape[0], 4 * WIDTH
        self.y = np.empty((of_synapse, batch, tiles, n_receptors, width), dtype)
        self.arrived = np.empty((of_synapse, batch, n_receptors, n_padded), dtype)

    def replay(self, snapshot: _Snapshot) -> None:
        """Recompute the steps that follow a snapshot."""
        setting, cells, edges = self.setting, self.cells, self.setting.edges
        begin, end = snapshot.begin, snapshot.end
        _kernels_replay.replay_membrane(
            begin, end, snapshot.U.copy(), snapshot.asc.copy(), snapshot.refractory.copy(), cells.membrane,
            cells.adaptation, setting.t_ref, self.drive, self.phase, self.asc, self.U,
            self.needs_membrane, edges.block_size,
        )  # fmt: skip
        if self.needs_membrane:
            self.current[0] = snapshot.current
            steps = (
                self.injected[:, begin : end - 1] if self.injected.shape[1] > 1 else self.injected
            )
            self.current[1 : end - begin] = np.swapaxes(steps, 0, 1)
        if self.needs_synapse:
            n_batch, _, n_cells = self.drive.shape
            _kernels_replay.replay_synapses(
                begin, end, setting.n_steps, edges.n_blocks, edges.block_size, snapshot.y.copy(),
                snapshot.ring.copy(), np.zeros((n_batch, edges.n_padded), self.drive.dtype), self.phase,
                cells.synapse, self.weight, edges.slot, edges.row,
                np.ones(n_cells, self.drive.dtype),
                np.empty((n_batch * edges.n_blocks, n_cells), np.int32), setting.inputs.start,
                setting.inputs.source, setting.inputs.value, self.y, self.arrived,
            )  # fmt: skip


@contextmanager
def _torch_threads() -> Iterator[None]:
    """As many compiled threads as torch uses, within what numba was started with."""
    before = numba.get_num_threads()
    most: int = numba.config.NUMBA_NUM_THREADS  # pyright: ignore[reportAttributeAccessIssue]
    numba.set_num_threads(min(torch.get_num_threads(), most))
    try:
        yield
    finally:
        numba.set_num_threads(before)


def _check_tensors(tensors: Sequence[Tensor]) -> None:
    kinds = sorted({f"{tensor.dtype} on {tensor.device.type}" for tensor in tensors})
    if kinds not in (["torch.float32 on cpu"], ["torch.float64 on cpu"]):
        raise ConfigError.of(
            "the fused backend computes in float32 or in float64 on the CPU",
            "backend 'fused'",
            ", ".join(kinds),
            "move model and inputs to the CPU in one of these dtypes, or use backend 'reference'",
        )


def _check_shapes(
    projections: Sequence[Projection],
    weights: Sequence[Tensor],
    inputs: Mapping[str, Tensor],
    current: Tensor | None,
    shape: tuple[int, int, int],
) -> None:
    """Compiled code does not check an index, so what it is given must fit."""
    n_batch, n_steps, n_cells = shape
    wanted: list[tuple[str, Tensor, tuple[int, ...]]] = []
    for projection, weight in zip(projections, weights, strict=True):
        name = projection.source
        wanted.append((f"weights from {name or 'the cells'}", weight, projection.receptor.shape))
        if name is not None:
            wanted.append(
                (f"input '{name}'", inputs[name], (n_batch, n_steps, projection.n_source))
            )
        elif projection.n_source != n_cells:
            raise ConfigError.of(
                "a recurrent projection must have the cells as its sources", "projection",
                f"{projection.n_source} sources for {n_cells} cells",
            )  # fmt: skip
    if current is not None:
        repeated = tuple(
            1 if have == 1 else want for have, want in zip(current.shape, shape, strict=False)
        )
        wanted.append(("current", current, (*repeated[:2], n_cells)))
    for where, tensor, expected in wanted:
        if tuple(tensor.shape) != tuple(expected):
            raise ConfigError.of(
                "a tensor does not fit the network and the number of steps",
                where,
                f"shape {list(tensor.shape)} instead of {list(expected)}",
            )
