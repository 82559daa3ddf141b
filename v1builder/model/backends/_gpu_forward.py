"""The forward pass of the Triton backend: the tensors that its kernels fill, step by step."""

from dataclasses import dataclass
from math import isqrt
from typing import NamedTuple

from torch import Tensor

from v1builder.model.backends import _triton_forward, _triton_sites
from v1builder.model.backends._differentiable import Request, Snapshot
from v1builder.model.backends._gpu_edges import EdgePlan
from v1builder.model.backends._gpu_layout import (
    CELLS_OPTIONS,
    CellArrays,
    Dynamics,
    Events,
    Graph,
    InputSpikes,
    Sites,
    Sizes,
    Steps,
    Tiles,
    launch,
)


@dataclass(frozen=True, kw_only=True)
class RolloutSetting(Request):
    """A rollout's task for this backend."""

    edges: EdgePlan
    size: Sizes
    tiles: Tiles

    def grid(self, n: int, per_program: int) -> tuple[int, int]:
        """Tiles of n things, for every sample."""
        return -(-n // per_program), self.size.n_batch


class RecordedSteps(NamedTuple):
    """[b, t, n] each; drive and voltage of length 0 when nobody wants them."""

    drive: Tensor
    voltage: Tensor
    spikes: Tensor


class Forward:
    """Tensors of one forward pass."""

    def __init__(
        self,
        setting: RolloutSetting,
        cells: CellArrays,
        inputs: InputSpikes,
        dynamics: Dynamics,
        keep_drive: bool,
    ):
        self.setting, self.cells, self.inputs, self.dynamics = setting, cells, inputs, dynamics
        self.segmented = keep_drive
        b, t, n = setting.size.n_batch, setting.size.n_steps, setting.size.n_cells
        self.with_drive = keep_drive or setting.record_voltage
        self.recorded = RecordedSteps(
            drive=dynamics.U.new_empty(b, t if self.with_drive else 0, n),
            voltage=dynamics.U.new_empty(b, t if setting.record_voltage else 0, n),
            spikes=dynamics.U.new_empty(b, t, n),
        )

    def advance(
        self, graph: Graph, sites: Sites, injected: Steps, keep_synapses: bool
    ) -> list[Snapshot[Dynamics]]:
        """Run all steps; returns a snapshot at the begin of every segment when drive is kept."""
        setting, state, size = self.setting, self.dynamics, self.setting.size
        tiles, out = setting.tiles, self.recorded
        length = isqrt(size.n_steps) + 1
        of_cells = setting.grid(size.n_cells, tiles.cells)
        of_sites = setting.grid(size.n_sites, tiles.cells)
        events = Events.room(size, size.n_steps, state.U)
        snapshots = []
        for t in range(size.n_steps):
            if self.segmented and t % length == 0:
                end = min(t + length, size.n_steps)
                snapshots.append(Snapshot(t, end, state.copy(keep_synapses)))
            launch(
                _triton_forward.cells, of_cells,
                t, size, self.cells, state, events, injected, out, state.moving.shape[1] > 0,
                self.with_drive, setting.record_voltage, tiles.cells, **CELLS_OPTIONS,
            )  # fmt: skip
            if size.n_sites:
                launch(
                    _triton_sites.sites_step, of_sites,
                    t, size, sites, state, out.spikes, events, self.inputs, tiles.cells,
                    **CELLS_OPTIONS,
                )  # fmt: skip
            deliver(setting, t, t, graph, self.inputs, state.ring, events)
        return snapshots


def deliver(
    setting: RolloutSetting,
    t: int,
    at: int,
    graph: Graph,
    inputs: InputSpikes,
    ring: Tensor,
    events: Events,
) -> None:
    """Deliver what the inputs emitted in step t, and list `at` of what cells and sites did."""
    tiles = setting.tiles
    launch(
        _triton_forward.deliver, (tiles.programs,), t, at, setting.size, graph, ring, events,
        inputs, tiles.rows, tiles.edges * tiles.samples,
    )  # fmt: skip
