"""The networks of the benchmark: the same arrays for every program that simulates them.

`glif3` is the network of `rollout.py`: GLIF3 cells, double-alpha synapses on 10 ports, delays of 1 to
3 ms. `lif` is the same connectivity for programs without GLIF cells: equal cells that all peers can
compute in the same way,

    v <- decay v (0 after a spike) + sum over arriving spikes of weight;   spike where v > V_th

with a delay of one step. Its weights are set such that the cells fire about as often as the GLIF3
cells do under the same 100 Poisson sources.
"""

import numpy as np
from rollout import BACKGROUND_SYNAPSES, DT, N_BACKGROUND, background, network

__all__ = ["DT", "N_BACKGROUND", "background", "fan_in_of", "glif3", "lif"]

TAU_M = 20.0  # ms; decay of a step 1 - dt/tau, the same in Euler's step of norse and SpikingJelly
DECAY = 1 - DT / TAU_M
V_TH = 20.0  # mV
LIF_WEIGHT = 42.0  # mV, sum over the excitatory synapses of a cell if all were of mean weight
COLUMN_RATES = {"lgn": 8.0, "bkg": 250.0}  # Hz; the LGN's mean over a drifting grating
LIF_DRIVE = 0.9  # mV, scale of the background's synapses

glif3 = network  # (n_cells, fan_in, n_receptors) -> arrays


def fan_in_of(n_cells: int) -> int:
    """Recurrent synapses per cell, growing with the size as a column cut out of V1 has it."""
    if n_cells < 1000:
        return 20
    return 100 if n_cells < 4000 else 200 if n_cells < 16000 else 400


def lif(n_cells: int, fan_in: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Edges of the LIF network, weights in mV; sources and targets are those of `glif3`."""
    rng = np.random.default_rng(seed)
    n_edges, n_drive = n_cells * fan_in, n_cells * BACKGROUND_SYNAPSES
    source = rng.integers(0, n_cells, n_edges)
    sign = np.where(source >= 0.8 * n_cells, -6, 1)
    return {
        "source": source,
        "target": np.repeat(np.arange(n_cells), fan_in),
        "weight": rng.lognormal(-0.5, 1.0, n_edges) * LIF_WEIGHT / fan_in * sign,
        "drive_source": rng.integers(0, N_BACKGROUND, n_drive),
        "drive_target": np.repeat(np.arange(n_cells), BACKGROUND_SYNAPSES),
        "drive_weight": rng.lognormal(-0.1, 0.4, n_drive) * LIF_DRIVE,
    }


def column_inputs(sizes: dict[str, int], n_steps: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Poisson spikes [time, unit] of the inputs of a built column, at `COLUMN_RATES`."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.random((n_steps, size), dtype=np.float32) < COLUMN_RATES[name] * DT / 1000
        for name, size in sizes.items()
    }


def dense(source: np.ndarray, target: np.ndarray, weight: np.ndarray, shape: tuple[int, int]):
    """[target, source] float32; parallel synapses add up."""
    matrix = np.zeros(shape, np.float32)
    np.add.at(matrix, (target, source), weight.astype(np.float32))
    return matrix
