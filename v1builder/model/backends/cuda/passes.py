"""The two passes of the CUDA backend: the tensors that its kernels fill, step by step."""

from typing import NamedTuple

import torch
from torch import Tensor

from v1builder.model.backends import fields
from v1builder.model.backends.cuda import backward, forward, replay, sites
from v1builder.model.backends.cuda.launch import (
    CELLS_OPTIONS,
    Events,
    InputSpikes,
    Steps,
    Tiles,
    launch,
)
from v1builder.model.backends.kernels import (
    BackwardPass,
    ForwardPass,
    Gradients,
    Operands,
    Request,
    Wanted,
)
from v1builder.model.backends.layout import CellArrays, Dynamics, Losses, RecordedSteps


class _Work:
    """What both passes have: how the work is cut, and the delivery of spikes."""

    def __init__(self, request: Request, operands: Operands, inputs: InputSpikes):
        self.request, self.read, self.inputs = request, operands, inputs
        self.size, self.injected = request.size, Steps.of(operands.current)
        self.tiles = Tiles.of(self.size.n_batch)
        self.moving = bool(request.counts["moving"])
        self.per_port = request.counts["synapse"]
        self.of_cells = self.grid(self.size.n_cells)
        self.of_sites = self.grid(self.size.n_sites)

    def grid(self, n: int) -> tuple[int, int]:
        """Tiles of n things, for every sample."""
        return -(-n // self.tiles.cells), self.size.n_batch

    def deliver(self, t: int, at: int, ring: Tensor, events: Events) -> None:
        """Deliver what the inputs emitted in step t, and list `at` of what cells and sites did."""
        tiles, graph = self.tiles, self.read.graph
        launch(
            forward.deliver, (tiles.programs,), t, at, self.size, graph, ring, events, self.inputs,
            tiles.rows, tiles.edges * tiles.samples,
        )  # fmt: skip


class CudaForward(ForwardPass):
    """Tensors of one forward pass."""

    def __init__(
        self,
        request: Request,
        operands: Operands,
        inputs: InputSpikes,
        state: Dynamics,
        keep_drive: bool,
    ):
        self.work, self.state = _Work(request, operands, inputs), state
        b, t, n = request.size.n_batch, request.size.n_steps, request.size.n_cells
        new, recorded = state.U.new_empty, request.record_voltage
        self.with_drive = keep_drive or recorded
        self.recorded = RecordedSteps(
            drive=new(b, t if self.with_drive else 0, n),
            voltage=new(b, t if recorded else 0, n),
            spikes=new(b, t, n),
        )
        self.kept = inputs
        self.events = Events.room(request.size, t, state.U)

    def advance(self, begin: int, end: int) -> None:
        """Do the steps begin..end."""
        work, read, state, out = self.work, self.work.read, self.state, self.recorded
        size, tile = work.size, work.tiles.cells
        for t in range(begin, end):
            launch(
                forward.cells, work.of_cells,
                t, size, read.cells, state, self.events, work.injected, out, work.moving,
                self.with_drive, work.request.record_voltage, work.per_port, tile, **CELLS_OPTIONS,
            )  # fmt: skip
            if size.n_sites:
                launch(
                    sites.sites_step, work.of_sites,
                    t, size, read.sites, state, out.spikes, self.events, work.inputs, tile,
                    **CELLS_OPTIONS,
                )  # fmt: skip
            work.deliver(t, t, state.ring, self.events)


class _Segment(NamedTuple):
    """What is recomputed of the k steps of one segment, before each. What is not needed has length 1."""

    phase: Tensor  # [k, b, n] uint8
    slope: Tensor  # [k, b, n]
    asc: Tensor  # [k+1, b, a, n]
    U: Tensor  # [k, b, n] for the gradient of membrane coefficients, or where the threshold moves
    current: Tensor  # [k, b, n] likewise
    moving: Tensor  # [k, b, 2, n] where the threshold moves
    threshold: Tensor  # [k, b, n] likewise, in the step
    y: Tensor  # [k, b, 4, r, n] for the gradient of synaptic coefficients
    arrived: Tensor  # [k, b, r, n] likewise
    u: Tensor  # [k, b, s]
    x: Tensor  # [k, b, s]


class _Losses(NamedTuple):
    """Gradients of the outputs."""

    spikes: Steps
    voltage: Steps
    drive: Steps


class _Grads(NamedTuple):
    """Gradients besides those of cells; of length 0 where nobody wants them."""

    weight: Tensor  # [e]
    unit: Tensor  # [b, unit] of what every unit emits in the step in hand
    release: Tensor  # [b, s] of what every site releases per spike
    input: Tensor  # [b, t, input unit]
    current: Steps
    sites: Tensor  # [b, 3, s]


class CudaBackward(BackwardPass):
    """Tensors of one backward pass."""

    def __init__(
        self,
        request: Request,
        operands: Operands,
        kept: InputSpikes,
        drive: Tensor,
        before: Dynamics,
        losses: Losses,
        adjoint: Dynamics,
        wanted: Wanted,
    ):
        self.work = _Work(request, operands, kept)
        self.drive, self.adjoint, self.wanted, self.before = drive, adjoint, wanted, before
        self.losses = _Losses(*(Steps.of(loss) for loss in losses))
        self.segment = self._room_for_a_segment()
        self.grads = self._grads()
        self.grad_cell = operands.cells.zeros(
            request.size.n_batch, membrane=wanted.membrane, synapse=wanted.synapse
        )
        self.events = Events.room(request.size, request.segment, drive)

    def _room_for_a_segment(self) -> _Segment:
        work, new, size = self.work, self.drive.new_empty, self.work.size
        b, n, r = size.n_batch, size.n_cells, size.n_receptors
        length, n_moving = work.request.segment, self.adjoint.moving.shape[1]
        of_membrane = length if self.wanted.membrane or n_moving else 1
        of_moving = length if n_moving else 1
        of_synapse = length if self.wanted.synapse else 1
        return _Segment(
            phase=new(length, b, n, dtype=torch.uint8),
            slope=new(length, b, n),
            asc=new(length + 1, b, size.n_asc, n),
            U=new(of_membrane, b, n),
            current=new(of_membrane, b, n),
            moving=new(of_moving, b, n_moving, n),
            threshold=new(of_moving, b, n),
            y=new(of_synapse, b, len(fields.CURRENTS), r, n),
            arrived=new(of_synapse, b, r, n),
            u=new(length, b, size.n_sites),
            x=new(length, b, size.n_sites),
        )

    def _grads(self) -> _Grads:
        work, wanted, zeros = self.work, self.wanted, self.drive.new_zeros
        size = work.size
        b, t, n = size.n_batch, size.n_steps, size.n_cells
        n_inputs = size.n_units - n if wanted.inputs else 0
        steps = 0
        if wanted.current:
            steps = t if work.request.current_shape[1] > 1 else 1
        return _Grads(
            weight=zeros(len(work.read.graph.weight) if wanted.weights else 0),
            unit=zeros(b, size.n_units),
            release=zeros(b, size.n_sites),
            input=zeros(b, t, n_inputs),
            current=Steps(zeros(b, steps, n), steps * n, n if steps > 1 else 0),
            sites=zeros(b, len(fields.PLASTICITY) if wanted.plasticity else 0, size.n_sites),
        )

    def retreat(self, begin: int, end: int) -> None:
        """Do the adjoint of the steps end-1 down to begin."""
        for t in range(end - 1, begin - 1, -1):
            self._step(t, t - begin)

    def _step(self, t: int, k: int) -> None:
        """Adjoint of step t, the k-th of its segment."""
        work, wanted, grads, segment = self.work, self.wanted, self.grads, self.segment
        size, tiles, read, inputs = work.size, work.tiles, work.read, work.inputs
        arrival = self.adjoint.ring
        shape = (wanted.weights, wanted.inputs, tiles.rows, tiles.edges, tiles.samples)
        for sample in range(0, size.n_batch, tiles.samples):
            launch(
                backward.pull_units, (-(-size.n_units // tiles.rows),), t, k, sample, size,
                read.graph, arrival, inputs, segment, grads, *shape,
            )  # fmt: skip
            if size.n_sites:
                launch(
                    backward.pull_sites, (-(-size.n_sites // tiles.rows),),
                    t, k, sample, size, read.graph, read.sites, arrival, inputs, segment, grads,
                    *shape,
                )  # fmt: skip
        if size.n_sites:
            launch(
                sites.sites_adjoint, work.grid(size.n_units),
                t, k, size, read.sites, inputs, segment, self.adjoint, grads, wanted.plasticity,
                tiles.cells,
            )  # fmt: skip
        if wanted.inputs:
            grads.input[:, t] = grads.unit[:, size.n_cells :]
        launch(
            backward.cells_adjoint, work.of_cells,
            t, k, size, read.cells, self.drive, segment, self.adjoint, arrival, self.losses, grads,
            self.grad_cell, work.request.detach_reset, work.moving, wanted.membrane, wanted.synapse,
            wanted.current, work.per_port, tiles.cells, **CELLS_OPTIONS,
        )  # fmt: skip

    def gradients(self) -> Gradients:
        """The sums over samples."""
        grads, of = self.grads, self.grad_cell
        current = grads.current.value
        if self.work.request.current_shape[0] == 1:
            current = current.sum(0, keepdim=True)
        cells = CellArrays(*(field.sum(0) for field in of[:-1]), of.t_ref)  # pyright: ignore[reportCallIssue]
        return Gradients(cells, grads.weight, grads.input, current, grads.sites.sum(0))

    def replay(self, begin: int, end: int, k: int) -> None:
        """Recompute the steps begin..end, the k-th segment."""
        before = Dynamics(*(copies[k] for copies in self.before))
        work, segment, events = self.work, self.segment, self.events
        size, tile, read, kind = work.size, work.tiles.cells, work.read, work.request.surrogate
        launch(
            replay.replay, work.of_cells,
            begin, end, size, read.cells, before, work.injected, self.drive, segment, kind.code,
            kind.dampening, kind.width, work.moving, self.wanted.membrane, tile, **CELLS_OPTIONS,
        )  # fmt: skip
        if size.n_sites:
            launch(
                sites.replay_sites, work.of_sites, begin, end, size, read.sites, before, work.inputs,
                segment, tile, **CELLS_OPTIONS,
            )  # fmt: skip
        if not self.wanted.synapse:
            return
        state = before.copy(with_synapses=True)
        events.n_listed.zero_()
        for k, t in enumerate(range(begin, end)):
            launch(
                replay.replay_synapses, work.of_cells, t, k, size, read.cells, state, segment,
                work.per_port, tile, **CELLS_OPTIONS,
            )  # fmt: skip
            launch(replay.list_cells, work.of_cells, k, size, segment, events, tile)
            if size.n_sites:
                launch(
                    sites.list_sites, work.of_sites, t, k, size, read.sites, work.inputs, segment,
                    events, tile,
                )  # fmt: skip
            work.deliver(t, k, state.ring, events)
