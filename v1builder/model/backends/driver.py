"""The rollout of every compiled backend: one autograd function, with what the kernels need packed for them.

The forward pass stores the voltage before the spike test (from which the spikes follow) and a snapshot of
the slow state every sqrt(T) steps; the backward pass recomputes each segment from its snapshot and runs it
in reverse. Gradients of the coefficients of cells, synapses and sites cost time and memory only where one
of them is asked for.

A backend says how it does its part: a subclass of `kernels.Kernels`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from v1builder.model.backends import fields
from v1builder.model.backends.arguments import check_shapes
from v1builder.model.backends.kernels import Gradients, Groups, Kernels, Operands, Request, Wanted
from v1builder.model.backends.layout import (
    CellArrays,
    Dynamics,
    Losses,
    Sizes,
    arrival_of,
    as_steps,
    next_of,
    pending_of,
    pending_of_arrival,
    ring_of,
)
from v1builder.model.backends.plan import EdgePlan, plan_edges
from v1builder.model.rollout import Plasticity, Projection, Rollout
from v1builder.model.surrogate import Surrogate

if TYPE_CHECKING:
    from v1builder.model.neurons.glif import GlifState, Propagators


def rollout(
    kernels: Kernels,
    propagators: "Propagators",
    projections: Sequence[Projection],
    weights: Sequence[Tensor],
    inputs: Mapping[str, Tensor],
    current: Tensor | None,
    state: "GlifState",
    n_steps: int,
    *,
    plasticity: Plasticity | None = None,
    surrogate: Surrogate,
    detach_reset: bool,
    record_voltage: bool,
) -> Rollout:
    """Run `n_steps` steps. See `contract.Backend` for the arguments.

    Raises:
        ConfigError: the tensors are not all float32 or all float64 where the kernels run, or their shapes
            do not fit.
    """
    tensors = collect(propagators, weights, current, state, plasticity)
    kernels.check([tensor for group in tensors.values() for tensor in group])
    n_delays, n_batch, n_cells, n_receptors = state.pending.shape
    check_shapes(
        projections, weights, inputs, current, tensors["plasticity"], [state.u, state.x],
        (n_batch, n_steps, n_cells),
    )  # fmt: skip
    with kernels.running(state.U):
        shape = (n_cells, n_receptors, n_delays)
        plan = plan_edges(projections, shape, state.U.device, kernels)
        input_slices = _add_inputs(tensors, inputs, plan, n_cells)
        request = Request(
            plan=plan,
            size=Sizes(
                n_batch, n_steps, n_cells, state.asc.shape[2], n_receptors, n_delays + 1,
                plan.n_units, len(plan.site_order) if plasticity is not None else 0,
            ),
            counts={name: len(group) for name, group in tensors.items()},
            state_names=_state_names(tensors),
            current_shape=(0, 0, n_cells) if current is None else tuple(current.shape),
            input_slices=input_slices,
            surrogate=surrogate,
            detach_reset=detach_reset,
            record_voltage=record_voltage,
        )  # fmt: skip
        outputs: Any = _CompiledRollout.apply(  # pyright: ignore[reportGeneralTypeIssues]
            kernels,
            request,
            kernels.list_spikes(inputs, plan, state.U, n_steps),
            propagators.t_ref_steps,
            state.refractory,
            *(tensor for group in tensors.values() for tensor in group),
        )
    spikes, voltage, drive, refractory, *end = outputs
    after = dict(zip(request.state_names, end, strict=True))
    after = replace(state, refractory=refractory, **after)
    return Rollout(spikes=spikes, voltage=voltage, drive=drive, state=after)


def collect(
    propagators: "Propagators",
    weights: Sequence[Tensor],
    current: Tensor | None,
    state: "GlifState",
    plasticity: Plasticity | None,
) -> Groups:
    """The tensors, besides inputs, that may need a gradient, by what they are."""
    p, threshold = propagators, propagators.threshold
    synapse = [getattr(p, name) for name in fields.SYNAPSE]
    instant = [getattr(p, name) for name in fields.INSTANT]
    if any(of is not None for of in instant):
        synapse += [torch.zeros_like(synapse[0]) if of is None else of for of in instant]
    return {
        "membrane": [getattr(p, name) for name in fields.MEMBRANE],
        "adaptation": [getattr(p, name) for name in fields.ADAPTATION],
        "synapse": synapse,
        "threshold": [getattr(threshold, name) for name in fields.THRESHOLD if threshold],
        "state": [getattr(state, name) for name in fields.STATE],
        "moving": [getattr(state, name) for name in fields.MOVING if threshold],
        "sites": [getattr(state, name) for name in fields.SITES if plasticity is not None],
        "plasticity": [getattr(plasticity, name) for name in fields.PLASTICITY if plasticity],
        "current": [] if current is None else [current],
        "weights": list(weights),
    }


def _state_names(tensors: Groups) -> tuple[str, ...]:
    """Of the groups state, moving and sites."""
    return (
        *fields.STATE,
        *fields.MOVING[: len(tensors["moving"])],
        *fields.SITES[: len(tensors["sites"])],
    )


def _add_inputs(
    tensors: Groups, inputs: Mapping[str, Tensor], plan: EdgePlan, n_cells: int
) -> tuple[slice, ...]:
    """Adds the inputs that need a gradient; returns their units, among all input units."""
    found = {first - n_cells: inputs[name] for name, first in plan.first_source.items()}
    found = {first: tensor for first, tensor in found.items() if tensor.requires_grad}
    tensors["inputs"] = list(found.values())
    return tuple(slice(first, first + tensor.shape[2]) for first, tensor in found.items())


def _packed_state(
    values: Sequence[Tensor], refractory: Tensor, request: Request, kernels: Kernels, adjoint: bool
) -> Dynamics:
    of = dict(zip(request.state_names, values, strict=True))
    plan = request.plan
    if adjoint:
        ring = arrival_of(of["pending"], plan.n_padded, request.size.n_steps)
    else:
        ring = ring_of(of["pending"], plan.n_padded)
    return Dynamics.pack(of, refractory, plan.site_order, kernels, ring)


class _CompiledRollout(torch.autograd.Function):
    """Of the differentiable tensors, in the order and number of `Request.counts`."""

    @staticmethod
    def forward(
        ctx,
        kernels: Kernels,
        request: Request,
        inputs: Any,
        t_ref: Tensor,
        refractory: Tensor,
        *tensors: Any,
    ) -> tuple[Tensor | None, ...]:
        ctx.set_materialize_grads(False)
        of, needs = request.grouped(tensors), request.grouped(ctx.needs_input_grad[5:])
        keep = any(ctx.needs_input_grad)
        cells = CellArrays.pack(of, t_ref, kernels)
        values = of["state"] + of["moving"] + of["sites"]
        state = _packed_state(values, refractory, request, kernels, adjoint=False)
        operands = _operands(request, cells, of["weights"], of["plasticity"], of["current"])
        run = kernels.forward(request, operands, inputs, state, keep)
        segments = list(_segments(request, whole=not keep))
        before = _room(state, len(segments) if keep else 0, any(needs["synapse"]))
        for k, (begin, end) in enumerate(segments):
            if keep:
                _keep(state, before, k)
            run.advance(begin, end)
        recorded = run.recorded
        ctx.mark_non_differentiable(state.refractory)
        if keep:
            # Saved like everything else, so that a checkpointed segment lets go of it.
            kept = (*cells, *run.kept, *before)
            learned = (*of["current"], *of["weights"], *of["plasticity"])
            ctx.save_for_backward(recorded.drive, *learned, *kept)
            ctx.kernels, ctx.request, ctx.kept = kernels, request, type(run.kept)
        pending = pending_of(state.ring, request.size)
        after = state.unpack(pending, request.plan.site_order, kernels)
        return (
            recorded.spikes,
            recorded.voltage if request.record_voltage else None,
            recorded.drive if request.record_voltage else None,
            state.refractory,
            *(after[name] for name in request.state_names),
        )

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Any) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        kernels: Kernels = ctx.kernels
        request: Request = ctx.request
        saved = iter(ctx.saved_tensors)
        drive = next(saved)
        current, weights, plasticity = (
            list(islice(saved, request.counts[name]))
            for name in ("current", "weights", "plasticity")
        )
        cells, kept = next_of(CellArrays, saved), next_of(ctx.kept, saved)
        before = next_of(Dynamics, saved)
        needs = request.grouped(ctx.needs_input_grad[5:])
        spikes, voltage, of_drive, _, *end = grads
        with kernels.running(drive):
            losses = Losses(*(as_steps(loss, drive) for loss in (spikes, voltage, of_drive)))
            named = zip(request.state_names, end, strict=True)
            at_end = [
                drive.new_zeros(request.shape_of(name)) if of is None else of for name, of in named
            ]
            none = drive.new_zeros(0, request.size.n_cells)
            adjoint = _packed_state(at_end, none, request, kernels, adjoint=True)
            operands = _operands(request, cells, weights, plasticity, current)
            wanted = Wanted.of(needs)
            run = kernels.backward(request, operands, kept, drive, before, losses, adjoint, wanted)
            segments = list(enumerate(_segments(request, whole=False)))
            for k, (begin, end) in reversed(segments):
                run.replay(begin, end, k)
                run.retreat(begin, end)
            found = _by_group(request, run.gradients(), adjoint, wanted, kernels)
        return (None,) * 5 + tuple(
            gradient if needed else None
            for name, flags in needs.items()
            for gradient, needed in zip(found.get(name, [None] * len(flags)), flags, strict=True)
        )


def _room(state: Dynamics, n: int, with_synapses: bool) -> Dynamics:
    """Room for n copies, in front; those of y and ring are of length 0 unless wanted."""
    like = state if with_synapses else state._replace(y=state.y[:0], ring=state.ring[:0])
    return Dynamics(*(field.new_empty(n, *field.shape) for field in like))


def _keep(state: Dynamics, room: Dynamics, k: int) -> None:
    """Copy a state to place k."""
    for field, copies in zip(state, room, strict=True):
        if copies.numel():
            copies[k].copy_(field)


def _segments(request: Request, whole: bool) -> Iterator[tuple[int, int]]:
    """First step of each segment, and that after its last."""
    n_steps, length = request.size.n_steps, request.segment
    if whole:
        length = n_steps
    for begin in range(0, n_steps, length):
        yield begin, min(begin + length, n_steps)


def _operands(
    request: Request,
    cells: CellArrays,
    weights: Sequence[Tensor],
    plasticity: Sequence[Tensor],
    current: Sequence[Tensor],
) -> Operands:
    like = cells.membrane
    return Operands(
        cells,
        request.plan.graph(weights, like),
        request.plan.sites(plasticity, like),
        as_steps(current[0] if current else None, like),
    )


def _by_group(
    request: Request, grads: Gradients, adjoint: Dynamics, wanted: Wanted, kernels: Kernels
) -> dict[str, list[Tensor]]:
    """Gradients of the differentiable tensors that have one, by what the tensors are."""
    plan, n_cells = request.plan, request.size.n_cells
    pending = pending_of_arrival(adjoint.ring, request.size)
    state = adjoint.unpack(pending, plan.site_order, kernels)
    found = {
        **grads.cells.unpack(kernels, n_cells),
        "state": [state[name] for name in fields.STATE],
        "moving": [state[name] for name in fields.MOVING if name in state],
        "sites": [state[name] for name in fields.SITES][: request.counts["sites"]],
        "inputs": [grads.input[:, :, units].clone() for units in request.input_slices],
    }
    if wanted.current:
        found["current"] = [grads.current]
    if wanted.weights:
        found["weights"] = plan.by_projection(grads.weight)
    if wanted.plasticity:
        back = torch.argsort(plan.site_order)
        found["plasticity"] = list(grads.sites[:, back])
    return found
