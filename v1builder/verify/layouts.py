"""Layouts of published point-neuron networks, run by BMTK's PointNet and by `simulate`.

Small networks with the layout, templates, weights and delays of the examples that come with BMTK and
with SONATA; cell parameters are those of the SONATA developer guide (integrate-and-fire), of BMTK's
example file 478958894_glif_lif_asc_psc.json (GLIF), and about NEST's defaults (aeif).
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from v1builder.schema.files import write_json
from v1builder.simulate import simulate
from v1builder.sonata.edges import EdgeWriter
from v1builder.sonata.nodes import write_nodes
from v1builder.sonata.spikes import read_spikes
from v1builder.sonata.types import write_types
from v1builder.verify.agreement import Measured, case
from v1builder.verify.nest_process import run_script

POINTNET = Path(__file__).parent / "processes" / "pointnet_simulation.py"
DURATION = 1000.0  # ms
N_INPUT = 60

IAF = {"tau_m": 44.9, "C_m": 239.0, "t_ref": 3.0, "E_L": -78.0, "V_th": -43.0, "V_reset": -55.0}
GLIF = {
    "V_m": -70.45950889587401,
    "V_th": -44.23152364988978,
    "g": 9.195230009748064,
    "E_L": -70.45950889587401,
    "C_m": 81.21058405283176,
    "t_ref": 1.5,
    "V_reset": -70.45950889587401,
    "asc_init": [0.0, 0.0],
    "asc_decay": [0.003, 0.3],
    "asc_amps": [-4.08182729, -291.97668209],
    "tau_syn": [5.5, 8.5, 2.8, 5.8],
    "spike_dependent_threshold": False,
    "after_spike_currents": True,
    "adapting_threshold": False,
}
#: NEST's defaults where nothing is said (Brette & Gerstner 2005).
AEIF = {
    "E_L": -70.6,
    "V_m": -68.0,
    "t_ref": 2.0,
    "a": 3.0,
    "b": 40.0,
    "tau_syn_ex": 1.5,
    "tau_syn_in": 3.0,
}

#: One layout: populations {name: [(template, ei, number of cells), ...]}, the weights (input,
#: excitatory, inhibitory), and what is peculiar to its files.
LAYOUTS: dict[str, dict[str, Any]] = {
    "point_120cells": {
        "cells": {"cortex": [("iaf_psc_delta", "e", 40), ("iaf_psc_delta", "i", 20)]},
        "weights": (4.2, 2.0, -1.5),
    },
    "iaf_psc_exp": {
        "cells": {"cortex": [("iaf_psc_exp", "e", 40), ("iaf_psc_exp", "i", 20)]},
        "weights": (400.0, 150.0, -150.0),
    },
    "point_450glifs": {
        "cells": {"v1": [("glif_psc", "e", 30), ("glif_psc", "i", 15), ("iaf_psc_alpha", "e", 15)]},
        "weights": (60.0, 15.0, -20.0),
    },
    "300_pointneurons": {
        "cells": {"internal": [("iaf_psc_alpha", "e", 40), ("iaf_psc_alpha", "i", 20)]},
        "weights": (150.0, 40.0, -60.0),
        "groups": True,
    },
    "aeif_psc_alpha": {
        "cells": {"cortex": [("aeif_psc_alpha", "e", 40), ("aeif_psc_alpha", "i", 20)]},
        "weights": (400.0, 100.0, -150.0),
    },
    "two populations": {
        "cells": {
            "one": [("iaf_psc_alpha", "e", 30)],
            "two": [("glif_psc", "e", 10), ("iaf_psc_alpha", "i", 20)],
        },
        "weights": (150.0, 40.0, -60.0),
    },
}


def write_layout(folder: Path, layout: str, dt: float) -> Path:
    """Write network, inputs and simulation configuration of a layout; the configuration."""
    rng = np.random.default_rng(5)
    settings = LAYOUTS[layout]
    models = {"glif_psc": GLIF, "aeif_psc_alpha": AEIF} | dict.fromkeys(
        ("iaf_psc_alpha", "iaf_psc_exp", "iaf_psc_delta"), IAF
    )
    for name, parameters in models.items():
        write_json(folder / f"components/cell_models/{name}.json", parameters)
    for name, parameters in {"port": {"receptor_type": 2}, "by_sign": {}}.items():
        write_json(folder / f"components/synaptic_models/{name}.json", parameters)
    nodes = [_write_nodes(folder, name, rows) for name, rows in settings["cells"].items()]
    nodes.append(_write_nodes(folder, "input", [("", "e", N_INPUT)]))
    sources = {**settings["cells"], "input": [("", "e", N_INPUT)]}
    edges = [
        _write_edges(folder, (source, target), sources, settings, rng)
        for source in sources
        for target in settings["cells"]
    ]
    count = rng.poisson(40.0 * N_INPUT * DURATION / 1000)
    with h5py.File(folder / "input_spikes.h5", "w") as file:  # the layout without populations
        file["spikes/timestamps"] = np.sort(rng.uniform(0.2, DURATION, count).round(3))
        file["spikes/gids"] = rng.integers(0, N_INPUT, count).astype(np.uint64)
    circuit = {
        "components": {
            "point_neuron_models_dir": str(folder / "components/cell_models"),
            "synaptic_models_dir": str(folder / "components/synaptic_models"),
        },
        "networks": {"nodes": nodes, "edges": edges},
    }
    write_json(folder / "circuit_config.json", circuit)
    path = folder / "simulation_config.json"
    inputs = {
        "input_type": "spikes",
        "module": "h5",
        "input_file": str(folder / "input_spikes.h5"),
        "node_set": "input",
    }
    configuration = {
        "run": {"tstop": DURATION, "dt": dt},
        "target_simulator": "NEST",
        "network": str(folder / "circuit_config.json"),
        "inputs": {"input_spikes": inputs},
        "output": {"output_dir": str(folder / "output"), "spikes_file": "spikes.h5"},
    }
    path.write_text(json.dumps(configuration))
    return path


def _write_nodes(folder: Path, name: str, rows: list[tuple[str, str, int]]) -> dict[str, Any]:
    types = pd.DataFrame(
        {
            "model_type": ["point_neuron" if template else "virtual" for template, _, _ in rows],
            "model_template": [f"nest:{template}" if template else "" for template, _, _ in rows],
            "dynamics_params": [f"{template}.json" if template else "" for template, _, _ in rows],
            "ei": [ei for _, ei, _ in rows],
        },
        index=pd.Index(np.arange(100, 100 + len(rows)), name="node_type_id"),
    )
    if not rows[0][0]:  # PointNet wants virtual nodes without these columns
        types = types.drop(columns=["model_template", "dynamics_params"])
    type_id = np.repeat(types.index.to_numpy(), [n for _, _, n in rows])
    files = folder / f"network/{name}_nodes.h5", folder / f"network/{name}_node_types.csv"
    write_nodes(files[0], name, type_id, {})
    write_types(files[1], types)
    return {"nodes_file": str(files[0]), "node_types_file": str(files[1])}


def _write_edges(
    folder: Path,
    ends: tuple[str, str],
    populations: dict[str, list[tuple[str, str, int]]],
    settings: dict[str, Any],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Edges whose weights and delays are those of their types, without nsyns."""
    name = "_to_".join(ends)
    source, target = (
        [(template, ei) for template, ei, n in populations[end] for _ in range(n)] for end in ends
    )
    of_input, excitatory, inhibitory = settings["weights"]
    kinds = [(ei, ported) for ei in "ei" for ported in (False, True)]
    sign = [excitatory if ends[0] != "input" else of_input, inhibitory]
    types = pd.DataFrame(
        {
            "syn_weight": [sign["ei".index(ei)] for ei, _ in kinds],
            "delay": [2.0] * len(kinds),
            "dynamics_params": ["port.json" if ported else "by_sign.json" for _, ported in kinds],
            "model_template": ["static_synapse"] * len(kinds),
        },
        index=pd.Index(np.arange(100, 104), name="edge_type_id"),
    )
    pairs = np.argwhere(rng.random((len(target), len(source))) < 0.15)
    type_id = np.array(
        [
            100 + kinds.index((source[s][1], target[t][0].startswith("glif")))
            for t, s in pairs.tolist()
        ]
    )
    grouped = settings.get("groups", False)
    path = folder / f"network/{name}_edges.h5"
    with EdgeWriter(
        path, name, *ends, len(source), len(target), {}, compression="gzip" if grouped else None
    ) as writer:
        writer.write(pairs[:, 1], pairs[:, 0], type_id)
    if grouped:
        _into_groups(path, name, types, type_id)
        types = types.drop(columns="syn_weight")
    write_types(folder / f"network/{name}_edge_types.csv", types)
    return {
        "edges_file": str(path),
        "edge_types_file": str(folder / f"network/{name}_edge_types.csv"),
    }


def _into_groups(path: Path, name: str, types: pd.DataFrame, type_id: np.ndarray) -> None:
    """Two edge groups with weights of their own; the second has a number of synapses as well."""
    group = (np.arange(len(type_id)) % 3 == 0).astype(np.uint8)
    index = np.zeros(len(type_id), dtype=np.uint64)
    weight = types.loc[type_id, "syn_weight"].to_numpy()
    with h5py.File(path, "r+") as file:
        edges = file[f"edges/{name}"]
        assert isinstance(edges, h5py.Group)
        for key in (0, 1):
            members = np.flatnonzero(group == key)
            index[members] = np.arange(len(members))
            own = edges.require_group(str(key))
            own.create_dataset("syn_weight", data=weight[members], compression="gzip")
            own.create_dataset("nsyns", data=np.full(len(members), 1 + key), compression="gzip")
        edges["edge_group_id"][...] = group  # type: ignore[index]
        edges["edge_group_index"][...] = index  # type: ignore[index]


def layout_spikes(folder: Path, *, layout: str, dt: float) -> Measured:
    """Spikes of both simulators from one configuration, as (population, node, step)."""
    path = write_layout(folder, layout, dt)
    run_script(POINTNET, [str(path)], cwd=folder)
    (folder / "output").rename(folder / "pointnet")
    simulate(path, backend="reference")
    sets = []
    for name in ("pointnet", "output"):
        spikes = read_spikes(folder / name / "spikes.h5")
        sets.append(
            {
                (population, node, step)
                for population, train in spikes.items()
                for node, step in zip(
                    train.node_ids.tolist(),
                    np.rint(train.timestamps / dt).astype(int).tolist(),
                    strict=True,
                )
            }
        )
    theirs, ours = sets
    same = len(theirs & ours) / max(1, len(theirs | ours))
    text = f"{len(theirs & ours)} of {len(theirs | ours)} spikes at the same step"
    enough = len(theirs) >= 200
    return Measured(
        text if enough else f"{text}: too few", same if enough else 0.0, 1.0, at_least=True
    )


for _layout in LAYOUTS:
    for _dt in (1.0, 0.1):
        case(
            f"layout {_layout}, dt {_dt:g}",
            reference="BMTK PointNet on NEST",
            compared=f"spikes of all cells, 1 s, dt {_dt:g} ms, from one simulation configuration",
            needs=("bmtk", "nest"),
            slow=_dt < 1 or "aeif" in _layout,
        )(partial(layout_spikes, layout=_layout, dt=_dt))
