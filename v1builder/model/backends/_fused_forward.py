"""The forward pass of the fused backend: the arrays that its kernels fill, segment by segment."""

from dataclasses import dataclass
from math import isqrt
from typing import Final, NamedTuple

import numba
import numpy as np

from v1builder.model.backends import _kernels_forward
from v1builder.model.backends._differentiable import Request, Snapshot
from v1builder.model.backends._kernels_edges import EdgePlan, make_room
from v1builder.model.backends._kernels_layout import (
    Array,
    CellArrays,
    Dynamics,
    Graph,
    InputSpikes,
    Sites,
)
from v1builder.model.backends._kernels_sites import release_inputs

THREADED_FROM: Final = (
    16384  # units of work per step (about 1 ns each) that pay for a second thread
)


@dataclass(frozen=True, kw_only=True)
class RolloutSetting(Request):
    """A rollout's task for this backend."""

    edges: EdgePlan
    inputs: InputSpikes
    n_batch: int
    n_steps: int
    n_cells: int
    n_receptors: int
    n_delays: int

    def threaded(self, work_per_step: float) -> bool:
        """Whether so much work pays for a second thread."""
        return numba.get_num_threads() > 1 and work_per_step >= THREADED_FROM

    def cell_work(self) -> int:
        """Work of one step besides that along the edges."""
        return self.n_batch * self.n_cells * (self.n_receptors + 2)


class _Scratch(NamedTuple):
    total: Array  # [b, Np] voltage change of a step from synaptic currents
    phase: Array  # [b, n] see `_kernels_membrane`
    source: Array  # [2, b, block, cells and sites] what emitted in this step and the last
    value: Array  # its value: 1, or what a site releases
    n_emitted: Array  # [2, b, block]


class _Recorded(NamedTuple):
    drive: Array
    voltage: Array
    spikes: Array


class Forward:
    """Arrays of one forward pass. drive and voltage have one row when nobody wants them.

    Attributes:
        emitted: the input spikes and what the sites of their sources release.
    """

    def __init__(
        self, setting: RolloutSetting, cells: CellArrays, dynamics: Dynamics, keep_drive: bool
    ):
        self.setting, self.cells, self.dynamics = setting, cells, dynamics
        self.segmented = keep_drive
        b, t, n = setting.n_batch, setting.n_steps, setting.n_cells
        recorded, dtype = setting.record_voltage, dynamics.U.dtype
        self.recorded = _Recorded(
            drive=np.empty((b, t if keep_drive or recorded else 1, n), dtype),
            voltage=np.empty((b, t if recorded else 0, n), dtype),
            spikes=np.zeros((b, t, n), dtype),
        )
        self.emitted = setting.inputs
        edges = setting.edges
        if edges.first_site[-1] > edges.first_site[n]:
            self.emitted = make_room(setting.inputs, edges.first_site)

    def _scratch(self) -> _Scratch:
        edges, b, dtype = self.setting.edges, self.setting.n_batch, self.dynamics.U.dtype
        bounds = np.minimum(np.arange(edges.n_blocks + 1) * edges.block_size, self.setting.n_cells)
        capacity = edges.block_size + int(np.diff(edges.first_site[bounds]).max(initial=0))
        shape = (2, b, edges.n_blocks, capacity)
        return _Scratch(
            np.zeros((b, edges.n_padded), dtype),
            np.empty((b, self.setting.n_cells), np.uint8),
            np.empty(shape, np.int32),
            np.ones(shape, dtype),
            np.zeros(shape[:-1], np.int64),
        )

    def advance(
        self, graph: Graph, sites: Sites, current: Array, keep_synapses: bool
    ) -> list[Snapshot[Dynamics]]:
        """Run all steps; returns a snapshot at the begin of every segment when drive is kept."""
        setting, state = self.setting, self.dynamics
        length = isqrt(setting.n_steps) + 1 if self.segmented else setting.n_steps
        threaded = setting.threaded(setting.cell_work())
        scratch = self._scratch()
        snapshots = []
        for begin in range(0, setting.n_steps, length):
            end = min(begin + length, setting.n_steps)
            if self.segmented:
                snapshots.append(Snapshot(begin, end, _copy(state, keep_synapses)))
            if self.emitted is not setting.inputs:
                release_inputs(
                    begin, end, setting.n_cells, state.u, state.x, sites, setting.inputs,
                    self.emitted,
                )  # fmt: skip
            _kernels_forward.advance(
                begin, end, threaded, self.cells, state, graph, self.emitted, sites, scratch,
                current, self.recorded,
            )  # fmt: skip
        return snapshots


def _copy(state: Dynamics, with_synapses: bool) -> Dynamics:
    shortened = state
    if not with_synapses:
        shortened = state._replace(y=state.y[:0], ring=state.ring[:0])
    return Dynamics(*(field.copy() for field in shortened))
