"""A small network made by hand: 4 populations, 7 cell models, 24 cells, recurrent and input edges."""

import dataclasses

import numpy as np
import pandas as pd

from v1builder.experiments.ablations import ABLATIONS, usage
from v1builder.experiments.history import SpikeHistory
from v1builder.experiments.trains import Trains
from v1builder.load.network import EdgePopulation, GroupedValues, Network, NodePopulation
from v1builder.schema.parameters import THRESHOLD_PARAMETERS

#: population -> (ei, number of cells of each of its cell models)
POPULATIONS = {
    "e23Cux2": ("e", [5, 3]),
    "e4Rorb": ("e", [4]),
    "i23Pvalb": ("i", [2, 3]),
    "i4Sst": ("i", [4, 3]),
}


def make_network(seed: int = 0) -> Network:
    rng = np.random.default_rng(seed)
    pop, ei, model = [], [], []
    n_models = 0
    for name, (sign, sizes) in POPULATIONS.items():
        for size in sizes:
            pop += [name] * size
            ei += [sign] * size
            model += [n_models] * size
            n_models += 1
    n = len(pop)
    order = rng.permutation(n)  # cells of one population need not lie together
    pop, ei, model = np.array(pop)[order], np.array(ei)[order], np.array(model)[order]
    cells = NodePopulation(
        "v1",
        np.arange(n) + 100,
        model + 7000,
        {"model_type": np.full(n, "point_neuron"), "pop_name": pop, "ei": ei, **places(n)},
        pd.DataFrame(index=pd.Index(np.arange(n_models) + 7000, name="node_type_id")),
    )
    lgn = NodePopulation(
        "lgn",
        np.arange(6),
        np.ones(6, np.int64),
        {"model_type": np.full(6, "virtual"), "pop_name": np.array(["sON"] * 4 + ["tOFF"] * 2)},
        pd.DataFrame(index=pd.Index([1], name="node_type_id")),
    )
    E_L = rng.uniform(-80, -70, n_models)
    membrane = GroupedValues(
        {
            "C_m": rng.lognormal(4.5, 0.4, n_models),
            "g": rng.lognormal(1.5, 0.4, n_models),
            "E_L": E_L,
            "V_th": E_L + rng.uniform(20, 40, n_models),
            "V_reset": E_L + rng.uniform(-5, 5, n_models),
            "t_ref": rng.uniform(1, 6, n_models),
            "asc_amps": rng.normal(0, 50, (n_models, 2)),
            "asc_decay": rng.lognormal(-3, 1, (n_models, 2)),
            "asc_r": np.ones((n_models, 2)),
            **{name: np.zeros(n_models) for name in THRESHOLD_PARAMETERS},
        },
        model.astype(np.int64),
        tuple(f"model-{m}" for m in range(n_models)),
    )
    receptors = GroupedValues(
        {
            "tau_syn_fast": rng.uniform(1, 6, (4, 3)),
            "tau_syn_slow": rng.uniform(8, 30, (4, 3)),
            "amp_slow": rng.uniform(0.1, 1, (4, 3)),
            "psc_shape": np.zeros((4, 3)),
        },
        np.unique(pop, return_inverse=True)[1].astype(np.int64),
        tuple(POPULATIONS),
    )
    v1_to_v1 = make_edges(rng, "v1", n, 160, np.where(ei == "e", 1, -1), np.where(ei == "e", 0, 1))
    lgn_to_v1 = make_edges(rng, "lgn", n, 40, np.ones(6), np.full(6, 2))
    return Network(
        {"v1": cells, "lgn": lgn},
        {"v1_to_v1": v1_to_v1, "lgn_to_v1": lgn_to_v1},
        "v1",
        membrane,
        receptors,
        np.zeros(n),
        {"seed": seed},
    )


def places(n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(99)
    return {
        "x": rng.uniform(-50, 50, n),
        "z": rng.uniform(-50, 50, n),
        "tuning_angle": rng.uniform(0, 360, n),
    }


def make_edges(rng, source, n_targets, n_edges, sign_of_source, receptor_of_source):
    pre = rng.integers(len(sign_of_source), size=n_edges).astype(np.int32)
    return EdgePopulation(
        f"{source}_to_v1",
        source,
        "v1",
        pre,
        rng.integers(n_targets, size=n_edges).astype(np.int32),
        np.ones(n_edges, np.int64),
        sign_of_source[pre] * rng.lognormal(2, 1, n_edges),
        rng.integers(1, 8, n_edges).astype(np.int32),
        rng.uniform(0.8, 3, n_edges).astype(np.float32),
        receptor_of_source[pre].astype(np.int16),
        pd.DataFrame(index=pd.Index([1], name="edge_type_id")),
    )


def with_plasticity(
    network: Network, edges: str = "v1_to_v1", group_of=None, seed: int = 0
) -> Network:
    """The network with three synapse models on its recurrent edges, some of which stay static."""
    population = network.edges[edges]
    U = np.array([0.2, 0.14, 0.4])
    values = {
        "U": U,
        "tau_rec": np.array([130.0, 60.0, 200.0]),
        "tau_fac": np.array([50.0, 490.0, 0.0]),
        "u": U.copy(),
        "x": np.ones(3),
    }
    if group_of is None:
        group_of = np.random.default_rng(seed).integers(-1, 3, len(population))
    table = GroupedValues(values, group_of.astype(np.int16), ("a", "b", "c"))
    plastic = dataclasses.replace(population, plasticity=table)
    return dataclasses.replace(network, edges=network.edges | {edges: plastic})


def with_boundary(network: Network, seed: int = 1) -> Network:
    """The network with 30 virtual cells of its populations around it, and edges from them."""
    rng = np.random.default_rng(seed)
    like = rng.integers(network.n_cells, size=30)
    cells = network.cells
    attributes = {name: values[like] for name, values in cells.attributes.items()}
    attributes["model_type"] = np.full(30, "virtual")
    boundary = NodePopulation(
        "boundary", np.arange(30), cells.node_type_id[like], attributes, cells.types
    )
    excitatory = attributes["ei"] == "e"
    sign, receptor = np.where(excitatory, 1, -1), np.where(excitatory, 0, 1)
    edges = make_edges(rng, "boundary", network.n_cells, 200, sign, receptor)
    return dataclasses.replace(
        network,
        nodes=network.nodes | {"boundary": boundary},
        edges=network.edges | {"boundary_to_v1": edges},
    )


#: An argument of every kind that an ablation takes.
ARGUMENTS = {
    "level": "population",
    "aspect": "threshold",
    "alpha": "1.5",
    "space": "log",
    "parts": "tau_m.within + threshold.between",
    "pooling": "global",
    "size": "0.3",
}


def every_ablation():
    """The text of every ablation there is."""
    for word, kind in ABLATIONS.items():
        names = [name for name in usage(kind).removeprefix(word).strip("()").split(", ") if name]
        yield f"{word}({', '.join(ARGUMENTS[name] for name in names)})" if names else word


def with_background(network: Network, seed: int = 0) -> Network:
    """The network with 5 background units, 2 of them onto every cell; weights belong to cell models."""
    rng = np.random.default_rng(seed)
    n = network.n_cells
    unit = NodePopulation(
        "bkg",
        np.arange(5),
        np.zeros(5, np.int64),
        {"model_type": np.full(5, "virtual"), "rate_Hz": np.full(5, 250.0)},
        pd.DataFrame(index=pd.Index([0], name="node_type_id")),
    )
    edges = make_edges(rng, "bkg", n, 2 * n, np.ones(5), np.full(5, 2))
    target = np.repeat(np.arange(n), 2).astype(np.int32)
    weight = rng.uniform(0.0, 20, len(network.membrane.labels))[network.membrane.group_of[target]]
    edges = dataclasses.replace(edges, target_index=target, weight=weight)
    return dataclasses.replace(
        network,
        nodes=network.nodes | {"bkg": unit},
        edges=network.edges | {"bkg_to_v1": edges},
    )


def some_activity(network: Network) -> SpikeHistory:
    """Spikes of every cell and input in two trials of 100 ms after 20 ms of warm-up."""

    def trains(n_units: int) -> Trains:
        rng = np.random.default_rng(1)
        trial, unit, step = np.nonzero(rng.random((2, n_units, 120)) < 0.03)
        return Trains(
            trial, unit, step, np.ones(len(trial)), np.full(2, 20), np.full(2, 120), n_units
        )

    cells = trains(network.n_cells)
    current = np.random.default_rng(2).normal(-5, 2, network.n_cells)
    inputs = {name: trains(len(nodes)) for name, nodes in network.nodes.items() if name != "v1"}
    return SpikeHistory(cells.count / 0.2, current, cells, inputs)


def repeated(network: Network, times: int) -> Network:
    """The cells several times over, without edges."""
    cells = network.cells
    many = dataclasses.replace(
        cells,
        node_id=np.arange(len(cells) * times),
        node_type_id=np.tile(cells.node_type_id, times),
        attributes={name: np.tile(values, times) for name, values in cells.attributes.items()},
    )
    tables = {
        name: dataclasses.replace(table, group_of=np.tile(table.group_of, times))
        for name, table in (("membrane", network.membrane), ("receptors", network.receptors))
    }
    bias = np.tile(network.bias_current, times)
    return dataclasses.replace(network, nodes={"v1": many}, edges={}, bias_current=bias, **tables)


def make_foreign(rate_Hz: float = 200.0) -> Network:
    """A network of others: populations of other names, no LGN, no positions, a Poisson background."""
    network = make_network()
    rng = np.random.default_rng(5)
    names = {"e23Cux2": "PyrA", "e4Rorb": "PyrB", "i23Pvalb": "IntA", "i4Sst": "IntB"}
    placed = ("x", "z", "tuning_angle")
    attributes = {k: v for k, v in network.cells.attributes.items() if k not in placed}
    renamed = np.array([names[name] for name in attributes["pop_name"]])
    cells = dataclasses.replace(
        network.cells,
        node_id=np.arange(network.n_cells),  # as files count
        attributes=attributes | {"pop_name": renamed},
    )
    n_units = 20
    background = NodePopulation(
        "bkg",
        np.arange(n_units),
        np.ones(n_units, np.int64),
        {"model_type": np.full(n_units, "virtual"), "rate_Hz": np.full(n_units, rate_Hz)},
        pd.DataFrame(index=pd.Index([1], name="node_type_id")),
    )
    n = network.n_cells
    # Every cell hears three units, as strongly as its own rheobase asks for.
    membrane = network.membrane
    adapting = {"asc_amps": -np.abs(membrane.values["asc_amps"])}
    membrane = dataclasses.replace(membrane, values=membrane.values | adapting)
    rheobase = membrane.values["g"] * (membrane.values["V_th"] - membrane.values["E_L"])
    target = np.repeat(np.arange(n), 3).astype(np.int32)
    edges = dataclasses.replace(
        make_edges(rng, "bkg", n, 3 * n, np.ones(n_units), np.full(n_units, 2)),
        target_index=target,
        weight=0.12 * rheobase[membrane.group_of][target],
    )
    recurrent = network.edges["v1_to_v1"]
    recurrent = dataclasses.replace(recurrent, weight=0.2 * recurrent.weight)
    return dataclasses.replace(
        network,
        nodes={"v1": cells, "bkg": background},
        edges={"v1_to_v1": recurrent, "bkg_to_v1": edges},
        membrane=membrane,
        receptors=dataclasses.replace(
            network.receptors, labels=tuple(names[n] for n in network.receptors.labels)
        ),
    )
