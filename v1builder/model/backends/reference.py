"""The readable rollout in plain torch: a loop over the neuron's step and a ring of arriving spikes.

Every other backend must give these numbers, forward and gradient. Only the delivery of spikes has
its own backward pass, because what autograd would keep for it grows with edges x steps: forward
and weight gradient walk the edges of the sources that spiked, the gradient with respect to the
spikes is the transposed product. Graded neurons send in every step, over all edges: see `graded`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from v1builder.model import plasticity as stp
from v1builder.model.backends import graded
from v1builder.model.backends.contract import Backend
from v1builder.model.rollout import Coefficients, Plasticity, Projection, Rollout, State
from v1builder.model.surrogate import Surrogate


@dataclass(frozen=True)
class _Fanout:
    """The edges of one projection that share a delay, sorted by source. k of them.

    Attributes:
        delay: steps.
        edge: [k] position in the projection (and its weight).
        source: [k] source of each, a unit or a site.
        slot: [k] target * n_receptors + receptor.
        start, degree: [sources] first of the k edges of each source, and how many it has.
    """

    delay: int
    edge: Tensor
    source: Tensor
    slot: Tensor
    start: Tensor
    degree: Tensor

    def walk(self, spikes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Every (sample, edge) that carries a spike: sample, position among the k, spike value."""
        sample, source = spikes.nonzero(as_tuple=True)
        count = self.degree[source]
        first = count.cumsum(0) - count
        within = torch.arange(int(count.sum()), device=spikes.device)
        within = within - first.repeat_interleave(count)
        return (
            sample.repeat_interleave(count),
            self.start[source].repeat_interleave(count) + within,
            spikes[sample, source].repeat_interleave(count),
        )


_FANOUTS: WeakKeyDictionary[Projection, dict[int, list[_Fanout]]] = WeakKeyDictionary()


def _fanouts(projection: Projection, n_receptors: int) -> list[_Fanout]:
    """The edges of a projection by delay; sorted once per projection."""
    by_receptors = _FANOUTS.setdefault(projection, {})
    if n_receptors not in by_receptors:
        by_receptors[n_receptors] = [
            _fanout(projection, int(delay), n_receptors)
            for delay in torch.unique(projection.delay_steps)
        ]
    return by_receptors[n_receptors]


def _fanout(projection: Projection, delay: int, n_receptors: int) -> _Fanout:
    edge = (projection.delay_steps == delay).nonzero().flatten()
    edge = edge[torch.argsort(projection.source_index[edge], stable=True)]
    source = projection.source_index[edge].long()
    n_sources = projection.n_source + len(projection.site_source)
    degree = torch.bincount(source, minlength=n_sources)
    slot = projection.target_index[edge].long() * n_receptors + projection.receptor[edge].long()
    return _Fanout(delay, edge, source, slot, degree.cumsum(0) - degree, degree)


class _Deliver(torch.autograd.Function):
    """out[b, slot] = sum over edges of weight * spikes[b, source]."""

    @staticmethod
    def forward(ctx, spikes: Tensor, weight: Tensor, fanout: _Fanout, n_slots: int) -> Tensor:
        ctx.save_for_backward(spikes, weight)
        ctx.fanout = fanout
        sample, position, value = fanout.walk(spikes)
        arriving = torch.zeros(spikes.shape[0] * n_slots, dtype=weight.dtype, device=weight.device)
        arriving.index_add_(
            0, sample * n_slots + fanout.slot[position], weight[fanout.edge[position]] * value
        )
        return arriving.view(-1, n_slots)

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (grad,) = grad_outputs
        spikes, weight = ctx.saved_tensors
        fanout: _Fanout = ctx.fanout
        grad_spikes = grad_weight = None
        if ctx.needs_input_grad[0]:
            per_edge = grad[:, fanout.slot] * weight[fanout.edge]
            grad_spikes = torch.zeros_like(spikes).index_add_(1, fanout.source, per_edge)
        if ctx.needs_input_grad[1]:
            sample, position, value = fanout.walk(spikes)
            grad_weight = torch.zeros_like(weight).index_add_(
                0, fanout.edge[position], grad[sample, fanout.slot[position]] * value
            )
        return grad_spikes, grad_weight, None, None


def released(
    projections: Sequence[Projection],
    emissions: Sequence[Tensor],
    plasticity: Plasticity,
    state: State,
) -> tuple[Tensor, State]:
    """What every site releases in a step [b, s], and the state after it."""
    of_sites = [
        emitted[:, projection.site_source.long()]
        for projection, emitted in zip(projections, emissions, strict=True)
    ]
    release, u, x = stp.step(state.u, state.x, torch.cat(of_sites, dim=1), plasticity)
    return release, replace(state, u=u, x=x)


def rollout(
    propagators: Coefficients,
    projections: Sequence[Projection],
    weights: Sequence[Tensor],
    inputs: Mapping[str, Tensor],
    current: Tensor | None,
    state: State,
    n_steps: int,
    *,
    plasticity: Plasticity | None = None,
    surrogate: Surrogate,
    detach_reset: bool,
    record_voltage: bool,
) -> Rollout:
    """Run `n_steps` steps. See `contract.Backend` for the arguments."""
    n_delays, n_batch, n_cells, n_receptors = state.pending.shape
    dtype = state.U.dtype
    ring = [arriving.reshape(n_batch, -1) for arriving in state.pending.unbind(0)]
    nothing = torch.zeros_like(ring[0])
    no_current = torch.zeros_like(state.U)

    routes = {
        i: graded.routes(projection, nothing.shape[1], n_receptors)
        for i, projection in enumerate(projections)
        if propagators.graded and projection.source is None
    }
    arranged = {i: route.arranged(weights[i]) for i, route in routes.items()}

    spikes, voltage, drive = [], [], []
    for t in range(n_steps):
        arriving = ring.pop(0).view(n_batch, n_cells, n_receptors)
        ring.append(nothing)
        injected = no_current if current is None else current[:, t if current.shape[1] > 1 else 0]
        z, before_spike, state = propagators.step(
            state, arriving, injected, surrogate, detach_reset
        )
        emissions = [
            z if p.source is None else inputs[p.source][:, t].to(dtype) for p in projections
        ]
        if plasticity is not None:
            sent, state = released(projections, emissions, plasticity, state)
            emissions = [
                torch.cat([emitted, sent[:, projection.sites]], dim=1)
                for projection, emitted in zip(projections, emissions, strict=True)
            ]
        for i, (projection, weight, emitted) in enumerate(
            zip(projections, weights, emissions, strict=True)
        ):
            if i in routes:
                for delay, delivered in routes[i].deliver(emitted, arranged[i]):
                    ring[delay - 1] = ring[delay - 1] + delivered
                continue
            if not emitted.requires_grad and not emitted.any():
                continue
            for fanout in _fanouts(projection, n_receptors):
                delivered = _Deliver.apply(emitted, weight, fanout, nothing.shape[1])
                ring[fanout.delay - 1] = ring[fanout.delay - 1] + delivered  # pyright: ignore[reportOperatorIssue]
        spikes.append(z)
        if record_voltage:
            voltage.append(state.U)
            drive.append(before_spike)

    pending = torch.stack(ring).view(n_delays, n_batch, n_cells, n_receptors)
    return Rollout(
        spikes=torch.stack(spikes, dim=1),
        voltage=torch.stack(voltage, dim=1) if record_voltage else None,
        drive=torch.stack(drive, dim=1) if record_voltage else None,
        state=replace(state, pending=pending),
    )


class PlainTorch(Backend):
    """Plain torch."""

    name: ClassVar[str] = "reference"
    about: ClassVar[str] = "everything, in plain torch"
    priority: ClassVar[int | None] = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Rollout:
        """Run the steps."""
        return rollout(*args, **kwargs)
