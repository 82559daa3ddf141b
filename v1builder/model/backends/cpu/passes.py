"""The two passes of the CPU backend: the arrays that its kernels fill, segment by segment."""

from typing import Any, Final, NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from v1builder.model.backends import fields
from v1builder.model.backends.cpu import backward, forward, replay
from v1builder.model.backends.cpu.edges import make_room
from v1builder.model.backends.cpu.sites import release_inputs, replay_sites
from v1builder.model.backends.cpu.structures import (
    BackwardScratch,
    EmittedSpikes,
    ForwardScratch,
    GradientArrays,
    ReplayedSegment,
    SurrogateShape,
    TiledCells,
)
from v1builder.model.backends.cpu.threshold import replay_moving_membrane
from v1builder.model.backends.cpu.tiles import WIDTH, Array, first_alike
from v1builder.model.backends.kernels import (
    BackwardPass,
    ForwardPass,
    Gradients,
    Operands,
    Request,
    Wanted,
)
from v1builder.model.backends.layout import (
    CellArrays,
    Dynamics,
    Graph,
    Losses,
    RecordedSteps,
    Sites,
)

THREADED_FROM: Final = (
    16384  # units of work per step (about 1 ns each) that pay for a second thread
)
#: From how many it does not matter much if samples cannot be shared out evenly.
_SAMPLES_PER_THREAD: Final = 4
_CELLS_PER_TASK: Final = 2048  # at most; what arrives at a block of targets is read once per task


def _arrays(tensors: Any) -> Any:
    """A named tuple of tensors as arrays of the same memory, which compiled code takes."""
    return type(tensors)(
        *(field.numpy() if isinstance(field, Tensor) else field for field in tensors)
    )


def _cells(cells: CellArrays, same_as: Array) -> TiledCells:
    of = _arrays(cells)
    return TiledCells(of.membrane, of.adaptation, of.synapse, same_as, of.threshold, of.t_ref)


class _Compute(NamedTuple):
    """What both passes read."""

    cells: TiledCells
    graph: Graph
    sites: Sites
    current: Array  # [b or 1, t or 1, n]

    @classmethod
    def of(cls, operands: Operands) -> "_Compute":
        return cls(
            _cells(operands.cells, first_alike(operands.cells.synapse.numpy())),
            _arrays(operands.graph),
            _arrays(operands.sites),
            operands.current.numpy(),
        )


def _threaded(request: Request, work_per_edge: float = 0) -> bool:
    """Whether the work of a step, of which that along the edges is given, pays for a second thread."""
    size = request.size
    work = size.n_batch * size.n_cells * (size.n_receptors + 2) + work_per_edge
    return numba.get_num_threads() > 1 and work >= THREADED_FROM


class _Kept(NamedTuple):
    """Spikes of the inputs, and these with what the sites of their sources release (else the same)."""

    start: Tensor
    source: Tensor
    value: Tensor
    all_start: Tensor
    all_source: Tensor
    all_value: Tensor

    @property
    def inputs(self) -> EmittedSpikes:
        """Arrays of the spikes."""
        return _arrays(EmittedSpikes(*self[:3]))

    @property
    def emitted(self) -> EmittedSpikes:
        """Arrays of the spikes and the releases."""
        return _arrays(EmittedSpikes(*self[3:]))


class CpuForward(ForwardPass):
    """Arrays of one forward pass."""

    def __init__(
        self,
        request: Request,
        operands: Operands,
        inputs: EmittedSpikes,
        state: Dynamics,
        keep_drive: bool,
    ):
        self.request, self.read = request, _Compute.of(operands)
        self.state: Dynamics = _arrays(state)
        size, like = request.size, state.U
        b, t, n = size.n_batch, size.n_steps, size.n_cells
        recorded, dtype = request.record_voltage, self.read.current.dtype
        self.recorded = RecordedSteps(
            drive=like.new_empty(b, t if keep_drive or recorded else 1, n),
            voltage=like.new_empty(b, t if recorded else 0, n),
            spikes=torch.from_numpy(np.zeros((b, t, n), dtype)),
        )
        first_site: Array = self.read.sites.first  # pyright: ignore[reportAssignmentType]
        self.releases = bool(first_site[-1] > first_site[n])
        emitted = make_room(inputs, first_site) if self.releases else inputs
        self.kept = _Kept(*inputs, *emitted)
        self.inputs, self.emitted = self.kept.inputs, self.kept.emitted
        self.out: RecordedSteps = _arrays(self.recorded)
        self.scratch = self._scratch(first_site)

    def _scratch(self, first_site: Array) -> ForwardScratch:
        plan, size, dtype = self.request.plan, self.request.size, self.read.current.dtype
        bounds = np.minimum(np.arange(plan.n_blocks + 1) * plan.block_size, size.n_cells)
        capacity = plan.block_size + int(np.diff(first_site[bounds]).max(initial=0))
        shape = (2, size.n_batch, plan.n_blocks, capacity)
        return ForwardScratch(
            np.zeros((size.n_batch, plan.n_padded), dtype),
            np.empty((size.n_batch, size.n_cells), np.uint8),
            np.empty(shape, np.int32),
            np.ones(shape, dtype),
            np.zeros(shape[:-1], np.int64),
        )

    def advance(self, begin: int, end: int) -> None:
        """Do the steps begin..end."""
        read, state, emitted = self.read, self.state, self.emitted
        if self.releases:
            release_inputs(
                begin, end, self.request.size.n_cells, state.u, state.x, read.sites,
                self.inputs, emitted,
            )  # fmt: skip
        forward.advance(
            begin, end, _threaded(self.request), self._by_sample(), read.cells, state, read.graph,
            emitted, read.sites, self.scratch, read.current, self.out,
        )  # fmt: skip

    def _by_sample(self) -> bool:
        """Whether there are samples enough to keep all threads busy until the end."""
        n_batch, n_threads = self.request.size.n_batch, numba.get_num_threads()
        return n_batch % n_threads == 0 or n_batch >= _SAMPLES_PER_THREAD * n_threads


class CpuBackward(BackwardPass):
    """Arrays of one backward pass."""

    def __init__(
        self,
        request: Request,
        operands: Operands,
        kept: _Kept,
        drive: Tensor,
        before: Dynamics,
        losses: Losses,
        adjoint: Dynamics,
        wanted: Wanted,
    ):
        self.request, self.read, self.wanted = request, _Compute.of(operands), wanted
        self.inputs, self.emitted = kept.inputs, kept.emitted
        self.drive: Array = drive.numpy()
        self.before: Dynamics = _arrays(before)
        self.losses: Losses = _arrays(losses)
        self.adjoint: Dynamics = _arrays(adjoint)
        first_site: Array = self.read.sites.first  # pyright: ignore[reportAssignmentType]
        has_input_sites = bool(first_site[-1] > first_site[request.size.n_cells])
        of_sites = wanted.plasticity or wanted.sites or wanted.inputs
        self.with_input_sites = has_input_sites and of_sites
        n_sites = first_site[-1 if self.with_input_sites else request.size.n_cells]
        self.segment = self._room_for_a_segment(int(n_sites))
        self.grads = self._grads()
        self.grad_cells = operands.cells.zeros(membrane=wanted.membrane, synapse=wanted.synapse)
        self.added = _cells(self.grad_cells, self.read.cells.same_as[:0])
        self.n_tasks, self.task_size = self._tasks()
        self.scratch = self._scratch()

    def _room_for_a_segment(self, n_sites: int) -> ReplayedSegment:
        n_batch, _, n_cells = self.drive.shape
        length, dtype = self.request.segment, self.drive.dtype
        n_moving = self.adjoint.moving.shape[1]
        of_membrane = length if self.wanted.membrane or n_moving else 1
        of_synapse, batch = (length, n_batch) if self.wanted.synapse else (1, 1)
        cells = self.read.cells
        tiles, n_receptors = cells.synapse.shape[:2]
        n_currents = len(fields.CURRENTS)
        return ReplayedSegment(
            phase=np.empty((length, n_batch, n_cells), np.uint8),
            asc=np.empty((length, n_batch, cells.adaptation.shape[1], n_cells), dtype),
            U=np.empty((of_membrane, n_batch, n_cells), dtype),
            current=np.empty((of_membrane, n_batch, n_cells), dtype),
            y=np.empty((of_synapse, batch, tiles, n_receptors, n_currents * WIDTH), dtype),
            arrived=np.empty((of_synapse, batch, n_receptors, self.request.plan.n_padded), dtype),
            u=np.empty((length, n_batch, n_sites), dtype),
            x=np.empty((length, n_batch, n_sites), dtype),
            moving=np.empty((length, n_batch, n_moving, n_cells), dtype),
            threshold=np.empty((length if n_moving else 1, n_batch, n_cells), dtype),
        )

    def _scratch(self) -> BackwardScratch:
        plan, size, dtype = self.request.plan, self.request.size, self.drive.dtype
        b, units, sites = size.n_batch, plan.n_units, len(self.read.sites.U)
        return BackwardScratch(
            l_drive=np.zeros((b, plan.n_padded), dtype),
            slope=np.zeros((b, size.n_cells), dtype),
            tile=np.zeros((self.n_tasks, 2, WIDTH), dtype),
            wanted=np.zeros(units, np.int64),
            wanted_site=np.zeros(sites, np.int64),
            why=np.zeros(size.n_cells, np.uint8),
            emitted=np.zeros((units, b), dtype),
            released=np.zeros((sites, b), dtype),
            grad_unit=np.zeros((units, b), dtype),
            grad_release=np.zeros((sites, b), dtype),
            per_site=np.zeros(sites, dtype),
            turned=np.zeros((self.n_tasks, b if plan.dense_slot >= 0 else 0, plan.n_padded), dtype),
        )

    def _tasks(self) -> tuple[int, int]:
        """Number of tasks, alike for all threads, and cells in each (whole tiles)."""
        n_padded, threads = self.request.plan.n_padded, numba.get_num_threads()
        each = -(-n_padded // (threads * _CELLS_PER_TASK))
        task_size = -(-n_padded // (threads * each * WIDTH)) * WIDTH
        return -(-n_padded // task_size), task_size

    def _grads(self) -> GradientArrays:
        size, wanted, dtype = self.request.size, self.wanted, self.drive.dtype
        n_inputs = size.n_units - size.n_cells if wanted.inputs else 0
        shape = self.request.current_shape if wanted.current else (0, 0, size.n_cells)
        return GradientArrays(
            weight=np.zeros(len(self.read.graph.weight) if wanted.weights else 0, dtype),
            input=np.zeros((size.n_batch if n_inputs else 0, size.n_steps, n_inputs), dtype),
            current=np.zeros(shape, dtype),
            sites=np.zeros(
                (len(fields.PLASTICITY) if wanted.plasticity else 0, len(self.read.sites.U)), dtype
            ),
        )

    def retreat(self, begin: int, end: int) -> None:
        """Do the adjoint of the steps end-1 down to begin."""
        read, kind = self.read, self.request.surrogate
        surrogate = SurrogateShape(kind.code, kind.dampening, kind.width, self.request.detach_reset)
        of_edges = len(read.graph.weight) * self.request.size.n_batch / 2
        backward.retreat(
            begin, end, _threaded(self.request, of_edges), self.n_tasks, self.task_size, surrogate,
            self.with_input_sites or len(self.grads.input) > 0, self.drive, self.segment, read.cells,
            read.graph, self.emitted, read.sites, self.adjoint, self.scratch, self.losses, self.grads,
            self.added,
        )  # fmt: skip

    def gradients(self) -> Gradients:
        """As the kernels have added them, over all samples."""
        of = (torch.from_numpy(field) for field in self.grads)
        return Gradients(self.grad_cells, *of)

    def replay(self, begin: int, end: int, k: int) -> None:
        """Recompute the steps begin..end, the k-th segment."""
        read, segment = self.read, self.segment
        state = Dynamics(*(copies[k].copy() for copies in self.before))  # pyright: ignore[reportAttributeAccessIssue]
        plan, n_cells = self.request.plan, self.request.size.n_cells
        if len(segment.current) > 1:
            segment.current[0] = state.current
            injected = read.current
            steps = injected[:, begin : end - 1] if injected.shape[1] > 1 else injected
            segment.current[1 : end - begin] = np.swapaxes(steps, 0, 1)
        if state.moving.shape[1]:
            replay_moving_membrane(
                begin, end, plan.n_blocks, plan.block_size, self.drive, state, read.cells, segment
            )
        else:
            replay.replay_membrane(
                begin, end, state.U, state.asc, state.refractory, read.cells.membrane,
                read.cells.adaptation, read.cells.t_ref, self.drive, segment.phase, segment.asc,
                segment.U, self.wanted.membrane, plan.block_size,
            )  # fmt: skip
        if segment.u.shape[2]:
            n_units = plan.n_units if self.with_input_sites else n_cells
            replay_sites(
                begin, end, n_units, plan.n_blocks, segment.phase, self.inputs, read.sites, state.u,
                state.x, segment.u, segment.x,
            )  # fmt: skip
        if self.wanted.synapse:
            dtype, n_batch = self.drive.dtype, self.request.size.n_batch
            room = (n_batch * plan.n_blocks, n_cells + int(read.sites.first[n_cells]))
            replay.replay_synapses(
                begin, end, state.y, state.ring, np.zeros((n_batch, plan.n_padded), dtype),
                read.cells, read.graph, self.emitted, read.sites, segment,
                np.empty(room, np.int32), np.empty(room, dtype),
            )  # fmt: skip
