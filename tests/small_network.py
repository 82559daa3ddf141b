"""A hand-made SONATA network: two V1 populations, an LGN, a background, a few hundred edges."""

from pathlib import Path

import numpy as np
import pandas as pd

from v1builder.sonata.circuit import PopulationFile, write_circuit_config
from v1builder.sonata.components import write_cell_model, write_synaptic_model
from v1builder.sonata.edges import EdgeWriter
from v1builder.sonata.nodes import write_nodes
from v1builder.sonata.types import write_types

N_EXC, N_INH, N_LGN, N_BKG = 16, 8, 6, 2
N_V1 = N_EXC + N_INH
PORTS = 10

#: node_type_id, population, ei, specimen, C_m pF, g nS, E_L mV, V_th mV, t_ref ms, asc_amps pA
CELL_MODELS = (
    (100, "e23Cux2", "e", 475585413, 61.8, 4.3, -71.3, -34.8, 2.2, (-6.6, -68.6)),
    (101, "e23Cux2", "e", 313862134, 112.0, 6.9, -78.2, -45.1, 3.0, (0.0, 0.0)),
    (200, "i23Pvalb", "i", 469704261, 37.1, 4.1, -65.5, -40.2, 3.5, (-4.5, 50.3)),
)


def write_small_network(folder: Path, seed: int = 7) -> Path:
    """Write the network to `folder` and return it."""
    rng = np.random.default_rng(seed)
    nodes = [_write_v1(folder, rng), _write_virtual(folder, "lgn", 300, N_LGN, rng)]
    nodes.append(_write_virtual(folder, "bkg", 400, N_BKG, rng))
    receptors = {"e_to_e": 1, "i_to_v1": 7, "lgn_to_v1": 10, "bkg_to_v1": 10}
    for name, port in receptors.items():
        write_synaptic_model(folder, f"{name}.json", {"receptor_type": port})
    exc = np.arange(N_V1) < N_EXC
    recurrent = pd.DataFrame(
        {
            "edge_type_id": [1000, 1001],
            "source_query": ["ei=='e'", "ei=='i'"],
            "target_query": ["*", "*"],
            "model_template": ["static_synapse", "static_synapse"],
            "dynamics_params": ["e_to_e.json", "i_to_v1.json"],
            "delay": [1.6, 0.9],
        }
    )
    edges = [
        _write_edges(
            folder,
            "v1",
            N_V1,
            recurrent,
            np.where(exc, 1000, 1001),
            np.where(exc, 40.0, -60.0),
            rng,
        )
    ]
    for offset, (source, n, weight) in enumerate((("lgn", N_LGN, 300.0), ("bkg", N_BKG, 80.0))):
        types = recurrent.iloc[:1].assign(
            edge_type_id=2000 + offset, dynamics_params=f"{source}_to_v1.json", delay=1.0 + offset
        )
        edges.append(
            _write_edges(
                folder, source, n, types, np.full(n, 2000 + offset), np.full(n, weight), rng
            )
        )
    write_circuit_config(folder, nodes, edges)
    return folder


def _write_v1(folder: Path, rng: np.random.Generator) -> PopulationFile:
    rows = []
    for type_id, population, ei, specimen, C_m, g, E_L, V_th, t_ref, amps in CELL_MODELS:
        name = f"{type_id}_glif_lif_asc_config.json"
        write_cell_model(
            folder,
            name,
            {
                "C_m": C_m,
                "g": g,
                "E_L": E_L,
                "V_th": V_th,
                "V_reset": E_L,
                "V_m": E_L,
                "t_ref": t_ref,
                "asc_init": [0.0, 0.0],
                "asc_amps": list(amps),
                "asc_decay": [0.003, 0.03],
                "asc_r": [1.0, 1.0],
                "spike_dependent_threshold": False,
                "after_spike_currents": True,
                "adapting_threshold": False,
                "tau_syn_fast": np.linspace(1.0, 2.8, PORTS),
                "tau_syn_slow": np.linspace(3.0, 5.7, PORTS),
                "amp_slow": np.linspace(0.1, 0.5, PORTS),
            },
        )
        rows.append(
            {
                "node_type_id": type_id,
                "model_type": "point_neuron",
                "model_template": "nest:glif_psc_double_alpha",
                "dynamics_params": name,
                "pop_name": population,
                "ei": ei,
                "location": "VisL23",
                "model_name": specimen,
                "borrowed_from": "",
            }
        )
    write_types(folder / "network/v1_node_types.csv", pd.DataFrame(rows))
    type_id = np.concatenate([rng.choice([100, 101], N_EXC), np.full(N_INH, 200)])
    attributes = {
        **{axis: rng.uniform(-50, 50, N_V1) for axis in "xyz"},
        "tuning_angle": rng.uniform(0, 360, N_V1),
        "target_sizes": rng.integers(1, 9, N_V1).astype(float),
    }
    write_nodes(folder / "network/v1_nodes.h5", "v1", type_id, attributes)
    return _entry("v1", "node", "point_neuron")


def _write_virtual(
    folder: Path, name: str, type_id: int, n: int, rng: np.random.Generator
) -> PopulationFile:
    types = pd.DataFrame({"node_type_id": [type_id], "model_type": ["virtual"], "pop_name": [name]})
    write_types(folder / f"network/{name}_node_types.csv", types)
    attributes = {"x": rng.uniform(0, 240, n), "y": rng.uniform(0, 120, n)}
    write_nodes(folder / f"network/{name}_nodes.h5", name, np.full(n, type_id), attributes)
    return _entry(name, "node", "virtual")


def _write_edges(
    folder: Path,
    source: str,
    n_source: int,
    types: pd.DataFrame,
    type_of_source: np.ndarray,
    weight_of_source: np.ndarray,
    rng: np.random.Generator,
) -> PopulationFile:
    connected = rng.random((N_V1, n_source)) < 0.5
    connected[3] = False  # a cell without inputs
    connected[:, 1] &= source != "v1"  # and one without targets
    target_id, source_id = np.nonzero(connected)
    write_types(folder / f"network/{source}_v1_edge_types.csv", types)
    path = folder / f"network/{source}_v1_edges.h5"
    columns = {"syn_weight": np.float32, "nsyns": np.int32}
    with EdgeWriter(path, f"{source}_to_v1", source, "v1", n_source, N_V1, columns) as writer:
        for block in np.array_split(np.arange(len(source_id)), 3):
            ids = source_id[block]
            writer.write(
                ids,
                target_id[block],
                type_of_source[ids],
                syn_weight=weight_of_source[ids] * rng.uniform(0.5, 1.5, len(ids)),
                nsyns=rng.integers(1, 6, len(ids)),
            )
    return _entry(f"{source}_to_v1", "edge", "chemical", f"{source}_v1")


def _entry(population: str, kind: str, type_name: str, stem: str = "") -> PopulationFile:
    stem = stem or population
    return PopulationFile(
        population,
        Path(f"network/{stem}_{kind}s.h5"),
        Path(f"network/{stem}_{kind}_types.csv"),
        type_name,
    )
