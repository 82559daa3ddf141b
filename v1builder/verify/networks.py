"""Whole networks against NEST: a recurrent one of all GLIF levels, and a built column under PointNet."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder import pipeline
from v1builder.load import Network, load_network
from v1builder.schema.names import BOUNDARY, SYNAPSE_CLASSES
from v1builder.schema.recipe import BoundaryRecipe, BuildRecipe, SynapseRecipe
from v1builder.simulate import simulate
from v1builder.sonata.spikes import read_spikes, write_spikes
from v1builder.verify.agreement import Measured, case
from v1builder.verify.comparison import run_ours, same_spikes
from v1builder.verify.nest_process import NestInput, run_nest, run_script
from v1builder.verify.published_cells import LEVELS, glif_models, membrane, network, rheobase
from v1builder.verify.single_cells import nest_cells, projection, receptors

POINTNET = Path(__file__).parent / "processes" / "pointnet_simulation.py"
DURATION = 1000.0  # ms
N_CELLS, N_INPUT, IN_DEGREE = 200, 50, 20


def mixed_models(rng: np.random.Generator, per_level: int = 4) -> pd.DataFrame:
    """Random published models of every level whose parameters NEST accepts."""
    chosen = []
    for level in LEVELS:
        models = glif_models(level)
        accepted = ~((models["v_reset_fraction"] < 0) | (models["v_reset_fraction"] > 1))
        rows = rng.choice(np.flatnonzero(accepted), per_level, replace=False)
        chosen.append(models.iloc[rows])
    return pd.concat(chosen, ignore_index=True)


def mixed_network(
    template: str, seed: int = 0
) -> tuple[Network, pd.DataFrame, dict[str, dict[str, NDArray[Any]]]]:
    """A recurrent network of cells of every level, a third of them inhibitory.

    Returns:
        The network; the models its membrane rows come from; its edges "inputs" and "cells" as
        arrays.
    """
    rng = np.random.default_rng(seed)
    models = mixed_models(rng)
    group_of = rng.integers(0, len(models), N_CELLS)
    cells = membrane(models, group_of)
    strength = rheobase(cells)
    sign = np.where(rng.random(N_CELLS) < 1 / 3, -1.0, 1.0)

    def drawn(n_source: int, scale: float, signs: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        target = np.repeat(np.arange(N_CELLS), IN_DEGREE)
        source = rng.integers(0, n_source, len(target))
        size = scale * rng.lognormal(-0.5, 0.7, len(target)) * strength[target]
        return {
            "source": source,
            "target": target,
            "weight": size * signs[source],
            "delay": rng.choice([1.0, 1.5, 1.65, 2.0, 2.9], len(target)),
            "receptor": rng.integers(0, len(SYNAPSE_CLASSES), len(target)),
        }

    strengths = {"glif_psc": (0.15, 0.7), "glif_psc_double_alpha": (0.1, 0.4)}[template]
    edges = {
        "cells": drawn(N_CELLS, strengths[0], sign),
        "inputs": drawn(N_INPUT, strengths[1], np.ones(N_INPUT)),
    }
    ports = receptors(template, N_CELLS)
    return network(cells, ports, edges["cells"], edges["inputs"], N_INPUT), models, edges


def input_spikes(dt: float, rate: float = 30.0) -> NestInput:
    """Poisson spikes of the inputs, rate in Hz."""
    rng = np.random.default_rng(2)
    train = rng.random((round(DURATION / dt), N_INPUT)) < rate * dt / 1000
    return NestInput(dt, DURATION, train)


def recurrent(folder: Path, *, template: str, dt: float) -> Measured:
    """The mixed network, driven by Poisson spikes."""
    net, models, edges = mixed_network(template)
    stimulus = input_spikes(dt)
    cells = nest_cells(template, models, net.membrane.group_of, net.receptors)
    nest = run_nest(
        cells, [projection(source, columns) for source, columns in edges.items()], stimulus, folder
    )
    if nest.refused:
        raise RuntimeError(f"NEST refused a cell: {next(iter(nest.refused.values()))}")
    ours = run_ours(net, stimulus)
    worst = float(np.abs(nest.recorded["V_m"] - ours.voltage).max())
    text = f" ({N_CELLS} cells, {IN_DEGREE} recurrent and {IN_DEGREE} input synapses each)"
    return same_spikes(nest.spikes, ours.spikes, 2000, text, worst)


for _template in ("glif_psc", "glif_psc_double_alpha"):
    for _dt in (1.0, 0.25, 0.1):
        case(
            f"recurrent network of GLIF1 to GLIF5, {_template}, dt {_dt:g}",
            reference="NEST",
            compared=f"spikes and voltages of {N_CELLS} cells of all levels, 1 s, dt {_dt:g} ms",
            needs="nest",
            slow=_dt < 1,
        )(partial(recurrent, template=_template, dt=_dt))


def poisson_spikes(
    folder: Path, inputs: dict[str, tuple[int, float | NDArray[np.float64]]], seed: int = 3
) -> dict[str, Any]:
    """Write Poisson spikes of all inputs (units, and Hz of each or of all) on no grid.

    Returns:
        The `inputs` of a configuration.
    """
    rng = np.random.default_rng(seed)
    settings = {}
    for name, (n_units, rate) in inputs.items():
        each = np.broadcast_to(rate, n_units)
        count = rng.poisson(each.sum() * DURATION / 1000)
        path = folder / f"{name}_spikes.h5"
        times = rng.uniform(0.2, DURATION, count).round(3)
        if np.ndim(rate):
            units = rng.choice(n_units, count, p=each / each.sum())
        else:
            units = rng.integers(0, n_units, count)
        write_spikes(path, {name: (times, units)})
        settings[f"{name}_spikes"] = {
            "input_type": "spikes",
            "module": "sonata",
            "input_file": str(path),
            "node_set": name,
        }
    return settings


def write_configuration(
    folder: Path,
    network_folder: Path,
    inputs: dict[str, Any],
    dt: float,
    duration: float = DURATION,
) -> Path:
    """A SONATA simulation configuration that both PointNet and `simulate` run."""
    path = folder / "simulation_config.json"
    settings = {
        "run": {"tstop": duration, "dt": dt},
        "target_simulator": "NEST",
        "network": str(network_folder / "circuit_config.json"),
        "inputs": inputs,
        "output": {"output_dir": str(folder / "output"), "spikes_file": "spikes.h5"},
    }
    path.write_text(json.dumps(settings))
    return path


def pointnet_and_simulate(path: Path, network_folder: Path, dt: float, least: int) -> Measured:
    """The spikes of both from one configuration, which names the folder "output" beside it.

    The circuit says "." for its own folder, which PointNet takes as the working directory.
    """
    run_script(POINTNET, [str(path)], cwd=network_folder)
    (path.parent / "output").rename(path.parent / "pointnet")
    simulate(path, backend="reference")
    return _compared(path.parent / "pointnet", path.parent / "output", dt, least)


def _compared(one: Path, other: Path, dt: float, least: int) -> Measured:
    """The spikes of v1 in two folders of output."""
    trains = [read_spikes(folder / "spikes.h5")["v1"] for folder in (one, other)]
    n_steps = max(round(train.timestamps.max(initial=0) / dt) for train in trains) + 1
    n_nodes = max(int(train.node_ids.max(initial=0)) for train in trains) + 1
    spikes = np.zeros((2, n_steps, n_nodes), dtype=bool)
    for steps, train in zip(spikes, trains, strict=True):
        steps[np.rint(train.timestamps / dt).astype(int), train.node_ids] = True
    return same_spikes(spikes[0], spikes[1], least)


def built_column(folder: Path, *, dt: float) -> Measured:
    """A column of radius 50 um with all its LGN and background units."""
    pipeline.build(folder / "net", radius=50, seed=1)
    inputs = poisson_spikes(folder, {"lgn": (17_400, 8.0), "bkg": (100, 250.0)})
    path = write_configuration(folder, folder / "net", inputs, dt)
    return pointnet_and_simulate(path, folder / "net", dt, least=2000)


for _dt in (1.0, 0.1):
    case(
        f"built column, radius 50 um, dt {_dt:g}",
        reference="BMTK PointNet on NEST",
        compared="spikes of 1040 cells with LGN and background spike files, from one simulation "
        f"configuration, 1 s, dt {_dt:g} ms",
        needs=("bmtk", "nest"),
        slow=True,
    )(partial(built_column, dt=_dt))


def surrounded_column(folder: Path, *, dynamics: str) -> Measured:
    """A column of radius 30 um among virtual cells up to 60 um, each at its own rate, dt 1 ms.

    NEST's generators take static synapses only, so that plastic ones need relays, which BMTK puts
    between them on request. A relay costs one step, by which the spikes are later here; and spikes of
    one unit in one step, which `model.plasticity` counts otherwise than NEST, are taken as one.
    """
    dt = 1.0
    recipe = BuildRecipe(
        boundary=BoundaryRecipe(radius_um=60.0),
        synapses=SynapseRecipe.model_validate({"dynamics": dynamics}),
    )
    net = pipeline.build(folder / "net", radius=30, seed=1, recipe=recipe)
    rates = load_network(net).nodes[BOUNDARY].attributes["rate_Hz"]
    rate = {"lgn": (17_400, 8.0), "bkg": (100, 250.0), BOUNDARY: (len(rates), rates)}
    runs = {}
    for name in ("nest", "here", "silent"):
        (folder / name).mkdir()
        inputs = poisson_spikes(folder / name, rate)
        around = inputs[f"{BOUNDARY}_spikes"]
        if name == "silent":
            del inputs[f"{BOUNDARY}_spikes"]
        elif dynamics == "stp":
            around["use_parrot_neurons"] = name == "nest"
            train = read_spikes(around["input_file"])[BOUNDARY]
            step, unit = np.unique((np.ceil(train.timestamps / dt), train.node_ids), axis=1)
            later = dt * (step + (name == "here"))
            write_spikes(around["input_file"], {BOUNDARY: (later, unit.astype(np.int64))})
        runs[name] = write_configuration(folder / name, net, inputs, dt)
    run_script(POINTNET, [str(runs["nest"])], cwd=net)
    here, silent = (simulate(runs[name], backend="reference") for name in ("here", "silent"))
    found = _compared(folder / "nest/output", here, dt, least=500)
    alone = read_spikes(silent / "spikes.h5")["v1"]
    text = f"{found.result}; {len(alone)} while the {len(rates)} virtual cells are silent"
    if len(alone) == len(read_spikes(here / "spikes.h5")["v1"]):
        return Measured(text, float("nan"), 1.0, at_least=True)
    return replace(found, result=text)


for _dynamics in ("static", "stp"):
    case(
        f"column with a boundary population, {_dynamics} synapses",
        reference="BMTK PointNet on NEST",
        compared="spikes of a column of radius 30 um with LGN, background and boundary spike files, "
        "1 s, dt 1 ms",
        needs=("bmtk", "nest"),
        slow=True,
    )(partial(surrounded_column, dynamics=_dynamics))
