"""The network of a layer as arrays: its cells, its input units, and the edges between them.

Edges are in the order of SONATA, by target and then by source, so that the weights of a dense population
are a matrix [target, source] as in torch.nn.
"""

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from v1builder.layers.cells import DrawnCells
from v1builder.layers.checks import is_number
from v1builder.load.integers import Integers
from v1builder.load.network import EdgePopulation, GroupedValues, Network, NodePopulation
from v1builder.schema.errors import ConfigError
from v1builder.schema.names import GLIF_TEMPLATE, PSC_ALPHA
from v1builder.sonata.join import SYNAPSE_PARAMETER
from v1builder.sonata.synapse_models import STATIC, TSODYKS

CELLS: Final = "hidden"
UNITS: Final = "input"
RECURRENT: Final = f"{CELLS}_to_{CELLS}"
FEED: Final = f"{UNITS}_to_{CELLS}"

#: Of the slow part of the synaptic current, which is not wanted here, but of which NEST refuses 0.
_AMP_SLOW: Final = 1e-9

#: One number, one per target or (target, source), or (lowest, highest) for a uniform draw; ms.
Delay = float | tuple[float, float] | NDArray[np.floating]


def pairs(
    n_target: int, n_source: int, density: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Targets and sources of edges: of every target the same number of sources, without repetition.

    Args:
        n_target: number of targets.
        n_source: number of sources.
        density: part of all sources, in (0, 1]; at least one source.
        rng: for the choice.
    """
    if not 0 < density <= 1:
        raise ConfigError.of(
            "the density of connections must be in (0, 1]",
            "layer, recurrent",
            density,
            "give a part of all pairs, 'dense', or None for no recurrence",
        )
    degree = max(1, round(density * n_source))
    target = np.repeat(np.arange(n_target), degree)
    if degree == n_source:
        return target, np.tile(np.arange(n_source), n_target)
    source = [np.sort(rng.choice(n_source, degree, replace=False)) for _ in range(n_target)]
    return target, np.concatenate(source)


def delays(
    name: str,
    delay: Delay,
    ends: tuple[NDArray[np.int64], NDArray[np.int64]],
    shape: tuple[int, int],
    dt: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """[e] ms.

    Raises:
        ConfigError: a delay is shorter than a step, or does not fit the edges.
    """
    target, source = ends
    where = f"layer, {name}"
    if not is_number(delay):
        fix = "give ms: a number, a pair (shortest, longest), or an array [target, source]"
        raise ConfigError.of("a delay is not a number", where, delay, fix)
    if isinstance(delay, tuple):
        if len(delay) != 2 or not delay[0] <= delay[1]:
            raise ConfigError.of("a pair of delays must be (shortest, longest)", where, delay)
        values = rng.uniform(*delay, len(target))
    else:
        given = np.asarray(delay, dtype=np.float64)
        given = given[:, None] if given.shape == shape[:1] else given
        if given.shape not in ((), (shape[0], 1), shape):
            raise ConfigError.of(
                "the delays do not fit the connections",
                where,
                f"shape {list(given.shape)}",
                f"give a number, a pair (shortest, longest), or an array [{shape[0]}, {shape[1]}]",
            )
        values = np.broadcast_to(given, shape)[target, source]
    if len(values) and not (values >= dt - 1e-9).all():
        raise ConfigError.of(
            "a delay must be at least one step",
            where,
            f"{np.min(values):g} ms, dt {dt:g} ms",
            f"give delays from {dt:g} ms up, or a smaller dt",
        )
    return values.astype(np.float32)


def edge_population(
    name: str,
    ends: tuple[NDArray[np.int64], NDArray[np.int64]],
    weight: NDArray[np.float64],
    delay: NDArray[np.float32],
    plasticity: GroupedValues | None = None,
) -> EdgePopulation:
    """Edges onto the cells, all to their one port; `weight` in pA. One type for each synapse model."""
    n = len(weight)
    target, source = ends
    models = ("static",) if plasticity is None else plasticity.labels
    types = pd.DataFrame(
        {
            "model_template": STATIC if plasticity is None else TSODYKS,
            "dynamics_params": [f"{model}.json" for model in models],
            f"{SYNAPSE_PARAMETER}receptor_type": 1,
        },
        index=pd.Index(np.arange(len(models)), name="edge_type_id"),
    )
    if plasticity is not None:
        types = types.assign(
            **{f"{SYNAPSE_PARAMETER}{key}": column for key, column in plasticity.values.items()}
        )
    type_of = np.zeros(n, np.int64) if plasticity is None else plasticity.group_of

    def all_of(value: int) -> NDArray[np.signedinteger]:
        return Integers.filled(n, lambda here: np.full(len(weight[here]), value))

    return EdgePopulation(
        name=name,
        source=name.removesuffix(f"_to_{CELLS}"),
        target=CELLS,
        source_index=source.astype(np.int32),
        target_index=target.astype(np.int32),
        edge_type_id=Integers.filled(n, lambda here: type_of[here]),
        weight=weight,
        nsyns=all_of(1),
        delay=delay,
        receptor=all_of(0),
        types=types,
        plasticity=plasticity,
    )


def network_of(
    cells: DrawnCells, tau_syn: ArrayLike, n_units: int, edges: list[EdgePopulation]
) -> Network:
    """The network of a layer.

    Args:
        cells: of the layer.
        tau_syn: ms, of the alpha current of a spike; a number or one per cell.
        n_units: number of virtual input units; none where the input is a current.
        edges: onto the cells.

    Raises:
        ConfigError: tau_syn is not positive, or of a wrong shape.
    """
    n = len(cells.population)
    tau = np.asarray(tau_syn, dtype=np.float64)
    if tau.shape not in ((), (n,)) or not (np.isfinite(tau) & (tau > 0)).all():
        raise ConfigError.of(
            "tau_syn must be positive",
            "layer, tau_syn",
            f"shape {list(tau.shape)}" if tau.ndim else f"{tau:g} ms",
            f"give a number of ms, or {n} of them",
        )
    kinetics, port_of = np.unique(np.broadcast_to(tau, n), return_inverse=True)
    fast = kinetics[:, None]
    ports = {
        "tau_syn_fast": fast,
        "tau_syn_slow": fast.copy(),
        "amp_slow": np.full_like(fast, _AMP_SLOW),
        "psc_shape": np.full_like(fast, PSC_ALPHA),
    }
    labels = tuple(f"tau_syn {value:g} ms" for value in kinetics)
    nodes = {CELLS: _nodes(cells)}
    if n_units:
        types = pd.DataFrame(
            {"model_type": ["virtual"], "pop_name": [UNITS]},
            index=pd.Index([0], name="node_type_id"),
        )
        nodes[UNITS] = _population(UNITS, np.zeros(n_units, np.int64), types)
    return Network(
        nodes=nodes,
        edges={population.name: population for population in edges},
        simulated=CELLS,
        membrane=cells.membrane,
        receptors=GroupedValues(ports, port_of.reshape(-1), labels),
        bias_current=np.zeros(n),
    )


def _nodes(cells: DrawnCells) -> NodePopulation:
    """The cells as nodes: one type for each cell model of a population."""
    table = pd.DataFrame(
        {
            "model": cells.membrane.group_of,
            "pop_name": cells.population.astype(str),
            "ei": cells.ei.astype(str),
        }
    )
    kinds = table.drop_duplicates().sort_values(["model", "pop_name", "ei"])
    type_id = table.merge(kinds.reset_index(drop=True).reset_index(), how="left")["index"]
    types = pd.DataFrame(
        {
            "model_type": "point_neuron",
            "model_template": GLIF_TEMPLATE,
            "dynamics_params": [f"{row}.json" for row in range(len(kinds))],
            "model_name": [cells.membrane.labels[row] for row in kinds["model"]],
            "pop_name": kinds["pop_name"].to_numpy(),
        },
        index=pd.Index(np.arange(len(kinds)), name="node_type_id"),
    )
    if np.all(kinds["ei"].to_numpy() != ""):
        types["ei"] = kinds["ei"].to_numpy()
    return _population(CELLS, type_id.to_numpy(dtype=np.int64), types)


def _population(name: str, type_id: NDArray[np.int64], types: pd.DataFrame) -> NodePopulation:
    attributes: dict[str, NDArray[Any]] = {
        str(column): types[column].to_numpy(dtype=object)[type_id] for column in types
    }
    return NodePopulation(name, np.arange(len(type_id)), type_id, attributes, types)
