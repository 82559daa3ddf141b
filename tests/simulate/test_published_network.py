"""A network as AllenInstitute/biorealistic-v1-model writes it opens and runs as its own script runs it.

Built by BMTK with the calls of its build_network.py: the same columns, `n_syns_` and one row per LGN synapse,
weight functions by name, gzip, no `asc_r`; component files as its convert_models.py leaves them; one file of
networks and run in configs/, as its config_templates.
"""

import json

import numpy as np
import pytest
from bmtk.builder import NetworkBuilder
from test_simulate import run_pointnet, spike_set

from v1builder.load import load_network
from v1builder.simulate import simulate
from v1builder.sonata import validate
from v1builder.sonata.spikes import write_spikes

pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")  # BMTK's own use of pandas

#: Type of node, population, number, C_m, g, E_L, V_th, t_ref, asc_decay, asc_amps.
CELLS = (
    (354833767, "e4other", 12, 88.57, 9.15, -82.3, -42.7, 3.25, (0.003, 0.1), (-10.0, -169.1)),
    (313861608, "i4Pvalb", 6, 54.26, 8.12, -75.4, -48.5, 1.55, (0.1, 0.3), (-110.6, 243.9)),
)
#: Synaptic model files, in the order of their receptor ports.
SYNAPSES = ("e4_to_e4", "e4_to_pv", "pv_to_e4", "lgn_to_e4", "lgn_to_pv", "bkg_to_e4", "bkg_to_pv")
SECONDS = 0.2


def save(network, folder):
    network.build()
    network.save(str(folder / "network"), compression="gzip")


def build_v1(folder, rng):
    v1 = NetworkBuilder("v1")
    for type_id, name, n, *_ in CELLS:
        x, y, z = rng.uniform(-50, 50, (3, n))
        v1.add_nodes(
            N=n, node_type_id=type_id, model_type="point_neuron",
            model_template="nest:glif_psc_double_alpha",
            dynamics_params=f"{type_id}_glif_lif_asc_config.json",
            ei=name[0], location="VisL4", pop_name=name, population="v1", x=x, y=y, z=z,
            tuning_angle=np.linspace(0, 360, n, endpoint=False),
            target_sizes=rng.integers(200, 900, n).astype(float),
            nsyn_size_shape=0.5, nsyn_size_scale=400.0, nsyn_size_mean=450,
        )  # fmt: skip

    def weight_of(source, target, sign):
        return sign * 30 * rng.uniform(0.5, 1.5), 1

    for source, type_id, file, sign in (
        ("e4other", 354833767, "e4_to_e4.json", 1),
        ("e4other", 313861608, "e4_to_pv.json", 1),
        ("i4Pvalb", 354833767, "pv_to_e4.json", -1),
    ):
        edges = v1.add_edges(
            source={"pop_name": source}, target={"node_type_id": type_id}, iterator="all_to_one",
            connection_rule=lambda sources, _: [1 if rng.random() < 0.5 else None for _ in sources],
            dynamics_params=file, delay=1.4, weight_function="weight_function_recurrent",
            PSP_correction=0.3 * sign, PSP_lognorm_shape=0.8, PSP_lognorm_scale=0.2,
            model_template="static_synapse",
        )  # fmt: skip
        edges.add_properties(
            ["syn_weight", "n_syns_"],
            rule=weight_of,
            rule_params={"sign": sign},
            dtypes=[float, np.int64],
        )
    save(v1, folder)
    return v1


def build_lgn(folder, v1, rng):
    lgn = NetworkBuilder("lgn")
    for name in ("sON_TF4", "sONsOFF_001"):
        of_two = rng.random(6) if name == "sONsOFF_001" else np.full(6, np.nan)
        lgn.add_nodes(
            N=6, pop_name=name, model_type="virtual", ei="e", location="LGN",
            x=rng.uniform(0, 240, 6), y=rng.uniform(0, 120, 6), spatial_size=rng.uniform(1, 4, 6),
            kpeaks_non_dom_0=of_two, tuning_angle=of_two, sf_sep=of_two,
        )  # fmt: skip
    for type_id, file, sigma in (
        (354833767, "lgn_to_e4.json", [0.0, 150.0]),
        (313861608, "lgn_to_pv.json", [0.0, 1e20]),
    ):
        edges = lgn.add_edges(
            source=lgn.nodes(), target=v1.nodes(node_type_id=type_id), iterator="all_to_one",
            connection_rule=lambda sources, _: [int(n) or None for n in rng.integers(0, 4, len(sources))],
            dynamics_params=file, delay=1.7, weight_function="weight_function_lgn",
            weight_sigma=sigma, model_template="static_synapse",
        )  # fmt: skip
        edges.add_properties(
            "syn_weight", rule=lambda _, target: 6e4 / target["target_sizes"], dtypes=float
        )
    save(lgn, folder)


def build_bkg(folder, v1, rng):
    bkg = NetworkBuilder("bkg")
    bkg.add_nodes(
        N=5, pop_name="SG_001", ei="e", location="BKG", model_type="virtual",
        x=np.zeros(5), y=np.zeros(5),
    )  # fmt: skip

    def four(sources, _, n_syns, n_conn):
        chosen = rng.choice(len(sources), n_conn, replace=False)
        return [n_syns if source in chosen else None for source in range(len(sources))]

    for type_id, file in ((354833767, "bkg_to_e4.json"), (313861608, "bkg_to_pv.json")):
        bkg.add_edges(
            source=bkg.nodes(), target=v1.nodes(node_type_id=type_id), iterator="all_to_one",
            connection_rule=four, connection_params={"n_syns": 30, "n_conn": 4},
            dynamics_params=file, syn_weight=40.0, delay=1.0, model_template="static_synapse",
            weight_function="weight_function_bkg",
        )  # fmt: skip
    save(bkg, folder)


def write_components(folder):
    cells, synapses = (folder / "components" / name for name in ("cell_models", "synaptic_models"))
    for path in (cells, synapses):
        path.mkdir(parents=True)
    for port, name in enumerate(SYNAPSES, 1):
        (synapses / f"{name}.json").write_text(json.dumps({"receptor_type": port}))
    n = len(SYNAPSES)
    for type_id, _, _, C_m, g, E_L, V_th, t_ref, decay, amps in CELLS:
        model = {
            "V_m": E_L, "V_th": V_th, "g": g, "E_L": E_L, "C_m": C_m, "t_ref": t_ref,
            "V_reset": E_L, "asc_init": [0.0, 0.0], "asc_decay": decay, "asc_amps": amps,
            "spike_dependent_threshold": False, "after_spike_currents": True,
            "adapting_threshold": False, "tau_syn_fast": np.linspace(0.8, 2.4, n).tolist(),
            "tau_syn_slow": np.linspace(2.0, 5.8, n).tolist(),
            "amp_slow": np.linspace(0.2, 0.9, n).tolist(),
        }  # fmt: skip
        path = cells / f"{type_id}_glif_lif_asc_config.json"
        path.write_text(json.dumps(model, indent=2))


def write_run(folder, rng):
    inputs = {}
    for name, units, rate in (("lgn", 12, 40.0), ("bkg", 5, 250.0)):
        n = rng.poisson(rate * units * SECONDS)
        times = rng.uniform(1, 1000 * SECONDS, n).round(2)
        file = "filternet/spikes.h5" if name == "lgn" else "bkg/bkg_spikes_250Hz_3s.h5"
        write_spikes(folder / file, {name: (times, rng.integers(0, units, n))})
        inputs[f"{name.upper()}_spikes"] = {
            "input_type": "spikes", "module": "h5", "node_set": name,
            "input_file": f"${name.upper()}INPUT_DIR/{file.split('/')[1]}",
        }  # fmt: skip
    nodes, edges = ("v1", "lgn", "bkg"), ("v1_v1", "lgn_v1", "bkg_v1")
    config = {
        "manifest": {
            "$BASE_DIR": "${configdir}/..", "$NETWORK_DIR": "$BASE_DIR/network",
            "$MODELS_DIR": "$BASE_DIR/components", "$OUTPUT_DIR": "$BASE_DIR/output",
            "$LGNINPUT_DIR": "$BASE_DIR/filternet", "$BKGINPUT_DIR": "$BASE_DIR/bkg",
        },
        "run": {"duration": 1000 * SECONDS, "dt": 0.25, "block_run": False, "block_size": 1000.0},
        "inputs": inputs,
        "output": {
            "log_file": "log.txt", "spikes_file": "spikes.h5", "spikes_file_csv": "spikes.csv",
            "output_dir": "$OUTPUT_DIR", "overwrite_output_dir": True, "quiet_simulator": True,
        },
        "target_simulator": "NEST",
        "components": {
            "point_neuron_models_dir": "$MODELS_DIR/cell_models",
            "synaptic_models_dir": "$MODELS_DIR/synaptic_models",
        },
        "networks": {
            "nodes": [
                {"nodes_file": f"$NETWORK_DIR/{name}_nodes.h5",
                 "node_types_file": f"$NETWORK_DIR/{name}_node_types.csv"}
                for name in nodes
            ],
            "edges": [
                {"edges_file": f"$NETWORK_DIR/{name}_edges.h5",
                 "edge_types_file": f"$NETWORK_DIR/{name}_edge_types.csv"}
                for name in edges
            ],
        },
    }  # fmt: skip
    (folder / "configs").mkdir()
    (folder / "configs/config_plain.json").write_text(json.dumps(config, indent=2))
    (folder / "configs/config.json").symlink_to("config_plain.json")
    return folder / "configs/config.json"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The configuration of a network as that repository builds it."""
    folder = tmp_path_factory.mktemp("small")
    rng = np.random.default_rng(5)
    v1 = build_v1(folder, rng)
    build_lgn(folder, v1, rng)
    build_bkg(folder, v1, rng)
    write_components(folder)
    return write_run(folder, rng)


def test_it_opens_and_runs(config):
    assert validate(config) == []
    network = load_network(config)
    assert network.n_cells == 18
    bkg, lgn = network.edges["bkg_to_v1"], network.edges["lgn_to_v1"]
    # Its weight functions leave syn_weight as it is, whatever nsyns.
    assert set(bkg.weight.tolist()) == {40.0}
    assert set(bkg.nsyns.tolist()) == {30}
    sizes = network.cells.attributes["target_sizes"][lgn.target_index]
    np.testing.assert_allclose(lgn.weight, 6e4 / sizes)
    pairs = np.stack([lgn.source_index, lgn.target_index])
    assert np.unique(pairs, axis=1).shape[1] < len(lgn)  # one row per synapse
    spikes = spike_set(simulate(config, backend="reference") / "spikes.h5", 0.25)
    assert len(spikes) > 30
    assert len({cell for cell, _ in spikes}) > 12


@pytest.mark.nest
@pytest.mark.slow
def test_it_runs_as_its_own_script_runs_it(config):
    output = simulate(config, backend="reference")
    ours = spike_set(output / "spikes.h5", 0.25)
    run_pointnet(config, config.parent.parent)
    assert spike_set(output / "spikes.h5", 0.25) == ours
