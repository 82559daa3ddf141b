"""Edges of one population as a module: where they go is fixed, how strong they are may be learned.

The weight of an edge is base * exp(log_scale), log_scale starting at 0. So its sign never changes
(Dale's law by construction), an edge of weight 0 stays 0 and gets no gradient, and a step of an
optimiser is a relative change. log_scale is one number per edge, or one per edge type, which then
scales all edges of the type together and leaves their relative strengths alone.

Where weights may change sign, as in networks of machine learning, the weight of an edge is unit * weight:
`unit` is fixed, in pA, and the dimensionless weight is what is learned. An edge of weight 0 then has a
gradient like any other.

Edges with short-term plasticity come from *sites* (see `plasticity`): one for every source and synapse
model that occur together. U, tau_rec and tau_fac are one value per synapse model, or per site, or per edge,
which makes every edge a site of its own; they are learned if asked for. So are delays (`delays`), one value
per edge type or per edge.
"""

from collections.abc import Collection, Mapping
from typing import Final, Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from v1builder.load.integers import Integers
from v1builder.load.network import EdgePopulation, GroupedValues
from v1builder.model import plasticity
from v1builder.model.delays import LearnedDelays
from v1builder.model.parameters import POSITIVE, Bounds, GroupedParameter, of_members
from v1builder.model.rollout import Plasticity, Projection
from v1builder.schema.errors import ConfigError, NetworkError, Problem, raise_if_any, unknown_name
from v1builder.sonata.synapse_models import not_at_rest

EdgeGrouping = Literal["edge", "edge_type"]
EDGE_GROUPINGS: Final[tuple[EdgeGrouping, ...]] = get_args(EdgeGrouping)

#: How far a learned delay may move up or down, ms.
DELAY_WINDOW: Final = 1.0

#: What shares a value of short-term plasticity: edges of a synapse model; of them those of a source; or none.
PlasticityGrouping = Literal["synapse_model", "source", "edge"]
PLASTICITY_GROUPINGS: Final[tuple[PlasticityGrouping, ...]] = get_args(PlasticityGrouping)

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


def signed_units(
    given: Mapping[str, ArrayLike],
    edges: Mapping[str, EdgePopulation],
    trainable: Collection[str],
    group_by: Mapping[str, str],
) -> dict[str, NDArray[np.float64]]:
    """Units of the weights that may change sign, checked.

    Args:
        given: pA, a number or one per edge, by name of the edges.
        edges: of the network.
        trainable: names of all that is learned.
        group_by: by name of a parameter.

    Raises:
        ConfigError: edges that do not exist or whose weights are not learned one by one, or a unit that is
            not positive or of a wrong shape.
    """
    units: dict[str, NDArray[np.float64]] = {}
    problems = []
    for name, value in given.items():
        where = f"V1Network, signed of {name}"
        if name not in edges:
            problems.append(unknown_name("edges", name, edges, "V1Network, signed"))
            continue
        units[name] = unit = np.asarray(value, dtype=np.float64)
        n = len(edges[name])
        if unit.shape not in ((), (n,)) or not (np.isfinite(unit) & (unit > 0)).all():
            got = f"shape {list(unit.shape)}" if unit.ndim else str(value)
            fix = f"give one positive number of pA, or {n} of them"
            problems.append(Problem("the unit of weights is not valid", where, got, fix))
        weight = f"{name}.weight"
        if weight not in trainable or group_by.get(weight, "edge") != "edge":
            what = "weights that may change sign must be learned, every edge on its own"
            fix = f"train '{weight}' grouped by edge, or leave it out of `signed`"
            problems.append(Problem(what, where, group_by.get(weight, "frozen"), fix))
    raise_if_any(problems, ConfigError)
    return units


def _check_at_rest(table: GroupedValues, name: str) -> None:
    """Raise NetworkError where synapses start otherwise than at rest, see `sonata.synapse_models`."""
    problems = not_at_rest(table.values, table.labels, f"edges {name}")
    raise_if_any(problems, NetworkError)


class Edges(nn.Module):
    """The edges of one population.

    Attributes:
        projection: source, target, receptor and delay of every edge; of every copy where delays are learned.
        base: [e] pA, weights of the network the model was made from.
        log_scale: [e] or [n_types] learned, or None when the weights are frozen or signed.
        group_of: [e] row of log_scale, or None when every edge has its own.
        weight: [e] learned in units of `unit`, where weights may change sign; else None.
        unit: pA, a number or [e], of these.
        delays: learned delays, or None.
        U, tau_rec, tau_fac: parameters of short-term plasticity, spread over the sites; only where there are
            sites.
    """

    base: Tensor
    source_index: Tensor
    target_index: Tensor
    receptor: Tensor
    delay_steps: Tensor
    log_scale: nn.Parameter | None
    group_of: Tensor | None
    weight: nn.Parameter | None
    unit: Tensor | None
    site_source: Tensor
    delays: LearnedDelays | None
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
        grouping: Mapping[str, str],
        first_site: int,
        dtype: torch.dtype,
        unit: NDArray[np.float64] | None = None,
    ):
        """Take the edges of one population.

        Args:
            edges: the population; its indices already count along the simulated cells, its receptors
                along the ports of the model (`ports`).
            source: name of the input, or None when the simulated cells are the source.
            n_source: number of source units.
            dt: ms.
            trainable: what is learned, of "weight", "delay" and `PLASTICITY_BOUNDS`.
            grouping: of "weight" and "delay", see `EDGE_GROUPINGS`, "edge" and "edge_type" unless given; and
                of each of `PLASTICITY_BOUNDS`, see `PLASTICITY_GROUPINGS`, "synapse_model" unless given.
            first_site: number of sites of the populations before this one.
            dtype: of the values.
            unit: pA, a number or [e], where weights are learned that may change sign.
        """
        super().__init__()
        self.source = source
        self.n_source = n_source
        self.first_site = first_site
        source_index = self._make_sites(edges, trainable, grouping, dtype)
        steps = delay_in_steps(edges.delay, dt)
        self.delays = None
        if "delay" in trainable:
            each = grouping.get("delay") == "edge"
            by_type = None if each else np.unique(edges.edge_type_id, return_inverse=True)[1]
            self.delays = LearnedDelays(steps, by_type, max(1, round(DELAY_WINDOW / dt)), dtype)
        arrays = {
            "source_index": source_index.astype(np.int32, copy=False),
            "target_index": edges.target_index.astype(np.int32, copy=False),
            "receptor": edges.receptor,
            "delay_steps": steps,
        }
        for name, values in arrays.items():
            # indices are shared with the population: a large network has gigabytes of them
            self.register_buffer(name, torch.from_numpy(values), persistent=False)
        base = torch.from_numpy(edges.weight).to(dtype, copy=True)
        self.register_buffer("base", base, persistent=False)
        group_of, log_scale, weight = None, None, None
        if unit is not None:
            weight = nn.Parameter(torch.from_numpy(edges.weight / unit).to(dtype))
        elif "weight" in trainable and grouping.get("weight") == "edge_type":
            types, index = np.unique(edges.edge_type_id, return_inverse=True)
            group_of = torch.tensor(index, dtype=torch.int64)
            log_scale = nn.Parameter(torch.zeros(len(types), dtype=dtype))
        elif "weight" in trainable:
            log_scale = nn.Parameter(torch.zeros(len(edges), dtype=dtype))
        self.register_buffer("group_of", group_of, persistent=False)
        self.register_parameter("log_scale", log_scale)
        self.register_parameter("weight", weight)
        unit_pA = None if unit is None else torch.tensor(unit, dtype=dtype)
        self.register_buffer("unit", unit_pA, persistent=False)
        self.projection = self._projection()

    def _make_sites(
        self,
        edges: EdgePopulation,
        trainable: Collection[str],
        grouping: Mapping[str, str],
        dtype: torch.dtype,
    ) -> NDArray[np.int32]:
        """Make the sites; returns the source row of every edge, a unit or n_source + its site."""
        site_source = np.empty(0, np.int64)
        rows, table = edges.source_index, edges.plasticity
        if table is not None:
            _check_at_rest(table, edges.name)
            plastic = np.flatnonzero(table.group_of >= 0)
            n_models = len(table.labels)
            key = rows[plastic].astype(np.int64) * n_models + table.group_of[plastic]
            pairs, pair_of = np.unique(key, return_inverse=True)
            pair = np.arange(len(pairs))
            if any(grouping.get(name) == "edge" for name in PLASTICITY_BOUNDS):
                pair, site_of = pair_of, np.arange(len(plastic))
            else:
                site_of = pair_of
            site_source, model = pairs[pair] // n_models, pairs[pair] % n_models
            rows = rows.copy()
            rows[plastic] = self.n_source + site_of
            for name, bounds in PLASTICITY_BOUNDS.items():
                by, values = grouping.get(name, "synapse_model"), table.values[name]
                group_of, of_group = {
                    "synapse_model": (model, values),
                    "source": (pair, values[pairs % n_models]),
                    "edge": (np.arange(len(pair)), values[model]),
                }[by]
                parameter = GroupedParameter(
                    of_group, group_of, bounds, trainable=name in trainable, dtype=dtype,
                    grouping=by, labels=table.labels if by == "synapse_model" else (),
                )  # fmt: skip
                self.add_module(name, parameter)
        source = torch.tensor(site_source, dtype=torch.int32)
        self.register_buffer("site_source", source, persistent=False)
        return rows

    def site_of_edges(self) -> NDArray[np.int64]:
        """[e] site of every edge within this population, -1 where it is static."""
        site = self.source_index.cpu().numpy().astype(np.int64) - self.n_source
        return np.maximum(site, -1)

    @property
    def n_sites(self) -> int:
        """Number of sites of short-term plasticity."""
        return len(self.site_source)

    def plasticity(self, dt: float) -> Plasticity:
        """Coefficients of its sites."""
        return plasticity.coefficients(self.U(), self.tau_rec(), self.tau_fac(), dt)

    def _projection(self) -> Projection:
        source, target, receptor = self.source_index, self.target_index, self.receptor
        delay_steps = self.delay_steps
        if self.delays is not None:
            copies = self.delays.of_copies()
            source, target, receptor = (
                end.repeat(len(copies)) for end in (source, target, receptor)
            )
            delay_steps = copies.flatten()
        return Projection(
            self.source,
            self.n_source,
            source,
            target,
            receptor,
            delay_steps,
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
        steps = self.projection.delay_steps
        return int(steps.max()) if len(steps) else 1

    @property
    def is_learned(self) -> bool:
        """Whether the weights are."""
        return self.log_scale is not None or self.weight is not None

    def forward(self) -> Tensor:
        """[e] pA, weight of every edge of the projection: of each copy where delays are learned."""
        weights = self.weights()
        return weights if self.delays is None else (self.delays.shares() * weights).flatten()

    def weights(self) -> Tensor:
        """[e] pA, weight of every edge."""
        if self.weight is not None and self.unit is not None:
            return self.unit * self.weight
        if self.log_scale is None:
            return self.base
        if self.group_of is None:
            return self.base * self.log_scale.exp()
        return self.base * of_members(self.log_scale, self.group_of).exp()
