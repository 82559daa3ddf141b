"""The rollout of GLIFR cells with their compiled step (`cpu.smooth_step`): one autograd function for all.

The state before every step is kept for the backward pass. What inputs send is known beforehand and delivered
in one product; what cells send in a step, in one product of that step, as in `graded`; the gradient of the
recurrent weights is one product over all steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from v1builder.model.backends import graded
from v1builder.model.backends.arguments import check_shapes
from v1builder.model.backends.cpu import smooth_step
from v1builder.model.backends.graded import Routes
from v1builder.model.backends.kernels import Kernels
from v1builder.model.neurons.glif import GlifState
from v1builder.model.neurons.glifr import SmoothPropagators, SmoothSpike
from v1builder.model.rollout import Plasticity, Projection, Rollout
from v1builder.model.surrogate import Surrogate

#: Cells and samples whose step pays for a second thread.
_THREADED_FROM = 8192
_STATE = ("y1_fast", "y2_fast", "y1_slow", "y2_slow")


@dataclass(frozen=True)
class _Settings:
    """What is no tensor.

    Attributes:
        kernels: whose threads compute.
        smooth: what a cell sends.
        detach_reset: no gradient through reset and after-spike currents.
        routes: of the recurrent edges.
    """

    kernels: Kernels
    smooth: SmoothSpike
    detach_reset: bool
    routes: tuple[Routes, ...]

    def arguments(self, like: Tensor) -> tuple[Any, ...]:
        """First arguments of the kernels: threaded, sigma, per_step."""
        threaded = torch.get_num_threads() > 1 and like.numel() >= _THREADED_FROM
        number = like.numpy().dtype.type
        return threaded, number(self.smooth.sigma_V), number(self.smooth.per_step)


def rollout(
    kernels: Kernels,
    propagators: SmoothPropagators,
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
        ConfigError: the shapes of the tensors do not fit.
    """
    del surrogate  # the signal has a derivative of its own
    assert plasticity is None
    n_delays, n_batch, n_cells, n_receptors = state.pending.shape
    check_shapes(
        projections, weights, inputs, current, [], [state.u, state.x], (n_batch, n_steps, n_cells)
    )
    p, n_slots = propagators, n_cells * n_receptors
    arriving = functional.pad(state.pending.flatten(2), (0, 0, 0, 0, 0, n_steps))
    recurrent: list[tuple[Routes, Tensor]] = []
    for projection, weight in zip(projections, weights, strict=True):
        routes = graded.routes(projection, n_slots, n_receptors)
        if not len(routes.edge):
            continue
        arranged = routes.arranged(weight)
        if projection.source is None:
            recurrent.append((routes, arranged))
            continue
        sent = inputs[projection.source].to(weight).flatten(0, 1)
        for delay, part in routes.deliver(sent, arranged):
            steps = part.view(n_batch, n_steps, n_slots).transpose(0, 1)
            arriving = arriving + functional.pad(steps, (0, 0, 0, 0, delay, n_delays - delay))
    injected = state.U.new_zeros(1, 1, 1) if current is None else current
    injected = injected.expand(n_batch, n_steps, n_cells).transpose(0, 1)
    settings = _Settings(
        kernels,
        p.smooth,
        detach_reset,
        tuple(routes for routes, _ in recurrent),
    )
    none = torch.zeros_like(p.P11_fast)
    tensors = (
        torch.cat([state.current[None], injected[:-1]]),
        arriving,
        state.U,
        state.asc,
        torch.stack([getattr(state, name) for name in _STATE]),
        torch.stack([getattr(p, name) for name in smooth_step.MEMBRANE]),
        torch.stack([getattr(p, name) for name in smooth_step.ADAPTATION]),
        torch.stack(
            [none if (of := getattr(p, name)) is None else of for name in smooth_step.SYNAPSE]
        ),
        *(arranged for _, arranged in recurrent),
    )
    kernels.check(tensors)
    outputs: Any = _SmoothRollout.apply(settings, *tensors)
    sent, U, asc, y, pending = outputs
    after = dict(zip(_STATE, y.unbind(), strict=True))
    voltage = U.transpose(0, 1) if record_voltage else None
    return Rollout(
        spikes=sent.transpose(0, 1),
        voltage=voltage,
        drive=voltage,
        state=replace(
            state, U=U[-1], asc=asc, current=injected[-1], pending=pending.view_as(state.pending),
            **after,
        ),
    )  # fmt: skip


class _SmoothRollout(torch.autograd.Function):
    """Signals [t, b, n], voltages [t, b, n] and the last asc, y and pending, of packed tensors.

    acting [t, b, n] pA in each step, arriving [t + delays, b, slots]; the rest as in `cpu.smooth_step`; then
    the arranged weights of the recurrent edges.
    """

    @staticmethod
    def forward(
        ctx,
        settings: _Settings,
        acting: Tensor,
        arriving: Tensor,
        U: Tensor,
        asc: Tensor,
        y: Tensor,
        membrane: Tensor,
        adaptation: Tensor,
        synapse: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, ...]:
        n_steps = len(acting)
        arriving, acting = arriving.clone(), acting.contiguous()
        of_start = settings.smooth.expected(U, membrane[smooth_step.MEMBRANE.index("V_th")])
        start = (of_start, U, asc, y)
        kept = [one.new_empty(n_steps + 1, *one.shape) for one in start]
        for one, at_start in zip(kept, start, strict=True):
            one[0] = at_start
        of_cells = [one.contiguous() for one in (membrane, adaptation, synapse)]
        first = settings.arguments(U)
        states = [one.numpy() for one in kept]
        coefficients = [one.numpy() for one in of_cells]
        acts, arrives = acting.numpy(), arriving.numpy()
        with settings.kernels.running(U):
            for t in range(n_steps):
                before, after = [one[t] for one in states], [one[t + 1] for one in states]
                given = [*first, *before, acts[t], arrives[t], *coefficients, *after]
                smooth_step.advance(*given)
                for routes, weight in zip(settings.routes, weights, strict=True):
                    parts = routes.product(kept[0][t + 1], weight).chunk(len(routes.delays), dim=1)
                    for delay, part in zip(routes.delays, parts, strict=True):
                        arriving[t + delay] += part
        ctx.save_for_backward(acting, arriving, *kept, *of_cells, *weights)
        ctx.settings = settings
        sent, voltage, asc, y = kept
        pending = arriving[n_steps:].clone()
        return sent[1:].clone(), voltage[1:].clone(), asc[-1].clone(), y[-1].clone(), pending

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        settings: _Settings = ctx.settings
        acting, arriving, sent, U, asc, y, *rest = ctx.saved_tensors
        of_cells, weights = rest[:3], rest[3:]
        of_sent, of_U, of_asc, of_y, of_pending = (one.contiguous() for one in grads)
        n_steps = len(acting)
        l_arriving = torch.zeros_like(arriving)
        l_arriving[n_steps:] = of_pending
        l_acting = torch.empty_like(acting)
        l_U, l_asc, l_y = torch.zeros_like(U[0]), of_asc.clone(), of_y.clone()  # after a step
        found = [torch.zeros_like(one) for one in of_cells]
        first = (*settings.arguments(U[0]), settings.detach_reset)
        states = [one.numpy() for one in (sent, U, asc, y)]
        coefficients, gradients = ([one.numpy() for one in group] for group in (of_cells, found))
        acts, arrives = acting.numpy(), arriving.numpy()
        losses = [one.numpy() for one in (l_U, l_asc, l_y)]
        with settings.kernels.running(sent):
            for t in reversed(range(n_steps)):
                l_sent = of_sent[t]
                for routes, weight in zip(settings.routes, weights, strict=True):
                    late = torch.cat([l_arriving[t + delay] for delay in routes.delays], dim=1)
                    l_sent = l_sent + routes.of_signals(late, weight)
                l_U += of_U[t]
                before, after = [one[t] for one in states], [states[k][t + 1] for k in (0, 2)]
                given = [*first, *before, acts[t], arrives[t], *coefficients, *after]
                given += [l_sent.contiguous().numpy(), *losses, l_acting[t].numpy()]
                given += [l_arriving[t].numpy(), *gradients]
                smooth_step.retreat(*given)
        of_weights: list[Tensor | None] = [None] * len(weights)
        for k, routes in enumerate(settings.routes):
            if ctx.needs_input_grad[-len(weights) + k]:
                late = [l_arriving[delay : n_steps + delay] for delay in routes.delays]
                late = torch.cat(late, dim=2).flatten(0, 1)
                of_weights[k] = routes.of_weights(late, sent[1:].flatten(0, 1))
        return None, l_acting, l_arriving, l_U, l_asc, l_y, *found, *of_weights
