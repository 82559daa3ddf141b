"""The backward pass of the Triton backend: recomputes each segment, then runs it in reverse."""

from collections.abc import Mapping, Sequence
from math import isqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor

from v1builder.model.backends import (
    _triton_backward,
    _triton_replay,
    _triton_sites,
)
from v1builder.model.backends._differentiable import Snapshot, Wanted
from v1builder.model.backends._gpu_forward import RolloutSetting, deliver
from v1builder.model.backends._gpu_layout import (
    CELLS_OPTIONS,
    CellArrays,
    Dynamics,
    Events,
    Graph,
    InputSpikes,
    Sites,
    Steps,
    launch,
    samples_last,
)
from v1builder.model.backends._kernels_layout import PLASTICITY


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


class Backward:
    """Tensors of one backward pass.

    Args:
        setting: of the rollout.
        cells, graph, sites: coefficients and weights.
        inputs: what the inputs emit.
        drive: [b, t, n] voltage before the spike test.
        current: [b or 1, t or 1, n] or None.
        grads: gradients of the outputs of the forward pass.
        needs: of every differentiable tensor, whether its gradient is wanted.
    """

    def __init__(
        self,
        setting: RolloutSetting,
        cells: CellArrays,
        graph: Graph,
        sites: Sites,
        inputs: InputSpikes,
        drive: Tensor,
        current: Tensor | None,
        grads: Sequence[Tensor | None],
        needs: Mapping[str, Sequence[bool]],
    ):
        self.setting, self.cells, self.graph, self.sites = setting, cells, graph, sites
        self.inputs, self.drive, self.current = inputs, drive, current
        self.wanted = Wanted.of(needs)
        spikes, voltage, drive_grad, _, *end = grads
        self.losses = _Losses(*(Steps.of(g, drive[:, 0]) for g in (spikes, voltage, drive_grad)))
        self.adjoint = self._adjoint_at_end(end)
        self.segment = self._room_for_a_segment()

    def _adjoint_at_end(self, grads: Sequence[Tensor | None]) -> Dynamics:
        size, setting = self.setting.size, self.setting
        b, n, r = size.n_batch, size.n_cells, size.n_receptors
        shape = (b, n, size.n_asc, r, size.n_slots - 1, size.n_sites)
        state, moving, sites = setting.end_gradients(grads, self.drive.new_zeros, shape)
        arrival = samples_last(state[7], size.n_steps)
        state[7] = state[7][:0]  # the ring is `arrival`
        adjoint = Dynamics.pack(
            state,
            moving,
            sites,
            state[0],
            setting.edges.site_order,
        )
        return adjoint._replace(ring=arrival)

    def _room_for_a_segment(self) -> _Segment:
        size, new = self.setting.size, self.drive.new_empty
        b, n, r = size.n_batch, size.n_cells, size.n_receptors
        length = isqrt(size.n_steps) + 1
        n_moving = self.adjoint.moving.shape[1]
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
            y=new(of_synapse, b, 4, r, n),
            arrived=new(of_synapse, b, r, n),
            u=new(length, b, size.n_sites),
            x=new(length, b, size.n_sites),
        )

    def _grads(self) -> _Grads:
        size, wanted, zeros = self.setting.size, self.wanted, self.drive.new_zeros
        b, t, n = size.n_batch, size.n_steps, size.n_cells
        n_inputs = size.n_units - n if wanted.inputs else 0
        steps = 0
        if wanted.current and self.current is not None:
            steps = t if self.current.shape[1] > 1 else 1
        return _Grads(
            weight=zeros(len(self.graph.weight) if wanted.weights else 0),
            unit=zeros(b, size.n_units),
            release=zeros(b, size.n_sites),
            input=zeros(b, t, n_inputs),
            current=Steps(zeros(b, steps, n), steps * n, n if steps > 1 else 0),
            sites=zeros(b, len(PLASTICITY) if wanted.plasticity else 0, size.n_sites),
        )

    def retreat(self, snapshots: Sequence[Snapshot[Dynamics]]) -> dict[str, list[Tensor | None]]:
        """Run all steps in reverse; returns the gradients, by what their tensors are."""
        size = self.setting.size
        grads = self._grads()
        grad_cell = self.cells.zeros(size.n_batch, self.wanted.membrane, self.wanted.synapse)
        injected = Steps.of(self.current, self.drive[:, 0])
        events = Events.room(size, len(self.segment.phase), self.drive)
        for snapshot in reversed(snapshots):
            self._replay(snapshot, injected, events)
            for t in range(snapshot.end - 1, snapshot.begin - 1, -1):
                self._step(t, t - snapshot.begin, grads, grad_cell)
        return self._unpacked(grads, grad_cell)

    def _step(self, t: int, k: int, grads: _Grads, grad_cell: CellArrays) -> None:
        """Adjoint of step t, the k-th of its segment."""
        setting, size, tiles, wanted = (
            self.setting,
            self.setting.size,
            self.setting.tiles,
            self.wanted,
        )
        inputs, segment, arrival = self.inputs, self.segment, self.adjoint.ring
        shape = (wanted.weights, wanted.inputs, tiles.rows, tiles.edges, tiles.samples)
        for sample in range(0, size.n_batch, tiles.samples):
            launch(
                _triton_backward.pull_units, (-(-size.n_units // tiles.rows),), t, k, sample, size,
                self.graph, arrival, inputs, segment, grads, *shape,
            )  # fmt: skip
            if size.n_sites:
                launch(
                    _triton_backward.pull_sites, (-(-size.n_sites // tiles.rows),),
                    t, k, sample, size, self.graph, self.sites, arrival, inputs, segment, grads,
                    *shape,
                )  # fmt: skip
        if size.n_sites:
            launch(
                _triton_sites.sites_adjoint, setting.grid(size.n_units, tiles.cells),
                t, k, size, self.sites, inputs, segment, self.adjoint, grads, wanted.plasticity,
                tiles.cells,
            )  # fmt: skip
        if wanted.inputs:
            grads.input[:, t] = grads.unit[:, size.n_cells :]
        launch(
            _triton_backward.cells_adjoint, setting.grid(size.n_cells, tiles.cells),
            t, k, size, self.cells, self.drive, segment, self.adjoint, arrival, self.losses, grads,
            grad_cell, setting.detach_reset, self.adjoint.moving.shape[1] > 0, wanted.membrane,
            wanted.synapse, wanted.current, tiles.cells, **CELLS_OPTIONS,
        )  # fmt: skip

    def _unpacked(self, grads: _Grads, grad_cell: CellArrays) -> dict[str, list[Tensor | None]]:
        edges, adjoint = self.setting.edges, self.adjoint
        coefficients, threshold = grad_cell.unpack()
        of_current = grads.current.value
        if self.current is not None and self.current.shape[0] == 1:
            of_current = of_current.sum(0, keepdim=True)
        found: dict[str, list[Any]] = {
            "coefficients": coefficients,
            "state": adjoint.unpack_adjoint(),
            "moving": list(adjoint.moving.unbind(1)),
            "sites": adjoint.unpack_sites(edges.site_order),
            "current": [of_current],
            "inputs": [grads.input[:, :, s].clone() for s in self.setting.input_slices],
        }
        if self.wanted.membrane:
            found["threshold"] = threshold
        if self.wanted.plasticity:
            back = torch.argsort(edges.site_order)
            found["plasticity"] = list(grads.sites.sum(0)[:, back])
        if self.wanted.weights:
            found["weights"] = edges.scatter(grads.weight)
        return found

    def _replay(self, snapshot: Snapshot[Dynamics], injected: Steps, events: Events) -> None:
        """Recompute the steps that follow a snapshot."""
        setting, size, segment = self.setting, self.setting.size, self.segment
        begin, end, start = snapshot.begin, snapshot.end, snapshot.state
        tile, kind = setting.tiles.cells, setting.surrogate
        of_cells = setting.grid(size.n_cells, tile)
        of_sites = setting.grid(size.n_sites, tile)
        launch(
            _triton_replay.replay, of_cells,
            begin, end, size, self.cells, start, injected, self.drive, segment, kind.code,
            kind.dampening, kind.width, start.moving.shape[1] > 0, self.wanted.membrane, tile,
            **CELLS_OPTIONS,
        )  # fmt: skip
        if size.n_sites:
            launch(
                _triton_sites.replay_sites, of_sites, begin, end, size, self.sites, start,
                self.inputs, segment, tile, **CELLS_OPTIONS,
            )  # fmt: skip
        if not self.wanted.synapse:
            return
        state = start.copy(with_synapses=True)
        events.n_listed.zero_()
        for k, t in enumerate(range(begin, end)):
            launch(
                _triton_replay.replay_synapses, of_cells, t, k, size, self.cells, state, segment,
                tile, **CELLS_OPTIONS,
            )  # fmt: skip
            launch(_triton_replay.list_cells, of_cells, k, size, segment, events, tile)
            if size.n_sites:
                launch(
                    _triton_sites.list_sites, of_sites, t, k, size, self.sites, self.inputs,
                    segment, events, tile,
                )  # fmt: skip
            deliver(setting, t, k, self.graph, self.inputs, state.ring, events)
