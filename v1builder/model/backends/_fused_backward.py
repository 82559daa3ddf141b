"""The backward pass of the fused backend: recomputes each segment, then runs it in reverse."""

from collections.abc import Mapping, Sequence
from functools import partial
from math import isqrt
from typing import Any, Final, NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from v1builder.model.backends import _kernels_backward, _kernels_replay
from v1builder.model.backends._differentiable import Snapshot, Wanted
from v1builder.model.backends._fused_forward import RolloutSetting
from v1builder.model.backends._kernels_forward import WIDTH
from v1builder.model.backends._kernels_layout import (
    PLASTICITY,
    Array,
    CellArrays,
    Dynamics,
    Graph,
    InputSpikes,
    Sites,
    as_steps,
    samples_last,
)
from v1builder.model.backends._kernels_sites import replay_sites
from v1builder.model.backends._kernels_threshold import replay_moving_membrane

_CELLS_PER_TASK: Final = 2048  # at most; what arrives at a block of targets is read once per task


class _Surrogate(NamedTuple):
    code: int
    dampening: float
    width: float
    detach_reset: bool


class _Segment(NamedTuple):
    """What is recomputed of the k steps of one segment, before each. Unneeded arrays have length 1."""

    phase: Array  # [k, b, n]
    asc: Array  # [k, b, A, n]
    U: Array  # [k, b, n] for the gradient of membrane coefficients
    current: Array  # [k, b, n] likewise
    y: Array  # [k, b, tile, r, 4*WIDTH] for the gradient of synaptic coefficients
    arrived: Array  # [k, b, r, Np] likewise
    u: Array  # [k, b, s] of the sites of cells, and of inputs where their gradient is wanted
    x: Array  # [k, b, s]
    moving: Array  # [k, b, 2, n] where the threshold moves
    threshold: Array  # [k, b, n] likewise, in the step


class _Losses(NamedTuple):
    """Gradients of the outputs, [b or 1, t or 1, n]."""

    spikes: Array
    voltage: Array
    drive: Array


class _Scratch(NamedTuple):
    l_drive: Array  # [b, Np]
    slope: Array  # [b, n]
    tile: Array  # [task, WIDTH]
    wanted: Array  # [units]
    wanted_site: Array  # [s]
    why: Array  # [n] uint8, see `_kernels_backward._mark`
    emitted: Array  # [units, b]; zero between steps for cells
    released: Array  # [s, b]
    grad_unit: Array  # [units, b]
    grad_release: Array  # [s, b]
    per_site: Array  # [s]


class _Grads(NamedTuple):
    """Gradients besides those of cells; of length 0 where nobody wants them."""

    weight: Array  # [e]
    input: Array  # [b, t, input unit]
    current: Array  # [b or 1, t or 1, n]
    sites: Array  # [3, s]


class Backward:
    """Arrays of one backward pass.

    Args:
        setting: of the rollout.
        cells, graph, sites: coefficients and weights.
        emitted: what the inputs and their sites emitted.
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
        emitted: InputSpikes,
        drive: Array,
        current: Tensor | None,
        grads: Sequence[Tensor | None],
        needs: Mapping[str, Sequence[bool]],
    ):
        self.setting, self.cells, self.graph, self.sites = setting, cells, graph, sites
        self.emitted, self.drive, self.current = emitted, drive, current
        self.wanted = Wanted.of(needs)
        has_input_sites = bool(sites.first[-1] > sites.first[setting.n_cells])
        of_sites = self.wanted.plasticity or self.wanted.sites or self.wanted.inputs
        self.with_input_sites = has_input_sites and of_sites
        spikes, voltage, drive_grad, _, *end = grads
        self.losses = _Losses(*(as_steps(g, drive[0]) for g in (spikes, voltage, drive_grad)))
        self.adjoint = self._adjoint_at_end(end)
        n_sites = sites.first[-1 if self.with_input_sites else setting.n_cells]
        self.segment = self._room_for_a_segment(int(n_sites))

    def _adjoint_at_end(self, grads: Sequence[Tensor | None]) -> Dynamics:
        setting, dtype = self.setting, torch.from_numpy(self.drive).dtype
        b, n, r = setting.n_batch, setting.n_cells, setting.n_receptors
        n_asc, n_sites = self.cells.adaptation.shape[1], len(self.sites.U)
        state, moving, sites = setting.end_gradients(
            grads, partial(torch.zeros, dtype=dtype), (b, n, n_asc, r, setting.n_delays, n_sites)
        )
        padded = setting.edges.n_padded
        arrival = samples_last(state[7], padded, setting.n_steps)
        state[7] = state[7][:0]  # the ring is `arrival`
        adjoint = Dynamics.pack(
            state,
            moving,
            sites,
            torch.zeros(0, n, dtype=torch.int32),
            setting.edges.site_order,
            padded,
        )
        return adjoint._replace(ring=arrival)

    def _room_for_a_segment(self, n_sites: int) -> _Segment:
        n_batch, n_steps, n_cells = self.drive.shape
        length = isqrt(n_steps) + 1
        dtype = self.drive.dtype
        n_moving = self.adjoint.moving.shape[1]
        of_membrane = length if self.wanted.membrane or n_moving else 1
        of_synapse, batch = (length, n_batch) if self.wanted.synapse else (1, 1)
        tiles, n_receptors = self.cells.synapse.shape[:2]
        padded = self.setting.edges.n_padded
        return _Segment(
            phase=np.empty((length, n_batch, n_cells), np.uint8),
            asc=np.empty((length, n_batch, self.cells.adaptation.shape[1], n_cells), dtype),
            U=np.empty((of_membrane, n_batch, n_cells), dtype),
            current=np.empty((of_membrane, n_batch, n_cells), dtype),
            y=np.empty((of_synapse, batch, tiles, n_receptors, 4 * WIDTH), dtype),
            arrived=np.empty((of_synapse, batch, n_receptors, padded), dtype),
            u=np.empty((length, n_batch, n_sites), dtype),
            x=np.empty((length, n_batch, n_sites), dtype),
            moving=np.empty((length, n_batch, n_moving, n_cells), dtype),
            threshold=np.empty((length if n_moving else 1, n_batch, n_cells), dtype),
        )

    def _scratch(self, n_tasks: int) -> _Scratch:
        setting, dtype = self.setting, self.drive.dtype
        b, units, sites = setting.n_batch, setting.edges.n_units, len(self.sites.U)
        return _Scratch(
            l_drive=np.zeros((b, setting.edges.n_padded), dtype),
            slope=np.zeros((b, setting.n_cells), dtype),
            tile=np.zeros((n_tasks, WIDTH), dtype),
            wanted=np.zeros(units, np.int64),
            wanted_site=np.zeros(sites, np.int64),
            why=np.zeros(setting.n_cells, np.uint8),
            emitted=np.zeros((units, b), dtype),
            released=np.zeros((sites, b), dtype),
            grad_unit=np.zeros((units, b), dtype),
            grad_release=np.zeros((sites, b), dtype),
            per_site=np.zeros(sites, dtype),
        )

    def _tasks(self) -> tuple[int, int]:
        """Number of tasks, alike for all threads, and cells in each (whole tiles)."""
        n_padded, threads = self.setting.edges.n_padded, numba.get_num_threads()
        each = -(-n_padded // (threads * _CELLS_PER_TASK))
        task_size = -(-n_padded // (threads * each * WIDTH)) * WIDTH
        return -(-n_padded // task_size), task_size

    def _grads(self) -> _Grads:
        setting, wanted, dtype = self.setting, self.wanted, self.drive.dtype
        n_inputs = setting.edges.n_units - setting.n_cells if setting.input_slices else 0
        shape = (0, 0, setting.n_cells)
        if wanted.current and self.current is not None:
            shape = tuple(self.current.shape)
        return _Grads(
            weight=np.zeros(len(self.graph.weight) if wanted.weights else 0, dtype),
            input=np.zeros((setting.n_batch if n_inputs else 0, setting.n_steps, n_inputs), dtype),
            current=np.zeros(shape, dtype),
            sites=np.zeros((len(PLASTICITY) if wanted.plasticity else 0, len(self.sites.U)), dtype),
        )

    def retreat(self, snapshots: Sequence[Snapshot[Dynamics]]) -> dict[str, list[Tensor | None]]:
        """Run all steps in reverse; returns the gradients, by what their tensors are."""
        setting, cells, wanted = self.setting, self.cells, self.wanted
        grads = self._grads()
        grad_cells = cells.zeros(wanted.membrane, wanted.synapse)
        injected = as_steps(self.current, self.adjoint.U)
        n_tasks, task_size = self._tasks()
        work = setting.cell_work() + len(self.graph.weight) * setting.n_batch / 2
        scratch, kind = self._scratch(n_tasks), setting.surrogate
        surrogate = _Surrogate(kind.code, kind.dampening, kind.width, setting.detach_reset)
        for snapshot in reversed(snapshots):
            self._replay(snapshot, injected)
            _kernels_backward.retreat(
                snapshot.begin, snapshot.end, setting.threaded(work), n_tasks, task_size,
                surrogate, self.with_input_sites or len(grads.input) > 0, self.drive, self.segment,
                cells, self.graph, self.emitted, self.sites, self.adjoint, scratch, self.losses,
                grads, grad_cells,
            )  # fmt: skip
        return self._unpacked(grads, grad_cells)

    def _unpacked(self, grads: _Grads, grad_cells: CellArrays) -> dict[str, list[Tensor | None]]:
        setting, edges, adjoint = self.setting, self.setting.edges, self.adjoint
        found: dict[str, list[Any]] = {
            "coefficients": grad_cells.unpack(setting.n_cells),
            "state": adjoint.unpack_adjoint(setting.n_receptors, setting.n_delays),
            "moving": list(torch.from_numpy(adjoint.moving).unbind(1)),
            "sites": adjoint.unpack_sites(edges.site_order),
            "current": [torch.from_numpy(grads.current)],
            "inputs": [torch.from_numpy(grads.input[:, :, s].copy()) for s in setting.input_slices],
        }
        if self.wanted.membrane:
            found["threshold"] = list(torch.from_numpy(grad_cells.threshold))
        if self.wanted.plasticity:
            back = torch.argsort(edges.site_order)
            found["plasticity"] = list(torch.from_numpy(grads.sites)[:, back])
        if self.wanted.weights:
            found["weights"] = edges.scatter(grads.weight)
        return found

    def _replay(self, snapshot: Snapshot[Dynamics], injected: Array) -> None:
        """Recompute the steps that follow a snapshot."""
        setting, cells, segment = self.setting, self.cells, self.segment
        begin, end = snapshot.begin, snapshot.end
        state = Dynamics(*(field.copy() for field in snapshot.state))
        n_blocks, n_cells = setting.edges.n_blocks, setting.n_cells
        if len(segment.current) > 1:
            segment.current[0] = snapshot.state.current
            steps = injected[:, begin : end - 1] if injected.shape[1] > 1 else injected
            segment.current[1 : end - begin] = np.swapaxes(steps, 0, 1)
        if state.moving.shape[1]:
            replay_moving_membrane(
                begin, end, n_blocks, setting.edges.block_size, self.drive, state, cells, segment
            )
        else:
            _kernels_replay.replay_membrane(
                begin, end, state.U, state.asc, state.refractory, cells.membrane, cells.adaptation,
                cells.t_ref, self.drive, segment.phase, segment.asc, segment.U, self.wanted.membrane,
                setting.edges.block_size,
            )  # fmt: skip
        if segment.u.shape[2]:
            n_units = setting.edges.n_units if self.with_input_sites else n_cells
            replay_sites(
                begin, end, n_units, n_blocks, segment.phase, setting.inputs, self.sites, state.u,
                state.x, segment.u, segment.x,
            )  # fmt: skip
        if self.wanted.synapse:
            dtype, n_batch = self.drive.dtype, setting.n_batch
            room = (n_batch * n_blocks, n_cells + int(self.sites.first[n_cells]))
            _kernels_replay.replay_synapses(
                begin, end, state.y, state.ring, np.zeros((n_batch, setting.edges.n_padded), dtype),
                cells, self.graph, self.emitted, self.sites, segment,
                np.empty(room, np.int32), np.empty(room, dtype),
            )  # fmt: skip
