"""Out to SONATA and back: a network that is loaded and saved, and a trained one that NEST then runs."""

from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from v1builder import pipeline
from v1builder.load import Network, load_network, save_network
from v1builder.model import V1Network
from v1builder.schema.files import hash_folder
from v1builder.schema.recipe import BuildRecipe, SynapseRecipe
from v1builder.simulate import simulate
from v1builder.sonata.spikes import read_spikes, write_spikes
from v1builder.verify.agreement import Measured, case
from v1builder.verify.comparison import same_spikes
from v1builder.verify.nest_process import run_script
from v1builder.verify.networks import POINTNET, write_configuration

RADIUS_UM = 30
DURATION = 1000.0  # ms
TRAINING_STEPS, TRAINING_MS, LEARNING_RATE = 4, 100, 0.03
#: What is learned, and which cells share a value. All of it must arrive in NEST.
GROUP_BY = {"g": "cell", "V_th": "population", "asc_amps": "cell_model", "tau_syn_fast": "class"}
WEIGHTS = ("v1_to_v1.weight", "lgn_to_v1.weight", "bkg_to_v1.weight")
PLASTICITY = ("v1_to_v1.U", "v1_to_v1.tau_rec", "v1_to_v1.tau_fac")


def column(folder: Path, dynamics: str) -> Network:
    """A small column with static or plastic synapses."""
    recipe = BuildRecipe(synapses=SynapseRecipe.model_validate({"dynamics": dynamics}))
    pipeline.build(folder / "built", radius=RADIUS_UM, seed=1, recipe=recipe)
    return load_network(folder / "built")


def random_inputs(network: Network, n_steps: int, seed: int) -> dict[str, NDArray[np.bool_]]:
    """[steps, units] Poisson spikes of the LGN (8 Hz) and the background (250 Hz) at dt 1 ms."""
    rng = np.random.default_rng(seed)
    rates = {"lgn": 8.0, "bkg": 250.0}
    return {
        name: rng.random((n_steps, len(network.nodes[name]))) < rate / 1000
        for name, rate in rates.items()
    }


def dense(inputs: dict[str, NDArray[np.bool_]]) -> dict[str, torch.Tensor]:
    """As the model takes them."""
    return {name: torch.from_numpy(spikes)[None] for name, spikes in inputs.items()}


def trained(network: Network, learned: tuple[str, ...]) -> tuple[V1Network, str]:
    """A few steps of Adam towards 20 Hz in every cell, in float64; the model, and what changed."""
    model = V1Network(
        network, dtype=torch.float64, group_by=GROUP_BY, trainable=learned, backend="reference"
    )
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimiser = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    for step in range(TRAINING_STEPS):
        optimiser.zero_grad()
        rollout = model(dense(random_inputs(network, TRAINING_MS, seed=step)))
        (1000 / TRAINING_MS * rollout.spikes.sum(1) - 20.0).square().mean().backward()
        optimiser.step()
    changed = [
        name
        for name, value in model.named_parameters()
        if value.numel() and not torch.equal(value.detach(), before[name])
    ]
    if len(changed) != len(learned):
        raise RuntimeError(f"{len(changed)} of {len(learned)} parameters were trained: {changed}")
    return model, f"{TRAINING_STEPS} steps of training {', '.join(learned)}"


def trained_in_nest(folder: Path, *, dynamics: str) -> Measured:
    """The trained model in torch, its export under PointNet, and its export under `simulate`."""
    network = column(folder, dynamics)
    learned = (*WEIGHTS, *GROUP_BY) + (PLASTICITY if dynamics == "stp" else ())
    model, text = trained(network, learned)
    inputs = random_inputs(network, round(DURATION), seed=100)
    with torch.no_grad():
        in_torch = model(dense(inputs)).spikes[0].numpy() > 0
        untrained = V1Network(network, dtype=torch.float64, backend="reference")
        before = untrained(dense(inputs)).spikes[0].numpy() > 0
    net = save_network(model.export(network), folder / "net")
    settings = {}
    for name, spikes in inputs.items():
        step, unit = np.nonzero(spikes)
        write_spikes(folder / f"{name}_spikes.h5", {name: (step + 1.0, unit)})
        settings[name] = {
            "input_type": "spikes",
            "module": "sonata",
            "input_file": str(folder / f"{name}_spikes.h5"),
            "node_set": name,
        }
    path = write_configuration(folder, net, settings, dt=1.0)
    run_script(POINTNET, [str(path)], cwd=net)
    in_nest = _spikes(folder / "output/spikes.h5", in_torch.shape)
    (folder / "output").rename(folder / "pointnet")
    reloaded = _spikes(simulate(path, backend="reference") / "spikes.h5", in_torch.shape)
    n_types = len(load_network(net).cells.types), len(network.cells.types)
    text = (
        f" after {text}; {n_types[1]} node types became {n_types[0]}; "
        f"{np.count_nonzero(before & ~in_torch)} spikes of the untrained network are gone"
    )
    if not np.array_equal(reloaded, in_torch):
        text += "; simulate on the exported files differs"
        return Measured(text, float("nan"), 1.0, at_least=True)
    return same_spikes(in_nest, in_torch, 1000, text)


def _spikes(path: Path, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    train = read_spikes(path)["v1"]
    spikes = np.zeros(shape, dtype=bool)
    spikes[np.rint(train.timestamps).astype(int) - 1, train.node_ids] = True
    return spikes


for _dynamics in ("static", "stp"):
    case(
        f"trained network exported, {_dynamics} synapses",
        reference="BMTK PointNet on NEST",
        compared="spikes of a trained column in torch and, exported to SONATA, in NEST, 1 s, dt 1 ms",
        needs=("bmtk", "nest"),
        slow=True,
    )(partial(trained_in_nest, dynamics=_dynamics))


def load_and_save(folder: Path, *, dynamics: str) -> Measured:
    """load(save(x)) has x's values, and saving that again gives the same bytes."""
    first = column(folder, dynamics)
    again = load_network(save_network(first, folder / "a"))
    save_network(again, folder / "b")
    values: dict[str, tuple[NDArray, NDArray]] = {}
    for table in ("membrane", "receptors"):
        one, two = getattr(first, table), getattr(again, table)
        values |= {name: (one.per_cell(name), two.per_cell(name)) for name in one.values}
    values["bias_current"] = first.bias_current, again.bias_current
    for name, one in first.nodes.items():
        two = again.nodes[name]
        values[f"{name} types"] = one.node_type_id, two.node_type_id
        values |= {
            f"{name} {key}": (one.attributes[key], two.attributes[key]) for key in one.attributes
        }
    for name, one in first.edges.items():
        two = again.edges[name]
        for key in ("source_index", "target_index", "weight", "nsyns", "delay", "receptor"):
            values[f"{name} {key}"] = getattr(one, key), getattr(two, key)
        if one.plasticity is not None and two.plasticity is not None:
            groups = one.plasticity.group_of, two.plasticity.group_of
            values[f"{name} plasticity"] = groups
            for key in one.plasticity.values:
                tables = one.plasticity.values[key], two.plasticity.values[key]
                values[f"{name} {key}"] = cast(tuple[NDArray, NDArray], tables)
        elif one.plasticity is not two.plasticity:
            values[f"{name} plasticity"] = np.zeros(1), np.ones(1)
    wrong = [name for name, (a, b) in values.items() if not _equal(a, b)]
    if hash_folder(folder / "a") != hash_folder(folder / "b"):
        wrong.append("bytes when saved again")
    n = sum(a.size for a, _ in values.values())
    found = f"; differs: {', '.join(wrong[:5])}" if wrong else ", all equal; the same bytes again"
    return Measured(f"{n} values of {len(values)} arrays{found}", len(wrong), 0)


def _equal(a: NDArray, b: NDArray) -> bool:
    floats = a.dtype.kind == b.dtype.kind == "f"
    return np.array_equal(a, b, equal_nan=floats) or (a.dtype.kind == "O" and list(a) == list(b))


for _dynamics in ("static", "stp"):
    case(
        f"load, save, load, {_dynamics} synapses",
        reference="the network itself",
        compared=f"all parameters, attributes and edges of a column of radius {RADIUS_UM} um",
    )(partial(load_and_save, dynamics=_dynamics))
