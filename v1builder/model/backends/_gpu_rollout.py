"""The Triton backend: the whole rollout on a CUDA device, forward and backward.

One autograd function per rollout, with the plan of the fused CPU backend. The forward pass stores the
voltage before the spike test (from which the spikes follow) and a snapshot of the slow state every
sqrt(T) steps; the backward pass recomputes each segment from its snapshot and runs it in reverse. A step is
two kernels forward and two backward (with short-term plasticity three and four), the host never waits
for the device within a rollout, and nothing is allocated between steps.

What a step costs, in bytes moved in float32 (see `_triton_forward` for the letters): forward about
b n (40 R + 80) + n (40 R + 50), and 16 per spike and edge; backward as much again for each of both parts,
and 8 per edge of a cell with a surrogate slope, whose 4 to 32 per sample come from the second-level cache
while `arrival`, 4 (D+1) R n b, fits there. Kept until the backward pass: drive, 4 b t n.

The forward pass adds the spikes that arrive together with atomic operations, in no fixed order, so two runs
may differ in the last bit of a sum, and once in a long while in a spike. The backward pass adds nothing
atomically: given the forward pass, gradients have the same bytes, except those of the synapses'
coefficients, which need what arrived to be added again.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any, Final

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from v1builder.model.backends import _triton_forward, check_supported
from v1builder.model.backends._differentiable import (
    Snapshot,
    add_inputs,
    collect,
    in_order,
    to_rollout,
)
from v1builder.model.backends._gpu_backward import Backward
from v1builder.model.backends._gpu_edges import list_spikes, plan_edges
from v1builder.model.backends._gpu_forward import Forward, RolloutSetting
from v1builder.model.backends._gpu_layout import (
    CellArrays,
    Dynamics,
    InputSpikes,
    Sizes,
    Steps,
    Tiles,
)
from v1builder.model.backends._kernels_layout import N_CELL, SITES
from v1builder.model.backends.arguments import check_shapes
from v1builder.model.neurons.glif import GlifState, Propagators
from v1builder.model.rollout import Plasticity, Projection, Rollout
from v1builder.model.surrogate import Surrogate
from v1builder.schema.errors import ConfigError

#: Whether the kernels run in Triton's interpreter (TRITON_INTERPRET=1 when they were imported).
INTERPRETED: Final = not isinstance(_triton_forward.cells, triton.runtime.JITFunction)


def rollout(
    propagators: Propagators,
    projections: Sequence[Projection],
    weights: Sequence[Tensor],
    inputs: Mapping[str, Tensor],
    current: Tensor | None,
    state: GlifState,
    n_steps: int,
    *,
    plasticity: Plasticity | None = None,
    surrogate: Surrogate,
    detach_reset: bool,
    record_voltage: bool,
) -> Rollout:
    """Run `n_steps` steps. See `contract.Backend` for the arguments.

    Raises:
        ConfigError: the model has what these kernels cannot compute (`Coefficients.uncompiled`), the
            tensors are not all float32 or all float64 on one CUDA device, or their shapes do not fit.
    """
    check_supported(propagators, "triton")
    tensors = collect(propagators, weights, current, state, plasticity)
    _check_tensors([tensor for group in tensors.values() for tensor in group])
    n_delays, n_batch, n_cells, n_receptors = state.pending.shape
    check_shapes(
        projections, weights, inputs, current, tensors["plasticity"], [state.u, state.x],
        (n_batch, n_steps, n_cells),
    )  # fmt: skip
    edges = plan_edges(projections, (n_cells, n_receptors, n_delays), state.U.device)
    input_slices = add_inputs(tensors, inputs, edges.first_source, n_cells)
    setting = RolloutSetting(
        edges=edges,
        input_slices=input_slices,
        counts={name: len(group) for name, group in tensors.items()},
        size=Sizes(
            n_batch, n_steps, n_cells, state.asc.shape[2], n_receptors, n_delays + 1,
            edges.n_units, len(edges.site_order) if plasticity is not None else 0,
        ),
        tiles=Tiles.of(n_batch, INTERPRETED),
        surrogate=surrogate,
        detach_reset=detach_reset,
        record_voltage=record_voltage,
    )  # fmt: skip
    # Autocast leaves the kernels alone, but not every operation of torch around them.
    with torch.autocast(state.U.device.type, enabled=False), _on_device_of(state.U):
        outputs: Any = _TritonRollout.apply(  # pyright: ignore[reportGeneralTypeIssues]
            setting,
            list_spikes(inputs, edges, state.U, n_steps),
            propagators.t_ref_steps,
            state.refractory,
            *(tensor for group in tensors.values() for tensor in group),
        )
    return to_rollout(outputs, state, tensors)


class _TritonRollout(torch.autograd.Function):
    """Of the differentiable tensors, in the order and number of `RolloutSetting.counts`."""

    @staticmethod
    def forward(
        ctx,
        setting: RolloutSetting,
        inputs: InputSpikes,
        t_ref: Tensor,
        refractory: Tensor,
        *tensors: Any,
    ) -> tuple[Tensor | None, ...]:
        ctx.set_materialize_grads(False)
        of, needs = setting.grouped(tensors), setting.grouped(ctx.needs_input_grad[4:])
        order = setting.edges.site_order
        cells = CellArrays.pack(of["coefficients"], of["threshold"], t_ref)
        no_sites = [of["state"][0][:, :0]] * len(SITES)
        dynamics = Dynamics.pack(
            of["state"], of["moving"], of["sites"] or no_sites, refractory, order
        )
        current = of["current"][0] if of["current"] else None
        run = Forward(setting, cells, inputs, dynamics, keep_drive=any(ctx.needs_input_grad))
        snapshots = run.advance(
            setting.edges.graph(of["weights"], dynamics.U),
            setting.edges.sites(of["plasticity"], dynamics.U),
            Steps.of(current, dynamics.U),
            keep_synapses=any(needs["coefficients"][N_CELL:]),
        )
        drive = run.recorded.drive
        ctx.mark_non_differentiable(dynamics.refractory)
        if any(ctx.needs_input_grad):
            # Saved like everything else, so that a checkpointed segment lets go of it.
            states = (field for snapshot in snapshots for field in snapshot.state)
            ctx.save_for_backward(
                drive, current, *of["weights"], *of["plasticity"], *cells, *inputs, *states
            )
            ctx.setting, ctx.bounds = setting, [(s.begin, s.end) for s in snapshots]
        return (
            run.recorded.spikes,
            run.recorded.voltage if setting.record_voltage else None,
            drive if setting.record_voltage else None,
            dynamics.refractory,
            *dynamics.unpack(setting.size.n_steps),
            *dynamics.moving.unbind(1),
            *(dynamics.unpack_sites(order) if of["sites"] else []),
        )

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Any) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        setting: RolloutSetting = ctx.setting
        drive, current, *saved = ctx.saved_tensors
        saved = iter(saved)
        weights = list(islice(saved, setting.counts["weights"]))
        plasticity = list(islice(saved, setting.counts["plasticity"]))
        cells = CellArrays(*islice(saved, len(CellArrays._fields)))
        inputs = InputSpikes(*islice(saved, len(InputSpikes._fields)))
        snapshots = [
            Snapshot(begin, end, Dynamics(*islice(saved, len(Dynamics._fields))))
            for begin, end in ctx.bounds
        ]
        needs = setting.grouped(ctx.needs_input_grad[4:])
        run = Backward(
            setting,
            cells,
            setting.edges.graph(weights, drive),
            setting.edges.sites(plasticity, drive),
            inputs,
            drive,
            current,
            grads,
            needs,
        )
        with _on_device_of(drive):
            found = run.retreat(snapshots)
        return None, None, None, None, *in_order(found, needs)


def _on_device_of(tensor: Tensor) -> AbstractContextManager[Any]:
    """Kernels start on torch's current device, which need not be that of the tensors."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def _check_tensors(tensors: Sequence[Tensor]) -> None:
    kinds = sorted({f"{tensor.dtype} on {tensor.device}" for tensor in tensors})
    devices = ("cuda", "cpu") if INTERPRETED else ("cuda",)
    dtypes = (torch.float32, torch.float64)
    if len(kinds) > 1 or tensors[0].device.type not in devices or tensors[0].dtype not in dtypes:
        raise ConfigError.of(
            "the triton backend computes in float32 or in float64 on a CUDA device",
            "backend 'triton'",
            ", ".join(kinds),
            "move model and inputs to the GPU in one of these dtypes, or use backend 'reference', or "
            "'fused' on the CPU",
        )
