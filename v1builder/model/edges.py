"""Edges of one population as a module: where they go is fixed, how strong they are may be learned.

The weight of an edge is base * exp(log_scale), log_scale starting at 0. So its sign never changes
(Dale's law by construction), an edge of weight 0 stays 0 and gets no gradient, and a step of an
optimiser is a relative change. log_scale is one number per edge, or one per edge type, which then
scales all edges of the type together and leaves their relative strengths alone.
"""

from typing import Final, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from v1builder.load.network import EdgePopulation
from v1builder.model.rollout import Projection

EdgeGrouping = Literal["edge", "edge_type"]
EDGE_GROUPINGS: Final[tuple[EdgeGrouping, ...]] = get_args(EdgeGrouping)


def delay_in_steps(delay: NDArray[np.floating], dt: float) -> NDArray[np.int32]:
    """Delays in whole steps as NEST counts them: rounded half up, at least one.

    Delays come as float32; they are first rounded to 1e-5 ms, so that a written 1.65 ms is 1.65 and
    not 1.6499999.
    """
    in_ms = np.round(delay.astype(np.float64), 5)
    return np.maximum(1, np.floor(np.round(in_ms / dt, 6) + 0.5)).astype(np.int32)


class Edges(nn.Module):
    """The edges of one population.

    Attributes:
        projection: source, target, receptor and delay of every edge.
        base: [e] pA, weights of the network the model was made from.
        log_scale: [e] or [n_types] learned, or None when the weights are frozen.
        group_of: [e] row of log_scale, or None when every edge has its own.
    """

    base: Tensor
    source_index: Tensor
    target_index: Tensor
    receptor: Tensor
    delay_steps: Tensor
    log_scale: nn.Parameter | None
    group_of: Tensor | None

    def __init__(
        self,
        edges: EdgePopulation,
        source: str | None,
        n_source: int,
        dt: float,
        *,
        trainable: bool,
        grouping: str,
        dtype: torch.dtype,
    ):
        super().__init__()
        self.source = source
        self.n_source = n_source
        arrays = {
            "source_index": edges.source_index,
            "target_index": edges.target_index,
            "receptor": edges.receptor,
            "delay_steps": delay_in_steps(edges.delay, dt),
        }
        for name, values in arrays.items():
            buffer = torch.tensor(values, dtype=torch.int32)
            self.register_buffer(name, buffer, persistent=False)
        self.register_buffer("base", torch.tensor(edges.weight, dtype=dtype), persistent=False)
        group_of, log_scale = None, None
        if trainable and grouping == "edge_type":
            types, index = np.unique(edges.edge_type_id, return_inverse=True)
            group_of = torch.tensor(index, dtype=torch.int64)
            log_scale = nn.Parameter(torch.zeros(len(types), dtype=dtype))
        elif trainable:
            log_scale = nn.Parameter(torch.zeros(len(edges), dtype=dtype))
        self.register_buffer("group_of", group_of, persistent=False)
        self.register_parameter("log_scale", log_scale)
        self.projection = self._projection()

    def _projection(self) -> Projection:
        return Projection(
            self.source,
            self.n_source,
            self.source_index,
            self.target_index,
            self.receptor,
            self.delay_steps,
        )

    def _apply(self, fn, recurse=True):
        # Moving a module replaces its buffers; backends recognise a projection by its identity.
        super()._apply(fn, recurse)
        self.projection = self._projection()
        return self

    @property
    def longest_delay(self) -> int:
        """Steps; 1 when there are no edges."""
        return int(self.delay_steps.max()) if len(self.delay_steps) else 1

    def forward(self) -> Tensor:
        """[e] pA, weight of every edge."""
        if self.log_scale is None:
            return self.base
        log_scale = self.log_scale if self.group_of is None else self.log_scale[self.group_of]
        return self.base * log_scale.exp()
