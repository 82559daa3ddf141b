"""Small networks made from the published cell models, as arrays."""

from dataclasses import replace

import numpy as np
import pandas as pd

from v1builder.load.network import EdgePopulation, GroupedValues, Network, NodePopulation
from v1builder.schema.names import SYNAPSE_CLASSES
from v1builder.schema.parameters import THRESHOLD_PARAMETERS

POPULATIONS = ("e23Cux2", "i23Pvalb", "e4Rorb", "i4Sst")


def nodes(name, n, **attributes):
    types = np.zeros(n, dtype=np.int64)
    return NodePopulation(name, np.arange(n), types, attributes, pd.DataFrame())


def edges(name, source, target, arrays):
    n = len(arrays["weight"])
    return EdgePopulation(
        name=name,
        source=source,
        target=target,
        source_index=arrays["source"].astype(np.int32),
        target_index=arrays["target"].astype(np.int32),
        edge_type_id=arrays.get("type", np.zeros(n)).astype(np.int64),
        weight=arrays["weight"].astype(np.float64),
        nsyns=np.ones(n, dtype=np.int32),
        delay=arrays["delay"].astype(np.float32),
        receptor=arrays["receptor"].astype(np.int16),
        types=pd.DataFrame(),
    )


def membrane(models, group_of):
    columns = {
        "C_m": "C_m_pF",
        "g": "g_nS",
        "E_L": "E_L_mV",
        "V_th": "V_th_mV",
        "V_reset": "V_reset_mV",
        "t_ref": "t_ref_ms",
    }
    values = {name: models[column].to_numpy(copy=True) for name, column in columns.items()}
    values["asc_amps"] = models[["asc_amp_0_pA", "asc_amp_1_pA"]].to_numpy(copy=True)
    values["asc_decay"] = 1 / models[["asc_tau_0_ms", "asc_tau_1_ms"]].to_numpy(copy=True)
    values["asc_r"] = models[["asc_r_0", "asc_r_1"]].to_numpy(copy=True)
    values |= {name: np.zeros(len(models)) for name in THRESHOLD_PARAMETERS}
    labels = tuple(models["specimen_id"].astype(str))
    return GroupedValues(values, np.asarray(group_of, dtype=np.int64), labels)


def receptors(kinetics, post_class, n_cells):
    rows = kinetics[kinetics["post_synapse_class"] == post_class]
    rows = rows.set_index("pre_synapse_class").loc[list(SYNAPSE_CLASSES)]
    columns = {
        "tau_syn_fast": "tau_fast_ms",
        "tau_syn_slow": "tau_slow_ms",
        "amp_slow": "amp_slow_rel",
    }
    values = {name: rows[[column]].to_numpy(copy=True).T for name, column in columns.items()}
    values["psc_shape"] = np.zeros_like(values["amp_slow"])
    return GroupedValues(values, np.zeros(n_cells, dtype=np.int64), (post_class,))


def random_network(glif_models, kinetics, *, n=20, n_input=10, in_degree=10, seed=0, drive=1.0):
    """A recurrent network of `n` random published cells with `n_input` LGN-like sources.

    Weights are in units of each target's rheobase g (V_th - E_L), so that every cell is reached.
    """
    rng = np.random.default_rng(seed)
    models = glif_models.iloc[rng.choice(len(glif_models), size=min(n, 12), replace=False)]
    group_of = rng.integers(0, len(models), n)
    cells = membrane(models, group_of)
    rheobase = cells.per_cell("g") * (cells.per_cell("V_th") - cells.per_cell("E_L"))
    population = rng.choice(POPULATIONS, n)
    sign = np.where(np.char.startswith(population, "e"), 1.0, -1.0)

    def drawn(n_source, scale, source_sign):
        target = np.repeat(np.arange(n), in_degree)
        source = rng.integers(0, n_source, n * in_degree)
        return {
            "source": source,
            "target": target,
            "weight": scale
            * rng.lognormal(-0.5, 0.7, len(target))
            * rheobase[target]
            * source_sign[source],
            "delay": rng.choice([1.0, 1.5, 1.65, 2.0, 2.9], len(target)),
            "receptor": rng.integers(0, len(SYNAPSE_CLASSES), len(target)),
            "type": rng.integers(100, 103, len(target)),
        }

    return Network(
        nodes={
            "v1": nodes(
                "v1",
                n,
                model_type=np.full(n, "point_neuron"),
                pop_name=population,
                ei=np.where(sign > 0, "e", "i"),
            ),
            "lgn": nodes("lgn", n_input, model_type=np.full(n_input, "virtual")),
        },
        edges={
            "v1_to_v1": edges("v1_to_v1", "v1", "v1", drawn(n, 0.1, sign)),
            "lgn_to_v1": edges("lgn_to_v1", "lgn", "v1", drawn(n_input, drive, np.ones(n_input))),
        },
        simulated="v1",
        membrane=cells,
        receptors=receptors(kinetics, "e23", n),
        bias_current=np.zeros(n),
    )


def with_plasticity(network, seed=3):
    """Its recurrent edges are depressing, facilitating or static."""
    edges = network.edges["v1_to_v1"]
    table = GroupedValues(
        {
            "U": np.array([0.5, 0.1]),
            "tau_rec": np.array([100.0, 20.0]),
            "tau_fac": np.array([0.0, 200.0]),
            "u": np.array([0.5, 0.1]),
            "x": np.ones(2),
        },
        np.random.default_rng(seed).integers(-1, 2, len(edges)).astype(np.int16),
        ("depressing", "facilitating"),
    )
    return replace(network, edges={**network.edges, "v1_to_v1": replace(edges, plasticity=table)})
