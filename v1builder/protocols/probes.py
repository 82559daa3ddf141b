"""What protocols put into cells and take from them: fitting currents, one more spike, binned spikes."""

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from v1builder.model import V1Network
from v1builder.model import plasticity as stp
from v1builder.model.edges import Edges
from v1builder.model.observation import Observer, Segment
from v1builder.model.rollout import State

#: pA and ms of the step that shows the resistance of a cell at rest.
_PROBE_PA, _PROBE_MS = 1.0, 300.0


@torch.no_grad()
def rheobase(model: V1Network) -> Tensor:
    """[n] pA, the current that would bring every cell from rest to its threshold, whatever its neuron.

    The distance to threshold over the resistance that a step of 1 pA of 300 ms shows, without inputs.
    """
    n_steps = max(1, round(_PROBE_MS / model.dt))
    like = model.bias_current
    inputs = {
        name: torch.zeros(2, n_steps, size, dtype=torch.uint8, device=like.device)
        for name, size in model.input_sizes.items()
    }
    current = torch.stack([torch.zeros_like(like), torch.full_like(like, _PROBE_PA)])[:, None]
    state = model(inputs, n_steps, current=current, state=model.initial_state(2)).state
    resistance = (state.U[1] - state.U[0]) / _PROBE_PA
    return model.threshold().detach() / resistance.clamp(min=torch.finfo(like.dtype).tiny)


def edges_of(model: V1Network) -> list[Edges]:
    """The edges of all populations."""
    return cast(list[Edges], list(model.edges.values()))


def sending(model: V1Network) -> Tensor:
    """[k] simulated cells that have targets among the simulated cells."""
    found = [
        sender_of(edges)[edges() != 0]
        for edges in edges_of(model)
        if edges.projection.source is None
    ]
    return torch.cat(found).unique() if found else torch.zeros(0, dtype=torch.int64)


def sender_of(edges: Edges) -> Tensor:
    """[e] the cell that an edge comes from, also through a site of plasticity."""
    unit = edges.projection.source_index.long()
    if not len(edges.projection.site_source):
        return unit
    of_site = edges.projection.site_source.long()
    site = (unit - edges.n_source).clamp(min=0)
    return torch.where(unit < edges.n_source, unit, of_site[site])


@torch.no_grad()
def with_spike(model: V1Network, state: State, cells: Tensor) -> State:
    """The state had one cell of every row sent one more spike in the last step; the cell itself is as it was.

    Args:
        model: of the state.
        state: after that step.
        cells: [b] which cell, by row.
    """
    pending, u, x = state.pending.clone(), state.u.clone(), state.x.clone()
    for edges in edges_of(model):
        p = edges.projection
        if p.source is not None:
            continue
        sender = sender_of(edges)
        found = [(sender == cell).nonzero().flatten() for cell in cells]
        row = torch.repeat_interleave(
            torch.arange(len(cells), device=cells.device),
            torch.tensor([len(own) for own in found], device=cells.device),
        )
        edge = torch.cat(found)
        effect = edges()[edge]
        if len(p.site_source):
            now = replace(edges.plasticity(model.dt), P_rec=torch.ones(()), P_fac=torch.ones(()))
            fires = (p.site_source.long() == cells[:, None]).to(u.dtype)
            released, u[:, p.sites], x[:, p.sites] = stp.step(
                u[:, p.sites], x[:, p.sites], fires, now
            )
            site = p.source_index[edge].long() - edges.n_source
            through = released[row, site.clamp(min=0)]
            effect = torch.where(site >= 0, effect * through, effect)
        # What is sent in a step arrives `delay` steps later: pending[0] is the next step.
        late, target, port = (
            values[edge].long() for values in (p.delay_steps, p.target_index, p.receptor)
        )
        at = (late - 1, row, target, port)
        pending.index_put_(at, effect.to(pending.dtype), accumulate=True)
    return replace(state, pending=pending, u=u, x=x)


class BinnedSpikes(Observer):
    """Counts the spikes of every cell in consecutive bins of a run, whose segments are whole bins.

    Attributes:
        counts: [b, bin, n] of all segments seen, float32.
    """

    def __init__(self, bin_steps: int):
        """Bins of so many steps."""
        self._bin = bin_steps
        self._parts: list[Tensor] = []

    @property
    def counts(self) -> Tensor:
        """[b, bin, n]."""
        return torch.cat(self._parts, dim=1)

    def see(self, segment: Segment) -> None:
        """Count the spikes of a segment."""
        self._parts.append(segment.spikes.unflatten(1, (-1, self._bin)).sum(dim=2).float())


class FilteredSpikes(Observer):
    """The spikes of every cell through a low-pass filter: what a readout with a slow membrane sees.

    Attributes:
        value: [b, n] after the last step; a spike adds 1 and decays with tau.
    """

    value: Tensor

    def __init__(self, tau: float, dt: float):
        """Filter with tau, in ms."""
        self._tau, self._dt = tau, dt
        self._seen = False

    def see(self, segment: Segment) -> None:
        """Let the spikes of a segment in."""
        n = segment.spikes.shape[1]
        age = torch.arange(n - 1, -1, -1, device=segment.spikes.device, dtype=segment.spikes.dtype)
        left = torch.exp(-age * self._dt / self._tau)
        now = torch.einsum("btn,t->bn", segment.spikes, left)
        before = torch.exp(torch.tensor(-n * self._dt / self._tau, dtype=now.dtype))
        self.value = now + before * self.value if self._seen else now
        self._seen = True
