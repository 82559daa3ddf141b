"""The networks of Winston et al. 2023: smooth GLIF cells (GLIFR) that are alike, or learn to differ, or
have learned to.

Published constants (github.com/AllenInstitute/GLIFS_ASC): dt = tau = .05 ms, k_m .05 /ms, R .1, threshold 1
mV, reset 0, sigma_V 1 mV, two after-spike currents with k_j 2 /ms and amplitudes U(-.01, .01) pA, recurrent
delay 20 steps, weights U(-1, 1)/sqrt(cells) mV that are added to the voltage. Here a weight is a current:
an input of 1 moves the voltage by dt/C_m, and a spike by the charge of an alpha current of one step. So
weights are scaled to the same voltages, and their learning rate with them.

| mode | cells | learned |
|---|---|---|
| homogeneous | all alike | weights |
| learned | alike at first | weights, and the parameters of every cell |
| heterogeneous start | drawn apart at first, by the published ranges | the same |
| refined | those of a network of mode "learned" of the same seed | weights, from a new start |
"""

import math
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import pandas as pd
import torch

from v1builder.layers import GLIFR

MODES: Final = ("homogeneous", "learned", "refined", "heterogeneous start")
#: What is learned of a cell.
LEARNED: Final = ("C_m", "V_th", "asc_amps", "asc_decay", "asc_r")
DT: Final = 0.05
#: mV that recurrent input of weight 1 pA adds to a cell of 200 pF: the charge e tau of an alpha current.
_CHARGE: Final = math.e * DT


class Settings(Protocol):
    """What a layer needs to know."""

    @property
    def cells(self) -> int: ...

    @property
    def delay_steps(self) -> int: ...


@dataclass(frozen=True)
class Ranges:
    """Where parameters start: (lowest, highest), in the units of the source."""

    threshold: tuple[float, float]
    k_m: tuple[float, float]
    k_asc: tuple[float, float]
    r: tuple[float, float]
    amplitude: tuple[float, float]


ALIKE: Final = Ranges((1.0, 1.0), (0.05, 0.05), (2.0, 2.0), (-0.01, 0.01), (-0.01, 0.01))
#: The published thresholds U(-1, 1) mV are not possible here, where the threshold lies above rest.
APART: Final = Ranges((0.1, 1.9), (0.04, 0.06), (1.5, 2.5), (-0.1, 0.1), (-0.1, 0.1))


def cell_table(n: int, ranges: Ranges, rng: np.random.Generator) -> pd.DataFrame:
    """Cells of R = .1 (10 nS), drawn in ranges."""
    table = {
        "C_m": 10 / rng.uniform(*ranges.k_m, n), "g": 10.0, "E_L": 0.0, "V_reset": 0.0,
        "V_th": rng.uniform(*ranges.threshold, n), "t_ref": 0.0,
    }  # fmt: skip
    for current in (0, 1):
        table[f"asc_amps_{current}"] = rng.uniform(*ranges.amplitude, n)
        table[f"asc_decay_{current}"] = rng.uniform(*ranges.k_asc, n)
        table[f"asc_r_{current}"] = 1 + rng.uniform(*ranges.r, n)
    return pd.DataFrame(table)


def make_layer(mode: str, inputs: int, settings: Settings, seed: int, learned: Any = None) -> GLIFR:
    """A layer with the weights of the source.

    Args:
        mode: of `MODES`.
        inputs: numbers per step.
        settings: of the experiment.
        seed: of cells and weights.
        learned: for "refined", a layer that has learned its cells.
    """
    rng = np.random.default_rng(seed)
    cells: Any = cell_table(settings.cells, APART if mode == "heterogeneous start" else ALIKE, rng)
    if mode == "refined":
        cells = learned
    trains = mode in ("learned", "heterogeneous start")
    layer = GLIFR(
        inputs, settings.cells, cells=cells, dt=DT, tau_syn=DT, bias=None, seed=seed,
        delay=settings.delay_steps * DT, trainable=LEARNED if trains else (), group_by="cell",
    )  # fmt: skip
    generator = torch.Generator().manual_seed(10**6 + seed)
    bound = settings.cells**-0.5
    with torch.no_grad():
        assert layer.weight_in is not None
        layer.weight_in.uniform_(-bound, bound, generator=generator).mul_(_input_scale())
        recurrent = layer.network.edges["hidden_to_hidden"].weight
        recurrent.uniform_(-bound, bound, generator=generator).mul_(_recurrent_scale())
    return layer


def groups(layer: GLIFR, learning_rate: float) -> list[dict[str, Any]]:
    """Parameters with learning rates that move voltages as in the source."""
    recurrent = layer.network.edges["hidden_to_hidden"].weight
    weights = [layer.weight_in, recurrent]
    cells = [one for one in layer.parameters() if all(one is not weight for weight in weights)]
    found = [
        {"params": [layer.weight_in], "lr": learning_rate * _input_scale()},
        {"params": [recurrent], "lr": learning_rate * _recurrent_scale()},
    ]
    return [*found, {"params": cells, "lr": learning_rate}] if cells else found


def _input_scale() -> float:
    """A weight of 1 mV in units of the rheobase of 10 pA, through C_m = 200 pF for one step."""
    return 200 / DT / 10


def _recurrent_scale() -> float:
    return 200 / _CHARGE / 10
