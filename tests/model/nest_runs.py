"""Run the same network in NEST, in a process of its own, and in ours."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from v1builder.model import V1Network

SCRIPT = Path(__file__).with_name("nest_reference.py")


@dataclass(frozen=True)
class Traces:
    """Spikes [steps, n] and voltages [steps, n] in mV."""

    spikes: np.ndarray
    voltage: np.ndarray


@dataclass(frozen=True)
class Stimulus:
    """What drives the cells.

    Attributes:
        dt, duration: ms.
        spikes: [steps, n_input] bool.
        current: [k, n] pA, piecewise constant.
        current_times: [k] ms at which each piece begins for NEST's generator.
    """

    dt: float
    duration: float
    spikes: np.ndarray
    current: np.ndarray
    current_times: np.ndarray


def run_nest(network, stimulus, folder):
    cells = {name: network.membrane.per_cell(name) for name in network.membrane.values}
    cells |= {name: network.receptors.per_cell(name) for name in network.receptors.values}
    arrays = {}
    for kind, name in (("recurrent", "v1_to_v1"), ("input", "lgn_to_v1")):
        edges = network.edges[name]
        arrays |= {
            f"{kind}_source": edges.source_index,
            f"{kind}_target": edges.target_index,
            f"{kind}_weight": edges.weight,
            f"{kind}_delay": np.round(edges.delay.astype(float), 5),
            f"{kind}_port": edges.receptor + 1,
        }
    step, source = np.nonzero(stimulus.spikes)
    np.savez(
        folder / "in.npz",
        dt=stimulus.dt,
        duration=stimulus.duration,
        current_times=stimulus.current_times,
        current=stimulus.current.T,
        n_input=stimulus.spikes.shape[1],
        input_of=source,
        input_time=(step + 1) * stimulus.dt,
        **cells,
        **arrays,
    )
    command = [sys.executable, str(SCRIPT), str(folder / "in.npz"), str(folder / "out.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "out.npz") as out:
        n_steps = len(stimulus.spikes)
        step = np.rint(out["time"] / stimulus.dt).astype(int) - 1
        spikes = np.zeros((max(n_steps, step.max(initial=0) + 1), network.n_cells), dtype=bool)
        spikes[step, out["cell"]] = True
        return Traces(spikes[:n_steps], out["voltage"].T[:n_steps])


def current_per_step(stimulus):
    """[steps, n] pA as the model takes it.

    A step_current_generator whose edge has the delay d sends what begins at time s so that it is
    the current set in step (s + d)/dt - 1. Delays of current edges here are 1 ms.
    """
    steps = np.arange(len(stimulus.spikes))
    begins = np.rint((stimulus.current_times + max(stimulus.dt, 1.0)) / stimulus.dt).astype(int) - 1
    piece = np.searchsorted(begins, steps, side="right") - 1
    return np.where(piece[:, None] >= 0, stimulus.current[np.maximum(piece, 0)], 0.0)


def run_ours(network, stimulus, backend="reference"):
    model = V1Network(network, dt=stimulus.dt, dtype=torch.float64, backend=backend)
    current = None
    if len(stimulus.current_times):
        current = torch.tensor(current_per_step(stimulus))[None]
    with torch.no_grad():
        inputs = {"lgn": torch.tensor(stimulus.spikes)[None]}
        rollout = model(inputs, current=current, record_voltage=True)
    voltage = rollout.voltage[0].numpy() + network.membrane.per_cell("E_L")
    return Traces(rollout.spikes[0].numpy() > 0, voltage)


def identical_fraction(a, b):
    """Spikes found in both at the same step, over spikes found in either."""
    return (a & b).sum() / max(1, (a | b).sum())
