"""Edges of one population as a module: where they go is fixed, how strong they are may be learned.

The weight of an edge is base * exp(log_scale), log_scale starting at 0. So its sign never changes
(Dale's law by construction), an edge of weight 0 stays 0 and gets no gradient, and a step of an
optimiser is a relative change. log_scale is one number per edge, or one per edge type, which then
scales all edges of the type together and leaves their relative strengths alone.

Edges with short-term plasticity come from *sites* (see `plasticity`): one for every source and synapse
model that occur together. U, tau_rec and tau_fac are one value per synapse model, learned if asked for.
"""

from collections.abc import Collection
from typing import Final, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from v1builder.load.integers import Integers
from v1builder.load.network import EdgePopulation, GroupedValues
from v1builder.model import plasticity
from v1builder.model.parameters import POSITIVE, Bounds, GroupedParameter
from v1builder.model.rollout import Plasticity, Projection
from v1builder.schema.errors import NetworkError, Problem, raise_if_any

EdgeGrouping = Literal["edge", "edge_type"]
EDGE_GROUPINGS: Final[tuple[EdgeGrouping, ...]] = get_args(EdgeGrouping)

#: Learnable parameters of short-term plasticity and their ranges.
PLASTICITY_BOUNDS: Final[dict[str, Bounds]] = {
    "U": Bounds("interval", 0, 1),
    "tau_rec": POSITIVE,
    "tau_fac": POSITIVE,
}


def delay_in_steps(delay: NDArray[np.floating], dt: float) -> NDArray[np.integer]:
    """Delays in whole steps as NEST counts them: rounded half up, at least one.

    Delays come as float32; they are first rounded to 1e-5 ms, so that a written 1.65 ms is 1.65 and
    not 1.6499999.
    """

    def steps(here: slice) -> NDArray[np.int64]:
        in_ms = np.round(delay[here].astype(np.float64), 5)
        return np.maximum(1, np.floor(np.round(in_ms / dt, 6) + 0.5)).astype(np.int64)

    return Integers.filled(len(delay), steps)


def _check_at_rest(table: GroupedValues, name: str) -> None:
    """Refuse synapses that start otherwise than at rest (u = U, x = 1).

    NEST's tsodyks2_synapse keeps such a state until the first spike, however late; here it would relax.

    Raises:
        NetworkError: naming every such synapse model.
    """
    U, u, x = (table.values[key] for key in ("U", "u", "x"))
    away = ~(np.isclose(u, U, rtol=1e-6, atol=0) & np.isclose(x, 1, rtol=1e-6, atol=0))
    problems = [
        Problem(
            "a synapse with short-term plasticity does not start at rest",
            f"edges {name}, synapse model {table.labels[row]}",
            f"u {u[row]:g}, x {x[row]:g} with U {U[row]:g}",
            f"set u to {U[row]:g} and x to 1 in its file (NEST's own default of u is 0.5)",
        )
        for row in np.flatnonzero(away)
    ]
    raise_if_any(problems, NetworkError)


class Edges(nn.Module):
    """The edges of one population.

    Attributes:
        projection: source, target, receptor and delay of every edge.
        base: [e] pA, weights of the network the model was made from.
        log_scale: [e] or [n_types] learned, or None when the weights are frozen.
        group_of: [e] row of log_scale, or None when every edge has its own.
        U, tau_rec, tau_fac: parameters of short-term plasticity, one value per synapse model, spread
            over the sites; only where there are sites.
    """

    base: Tensor
    source_index: Tensor
    target_index: Tensor
    receptor: Tensor
    delay_steps: Tensor
    log_scale: nn.Parameter | None
    group_of: Tensor | None
    site_source: Tensor
    U: GroupedParameter
    tau_rec: GroupedParameter
    tau_fac: GroupedParameter

    def __init__(
        self,
        edges: EdgePopulation,
        source: str | None,
        n_source: int,
        dt: float,
        *,
        trainable: Collection[str],
        grouping: str,
        first_site: int,
        dtype: torch.dtype,
    ):
        """Take the edges of one population.

        Args:
            edges: the population; its indices already count along the simulated cells, its receptors
                along the ports of the model (`ports`).
            source: name of the input, or None when the simulated cells are the source.
            n_source: number of source units.
            dt: ms.
            trainable: what is learned, of "weight" and `PLASTICITY_BOUNDS`.
            grouping: of the weights, see `EDGE_GROUPINGS`.
            first_site: number of sites of the populations before this one.
            dtype: of the values.
        """
        super().__init__()
        self.source = source
        self.n_source = n_source
        self.first_site = first_site
        source_index = self._make_sites(edges, trainable, dtype)
        arrays = {
            "source_index": source_index.astype(np.int32, copy=False),
            "target_index": edges.target_index.astype(np.int32, copy=False),
            "receptor": edges.receptor,
            "delay_steps": delay_in_steps(edges.delay, dt),
        }
        for name, values in arrays.items():
            # indices are shared with the population: a large network has gigabytes of them
            self.register_buffer(name, torch.from_numpy(values), persistent=False)
        base = torch.from_numpy(edges.weight).to(dtype, copy=True)
        self.register_buffer("base", base, persistent=False)
        group_of, log_scale = None, None
        if "weight" in trainable and grouping == "edge_type":
            types, index = np.unique(edges.edge_type_id, return_inverse=True)
            group_of = torch.tensor(index, dtype=torch.int64)
            log_scale = nn.Parameter(torch.zeros(len(types), dtype=dtype))
        elif "weight" in trainable:
            log_scale = nn.Parameter(torch.zeros(len(edges), dtype=dtype))
        self.register_buffer("group_of", group_of, persistent=False)
        self.register_parameter("log_scale", log_scale)
        self.projection = self._projection()

    def _make_sites(
        self, edges: EdgePopulation, trainable: Collection[str], dtype: torch.dtype
    ) -> NDArray[np.int32]:
        """Make the sites; returns the source row of every edge, a unit or n_source + its site."""
        site_source, model = np.empty(0, np.int64), np.empty(0, np.int64)
        rows, table = edges.source_index, edges.plasticity
        if table is not None:
            _check_at_rest(table, edges.name)
            plastic = np.flatnonzero(table.group_of >= 0)
            n_models = len(table.labels)
            key = rows[plastic].astype(np.int64) * n_models + table.group_of[plastic]
            sites, site_of = np.unique(key, return_inverse=True)
            site_source, model = sites // n_models, sites % n_models
            rows = rows.copy()
            rows[plastic] = self.n_source + site_of
            for name, bounds in PLASTICITY_BOUNDS.items():
                parameter = GroupedParameter(
                    table.values[name], model, bounds, trainable=name in trainable, dtype=dtype,
                    grouping="synapse_model", labels=table.labels,
                )  # fmt: skip
                self.add_module(name, parameter)
        source = torch.tensor(site_source, dtype=torch.int32)
        self.register_buffer("site_source", source, persistent=False)
        return rows

    @property
    def n_sites(self) -> int:
        """Number of sites of short-term plasticity."""
        return len(self.site_source)

    def plasticity(self, dt: float) -> Plasticity:
        """Coefficients of its sites."""
        return plasticity.coefficients(self.U(), self.tau_rec(), self.tau_fac(), dt)

    def _projection(self) -> Projection:
        return Projection(
            self.source,
            self.n_source,
            self.source_index,
            self.target_index,
            self.receptor,
            self.delay_steps,
            self.site_source,
            self.first_site,
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
