"""The fused CPU backend: the whole rollout in compiled kernels, forward and backward.

One autograd function per rollout. The forward pass stores the voltage before the spike test (from
which the spikes follow) and a snapshot of the slow state every sqrt(T) steps; the backward pass
recomputes each segment exactly from its snapshot. Gradients with respect to the coefficients of
cells, synapses and sites cost time and memory only when one of them is asked for.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from v1builder.model.backends import check_supported
from v1builder.model.backends._differentiable import add_inputs, collect, in_order, to_rollout
from v1builder.model.backends._fused_backward import Backward
from v1builder.model.backends._fused_forward import Forward, RolloutSetting
from v1builder.model.backends._kernels_edges import list_spikes, plan_edges
from v1builder.model.backends._kernels_layout import (
    N_CELL,
    SITES,
    CellArrays,
    Dynamics,
    as_steps,
)
from v1builder.model.backends.arguments import check_shapes
from v1builder.model.neurons.glif import GlifState, Propagators
from v1builder.model.rollout import Plasticity, Projection, Rollout
from v1builder.model.surrogate import Surrogate
from v1builder.schema.errors import ConfigError


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
            tensors are not all float32 or all float64 on the CPU, or their shapes do not fit.
    """
    check_supported(propagators, "fused")
    tensors = collect(propagators, weights, current, state, plasticity)
    _check_tensors([tensor for group in tensors.values() for tensor in group])
    n_delays, n_batch, n_cells, n_receptors = state.pending.shape
    check_shapes(
        projections, weights, inputs, current, tensors["plasticity"], [state.u, state.x],
        (n_batch, n_steps, n_cells),
    )  # fmt: skip
    dtype = np.dtype(str(state.U.dtype).removeprefix("torch."))
    with _torch_threads():
        edges = plan_edges(projections, (n_cells, n_receptors, n_delays))
        input_slices = add_inputs(tensors, inputs, edges.first_source, n_cells)
        setting = RolloutSetting(
            edges=edges,
            inputs=list_spikes(inputs, edges, n_batch, n_steps, dtype),
            input_slices=input_slices,
            counts={name: len(group) for name, group in tensors.items()},
            n_batch=n_batch,
            n_steps=n_steps,
            n_cells=n_cells,
            n_receptors=n_receptors,
            n_delays=n_delays,
            surrogate=surrogate,
            detach_reset=detach_reset,
            record_voltage=record_voltage,
        )
        outputs: Any = _FusedRollout.apply(  # pyright: ignore[reportGeneralTypeIssues]
            setting,
            propagators.t_ref_steps,
            state.refractory,
            *(tensor for group in tensors.values() for tensor in group),
        )
    return to_rollout(outputs, state, tensors)


class _FusedRollout(torch.autograd.Function):
    """Of the differentiable tensors, in the order and number of `RolloutSetting.counts`."""

    @staticmethod
    def forward(
        ctx, setting: RolloutSetting, t_ref: Tensor, refractory: Tensor, *tensors: Any
    ) -> tuple[Tensor | None, ...]:
        ctx.set_materialize_grads(False)
        of, needs = setting.grouped(tensors), setting.grouped(ctx.needs_input_grad[3:])
        n_padded, order = setting.edges.n_padded, setting.edges.site_order
        cells = CellArrays.pack(of["coefficients"], of["threshold"], t_ref, n_padded)
        no_sites = [of["state"][0][:, :0]] * len(SITES)
        dynamics = Dynamics.pack(
            of["state"], of["moving"], of["sites"] or no_sites, refractory, order, n_padded
        )
        dtype = dynamics.U.dtype
        current = of["current"][0] if of["current"] else None
        run = Forward(setting, cells, dynamics, keep_drive=any(ctx.needs_input_grad))
        snapshots = run.advance(
            setting.edges.graph(of["weights"], dtype),
            setting.edges.sites(of["plasticity"], dtype),
            as_steps(current, dynamics.U),
            keep_synapses=any(needs["coefficients"][N_CELL:]),
        )
        drive, ended = torch.from_numpy(run.recorded.drive), torch.from_numpy(dynamics.refractory)
        ctx.mark_non_differentiable(ended)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(drive, current, *of["weights"], *of["plasticity"])
            ctx.setting, ctx.cells, ctx.snapshots = setting, cells, snapshots
            ctx.emitted = run.emitted
        return (
            torch.from_numpy(run.recorded.spikes),
            torch.from_numpy(run.recorded.voltage) if setting.record_voltage else None,
            drive if setting.record_voltage else None,
            ended,
            *dynamics.unpack(setting.n_receptors, setting.n_delays, setting.n_steps),
            *torch.from_numpy(dynamics.moving).unbind(1),
            *(dynamics.unpack_sites(order) if of["sites"] else []),
        )

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Any) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        setting: RolloutSetting = ctx.setting
        drive, current, *saved = ctx.saved_tensors
        weights = saved[: setting.counts["weights"]]
        plasticity = saved[setting.counts["weights"] :]
        needs = setting.grouped(ctx.needs_input_grad[3:])
        with _torch_threads():
            drive = drive.numpy()
            run = Backward(
                setting,
                ctx.cells,
                setting.edges.graph(weights, drive.dtype),
                setting.edges.sites(plasticity, drive.dtype),
                ctx.emitted,
                drive,
                current,
                grads,
                needs,
            )
            found = run.retreat(ctx.snapshots)
        return None, None, None, *in_order(found, needs)


@contextmanager
def _torch_threads() -> Iterator[None]:
    """As many compiled threads as torch uses, within what numba was started with."""
    wanted = torch.get_num_threads()
    before = numba.get_num_threads()
    if torch.get_num_threads() != wanted:  # numba's threads, when they start, are OpenMP's default
        torch.set_num_threads(wanted)
    most: int = numba.config.NUMBA_NUM_THREADS  # pyright: ignore[reportAttributeAccessIssue]
    numba.set_num_threads(min(wanted, most))
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
