"""Short-term plasticity against NEST: single synapses, a recurrent network, a built column."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v1builder import pipeline
from v1builder.load.network import GroupedValues, Network
from v1builder.schema.names import PSC_DELTA
from v1builder.schema.parameters import GLIF_UNITS, PLASTICITY_UNITS
from v1builder.schema.recipe import BuildRecipe, SynapseRecipe
from v1builder.verify.agreement import Measured, case
from v1builder.verify.comparison import run_ours, same_spikes
from v1builder.verify.nest_process import NestEdges, NestInput, run_nest, run_script
from v1builder.verify.networks import (
    input_spikes,
    mixed_network,
    pointnet_and_simulate,
    poisson_spikes,
    write_configuration,
)
from v1builder.verify.published_cells import edge_population, node_population
from v1builder.verify.single_cells import nest_cells, projection

SYNAPSES_SCRIPT = Path(__file__).parent / "processes" / "nest_synapses.py"
DURATION = 1000.0  # ms
N_SYNAPSES = 60
#: mV, for amplitudes of about 1 mV: two float64 implementations differ by rounding alone.
AMPLITUDE_LIMIT = 1e-9
_C_M, _TAU_M = 100.0, 10.0  # pF, ms
_FIRST_SPIKE, _LATE = 5.0, 700.0  # ms


def random_synapses(rng: np.random.Generator, n: int) -> dict[str, NDArray[np.float64]]:
    """Parameters of `n` synapses that start at rest; a third has tau_fac 0."""
    number = np.arange(n)
    U = rng.uniform(0.05, 1.0, n)
    return {
        "U": U,
        "tau_rec": rng.uniform(5.0, 1000.0, n),
        "tau_fac": np.where(number % 3 == 0, 0.0, rng.uniform(5.0, 1000.0, n)),
        "u": U.copy(),
        "x": np.ones(n),
    }


def spike_trains(rng: np.random.Generator, dt: float) -> NDArray[np.int64]:
    """[steps, synapse] spikes at 20 Hz; a third begins after 700 ms."""
    shape = (round(DURATION / dt), N_SYNAPSES)
    spikes = (rng.random(shape) < 0.02 * dt).astype(np.int64)
    spikes[: round(_FIRST_SPIKE / dt)] = 0
    spikes[: round(_LATE / dt), 2 * N_SYNAPSES // 3 :] = 0
    return spikes


def passive_network(
    parameters: dict[str, NDArray[np.float64]], weight: NDArray[np.float64], delay: float
) -> Network:
    """One delta synapse onto each of the passive cells, which never spike."""
    n = len(weight)
    values: dict[str, NDArray[np.float64]] = {name: np.zeros(1) for name in GLIF_UNITS}
    values |= {name: np.zeros((1, 0)) for name in ("asc_amps", "asc_decay", "asc_r")}
    values |= {
        "C_m": np.array([_C_M]),
        "g": np.array([_C_M / _TAU_M]),
        "V_th": np.array([1e9]),
        "V_reset": np.array([-1.0]),
        "t_ref": np.array([2.0]),
    }
    ports = {name: np.ones((1, 1)) for name in ("tau_syn_fast", "tau_syn_slow")}
    ports |= {"amp_slow": np.zeros((1, 1)), "psc_shape": np.full((1, 1), float(PSC_DELTA))}
    number, same = np.arange(n), np.zeros(n, np.int64)
    arrays = {
        "source": number,
        "target": number,
        "weight": weight * parameters["U"],
        "delay": np.full(n, delay),
        "receptor": same,
    }
    plasticity = GroupedValues(parameters, number.astype(np.int16), tuple(map(str, number)))
    return Network(
        nodes={"v1": node_population("v1", n), "lgn": node_population("lgn", n)},
        edges={"lgn_to_v1": edge_population("lgn", arrays, plasticity=plasticity)},
        simulated="v1",
        membrane=GroupedValues(values, same, ("passive",)),
        receptors=GroupedValues(ports, same, ("delta",)),
        bias_current=np.zeros(n),
    )


def single_synapses(folder: Path, *, dt: float) -> Measured:
    """Delta synapses onto passive cells, so that every amplitude is a jump of the voltage."""
    rng = np.random.default_rng(5)
    parameters, spikes = random_synapses(rng, N_SYNAPSES), spike_trains(rng, dt)
    weight, delay = rng.uniform(0.5, 2.0, N_SYNAPSES), 1.0
    settings = {"dt": dt, "duration": DURATION, "C_m": _C_M, "tau_m": _TAU_M, "relay": 1.0}
    (folder / "in.json").write_text(json.dumps(settings))
    delays = np.full(N_SYNAPSES, delay)
    arrays: dict[str, Any] = {"spikes": spikes, "weight": weight, "delay": delays, **parameters}
    np.savez(folder / "in.npz", **arrays)
    run_script(SYNAPSES_SCRIPT, [str(folder)])
    with np.load(folder / "out.npz") as out:
        theirs = out["voltage"]
    stimulus = NestInput(dt, DURATION, spikes)
    ours = run_ours(passive_network(parameters, weight, delay), stimulus).voltage
    worst = float(np.abs(theirs - ours).max())
    if np.count_nonzero(np.diff(theirs, axis=0) > 0) < 500:
        worst = float("nan")
    text = f"{np.count_nonzero(spikes)} amplitudes within {worst:.1g} mV of about 1 mV"
    return Measured(text, worst, AMPLITUDE_LIMIT)


def recurrent(folder: Path, *, dt: float) -> Measured:
    """The mixed network with 12 models of plastic synapses among its cells."""
    template, rng = "glif_psc_double_alpha", np.random.default_rng(7)
    net, models, edges = mixed_network(template)
    table = random_synapses(rng, 12)
    row = rng.integers(0, 12, len(edges["cells"]["weight"]))
    parameters: dict[str, NDArray[Any]] = {name: table[name][row] for name in PLASTICITY_UNITS}
    recurrent_edges = replace(
        net.edges["v1_to_v1"],
        plasticity=GroupedValues(table, row.astype(np.int16), tuple(map(str, range(12)))),
    )
    net = replace(net, edges=net.edges | {"v1_to_v1": recurrent_edges})
    static = projection("cells", edges["cells"])
    columns = {**static.columns, **parameters}
    columns["weight"] = columns["weight"] / parameters["U"]
    projections = [
        NestEdges("cells", columns, "tsodyks2_synapse"),
        projection("inputs", edges["inputs"]),
    ]
    stimulus = input_spikes(dt)
    cells = nest_cells(template, models, net.membrane.group_of, net.receptors)
    nest = run_nest(cells, projections, stimulus, folder)
    ours = run_ours(net, stimulus)
    worst = float(np.abs(nest.recorded["V_m"] - ours.voltage).max())
    return same_spikes(nest.spikes, ours.spikes, 2000, voltage_difference=worst)


def built_column(folder: Path, *, dt: float) -> Measured:
    """A column of radius 30 um with short-term plasticity of all its own synapses."""
    recipe = BuildRecipe(synapses=SynapseRecipe(dynamics="stp"))
    pipeline.build(folder / "net", radius=30, seed=1, recipe=recipe)
    inputs = poisson_spikes(folder, {"lgn": (17_400, 10.0), "bkg": (100, 250.0)})
    path = write_configuration(folder, folder / "net", inputs, dt)
    return pointnet_and_simulate(path, folder / "net", dt, least=500)


for _dt in (1.0, 0.1):
    case(
        f"tsodyks2_synapse, dt {_dt:g}",
        reference="NEST",
        compared=f"amplitudes of {N_SYNAPSES} synapses under random spikes, 1 s, dt {_dt:g} ms",
        needs="nest",
    )(partial(single_synapses, dt=_dt))
    case(
        f"recurrent network with short-term plasticity, dt {_dt:g}",
        reference="NEST",
        compared=f"spikes and voltages of 200 cells, 4 000 plastic synapses, 1 s, dt {_dt:g} ms",
        needs="nest",
        slow=_dt < 1,
    )(partial(recurrent, dt=_dt))
    case(
        f"built column with short-term plasticity, radius 30 um, dt {_dt:g}",
        reference="BMTK PointNet on NEST",
        compared="spikes of a column with LGN and background spike files, from one simulation "
        f"configuration, 1 s, dt {_dt:g} ms",
        needs=("bmtk", "nest"),
        slow=True,
    )(partial(built_column, dt=_dt))
