"""Delivery of graded signals, where every source sends in every step.

A walk over the spikes pays for finding them; here all edges are fixed, so one step is a product of the
weights with the signals of all sources. Where a good part of all possible edges is there, the weights are
written into a matrix once per rollout, and a step is a matrix product. Else it is a sparse one, and its
backward pass the transposed product and, for the weights, one number per edge. Both are weighted sums over
bags of rows (`torch.nn.functional.embedding_bag`), which run on every device; then nothing is ever dense.
"""

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from v1builder.model.rollout import Projection

# Edges whose rows are multiplied at a time for the gradient of the weights: what fits a level-2 cache.
_CHUNK = 4096
# Part of all possible edges from which on a matrix is faster (512 cells, batch 32: .03), and entries that a
# matrix may have.
_DENSE_FROM = 1 / 32
_LARGEST_MATRIX = 2**26


@dataclass(frozen=True)
class Routes:
    """The edges of one projection sorted by (delay, target, receptor), and again by source. e edges.

    Attributes:
        delays: steps, ascending.
        edge: [e] position in the projection.
        row: [e] position of its delay * n_slots + target * n_receptors + receptor.
        source: [e] a unit or a site.
        row_start: [rows] first edge of each row.
        by_source: [e] the same edges sorted by source; row_by_source their rows.
        source_start: [sources] first of those of each source.
        n_rows: number of rows.
    """

    delays: tuple[int, ...]
    edge: Tensor
    row: Tensor
    source: Tensor
    row_start: Tensor
    by_source: Tensor
    row_by_source: Tensor
    source_start: Tensor
    n_rows: int

    @property
    def dense(self) -> bool:
        """Whether a step is the product with a matrix."""
        size = len(self.source_start) * self.n_rows
        return _DENSE_FROM * size <= len(self.edge) and size <= _LARGEST_MATRIX

    def arranged(self, weight: Tensor) -> Tensor:
        """Weights [e] of the projection as `deliver` takes them; once per rollout.

        Returns:
            [e] in the order of `edge`; or where edges are `dense` [sources, rows].
        """
        if not self.dense:
            return weight[self.edge]
        matrix = weight.new_zeros(len(self.source_start), self.n_rows)
        return matrix.index_put((self.source, self.row), weight[self.edge], accumulate=True)

    def deliver(self, sent: Tensor, weight: Tensor) -> list[tuple[int, Tensor]]:
        """What arrives, by delay in steps; differentiable.

        Args:
            sent: [b, sources] signal of every unit and site.
            weight: pA, `arranged`.

        Returns:
            Delays with what arrives after them, [b, n_slots] pA.
        """
        if not len(self.edge):
            return []
        arriving: Any = sent @ weight if self.dense else _Product.apply(sent, weight, self)
        return list(zip(self.delays, arriving.chunk(len(self.delays), dim=1), strict=True))

    def product(self, sent: Tensor, weight: Tensor) -> Tensor:
        """[b, rows] what arrives of `sent` [b, sources]; without a gradient."""
        if self.dense:
            return sent @ weight
        return embedding_bag(
            self.source, sent.T.contiguous(), self.row_start, mode="sum", per_sample_weights=weight
        ).T

    def of_signals(self, grad: Tensor, weight: Tensor) -> Tensor:
        """[b, sources] gradient of what was sent, from that of what arrived, [b, rows]."""
        if self.dense:
            return grad @ weight.T
        return embedding_bag(
            self.row_by_source, grad.T.contiguous(), self.source_start, mode="sum",
            per_sample_weights=weight[self.by_source],
        ).T  # fmt: skip

    def of_weights(self, grad: Tensor, sent: Tensor) -> Tensor:
        """Gradient of the weights as they are `arranged`, from that of what arrived and what was sent."""
        if self.dense:
            return sent.T @ grad
        signal, grad = sent.T.contiguous(), grad.T.contiguous()
        pairs = zip(self.row.split(_CHUNK), self.source.split(_CHUNK), strict=True)
        return torch.cat([torch.linalg.vecdot(grad[row], signal[source]) for row, source in pairs])


_ROUTES: WeakKeyDictionary[Projection, dict[int, Routes]] = WeakKeyDictionary()


def routes(projection: Projection, n_slots: int, n_receptors: int) -> Routes:
    """The sorted edges of a projection; sorted once per projection."""
    known = _ROUTES.setdefault(projection, {})
    if n_receptors not in known:
        known[n_receptors] = _routes(projection, n_slots, n_receptors)
    return known[n_receptors]


def _routes(projection: Projection, n_slots: int, n_receptors: int) -> Routes:
    delays, late = torch.unique(projection.delay_steps, return_inverse=True)
    slot = projection.target_index.long() * n_receptors + projection.receptor.long()
    row = late.long() * n_slots + slot
    edge = torch.argsort(row, stable=True)
    row, source = row[edge], projection.source_index[edge].long()
    by_source = torch.argsort(source, stable=True)
    n_sources = projection.n_source + len(projection.site_source)
    return Routes(
        delays=tuple(int(delay) for delay in delays),
        edge=edge,
        row=row,
        source=source,
        row_start=_starts(row, len(delays) * n_slots),
        by_source=by_source,
        row_by_source=row[by_source],
        source_start=_starts(source, n_sources),
        n_rows=len(delays) * n_slots,
    )


def _starts(key: Tensor, size: int) -> Tensor:
    count = torch.bincount(key, minlength=size)
    return count.cumsum(0) - count


class _Product(torch.autograd.Function):
    """out[b, row] = sum over the edges of a row of weight * sent[b, source]."""

    @staticmethod
    def forward(ctx, sent: Tensor, weight: Tensor, routes: Routes) -> Tensor:
        ctx.save_for_backward(sent, weight)
        ctx.routes = routes
        return routes.product(sent, weight).contiguous()

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        sent, weight = ctx.saved_tensors
        routes: Routes = ctx.routes
        (grad,) = grad_outputs
        grad_sent = routes.of_signals(grad, weight) if ctx.needs_input_grad[0] else None
        grad_weight = routes.of_weights(grad, sent) if ctx.needs_input_grad[1] else None
        return grad_sent, grad_weight, None
