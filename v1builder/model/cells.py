"""The parameters of the simulated cells as a module: one `GroupedParameter` per NEST parameter.

V_th and V_reset are held relative to E_L, as the model uses them; V_th - E_L is positive. E_L is
only the zero of the voltage and t_ref counts whole steps, so neither has a gradient and neither can
be trained.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from v1builder.load.groups import group_cells
from v1builder.load.network import Network
from v1builder.model.glif import GlifParameters, ThresholdParameters
from v1builder.model.parameters import (
    FREE,
    POSITIVE,
    Bounds,
    GroupedParameter,
    group_mean,
)
from v1builder.schema.errors import NetworkError, Problem, raise_if_any
from v1builder.schema.names import PSC_ALPHA
from v1builder.schema.parameters import GLIF_UNITS, RECEPTOR_UNITS, THRESHOLD_PARAMETERS


@dataclass(frozen=True)
class _Kind:
    """Range of a parameter, and whether cells are averaged as logarithms."""

    bounds: Bounds
    log_mean: bool
    zero_allowed: bool = False


# asc_r is 1 in every published GLIF model: the middle of its interval, so that it can move both ways.
# As asc_r - 1 it is the r_j of GLIFR, which is trained in (-1, 1): see `model.glifr`.
KINDS: Final[dict[str, _Kind]] = {
    "C_m": _Kind(POSITIVE, log_mean=True),
    "g": _Kind(POSITIVE, log_mean=True),
    "V_th": _Kind(POSITIVE, log_mean=True),
    "V_reset": _Kind(FREE, log_mean=False),
    "t_ref": _Kind(POSITIVE, log_mean=False, zero_allowed=True),
    "asc_amps": _Kind(FREE, log_mean=False),
    "asc_decay": _Kind(POSITIVE, log_mean=True),
    "asc_r": _Kind(Bounds("interval", 0, 2), log_mean=False),
    "tau_syn_fast": _Kind(POSITIVE, log_mean=True),
    "tau_syn_slow": _Kind(POSITIVE, log_mean=True),
    "amp_slow": _Kind(POSITIVE, log_mean=False, zero_allowed=True),
    # Linear means, because a cell without the mechanism has 0.
    "th_spike_add": _Kind(FREE, log_mean=False),
    "th_spike_decay": _Kind(POSITIVE, log_mean=False, zero_allowed=True),
    "voltage_reset_fraction": _Kind(FREE, log_mean=False),
    "th_voltage_index": _Kind(FREE, log_mean=False),
    "th_voltage_decay": _Kind(POSITIVE, log_mean=False, zero_allowed=True),
}

CELL_PARAMETERS: Final[tuple[str, ...]] = tuple(KINDS)
TRAINABLE_CELL_PARAMETERS: Final = tuple(name for name in KINDS if name != "t_ref")


def relative_rows(network: Network, name: str) -> NDArray[np.float64]:
    """Rows of one parameter as the model uses it: V_th and V_reset above E_L, the rest as it is."""
    values = table_of(network, name).values
    return values[name] - values["E_L"] if name in ("V_th", "V_reset") else values[name]


def table_of(network: Network, name: str):
    """The table of `network` that holds a parameter."""
    return network.membrane if name in GLIF_UNITS else network.receptors


def check_cells(network: Network) -> None:
    """Refuse parameters with which the model would mean nothing.

    Raises:
        NetworkError: with every problem found.
    """
    problems = [
        Problem(f"the cells have no parameter '{name}'", f"population {network.simulated}")
        for name in (*GLIF_UNITS, *RECEPTOR_UNITS)
        if name not in table_of(network, name).values
    ]
    raise_if_any(problems, NetworkError)
    for name, kind in KINDS.items():
        rows, labels = relative_rows(network, name), table_of(network, name).labels
        shown = f"{name} - E_L" if name in ("V_th", "V_reset") else name
        for row, label in zip(rows, labels, strict=True):
            fault = kind.bounds.problem(np.atleast_1d(row), kind.zero_allowed)
            if fault:
                problems.append(Problem(f"{shown} {fault}", f"cell model {label}", str(row)))
    too_high = relative_rows(network, "V_reset") >= relative_rows(network, "V_th")
    # Levels 2, 4 and 5 raise the threshold with the spike and scale the voltage.
    fixed = network.membrane.values["voltage_reset_fraction"] == 0
    too_high &= fixed & (network.membrane.values["th_spike_add"] == 0)
    problems += [
        Problem(
            "V_reset must lie below V_th",
            f"cell model {network.membrane.labels[row]}",
            f"V_reset {network.membrane.values['V_reset'][row]:g} mV, "
            f"V_th {network.membrane.values['V_th'][row]:g} mV",
            "a cell reset above its threshold never stops spiking",
        )
        for row in np.flatnonzero(too_high)
    ]
    raise_if_any(problems, NetworkError)


class Cells(nn.Module):
    """Every parameter of the simulated cells, under its NEST name.

    Attributes:
        C_m, g, V_th, V_reset, t_ref, asc_amps, asc_decay, asc_r, tau_syn_fast, tau_syn_slow,
        amp_slow, th_spike_add, th_spike_decay, voltage_reset_fraction, th_voltage_index,
        th_voltage_decay: the parameters; calling one gives its value per cell.
        E_L: [n] mV, the zero of the voltages.
        psc_shape: [n, r] code of the shape of each port's current, or None when all are alpha.
    """

    C_m: GroupedParameter
    g: GroupedParameter
    V_th: GroupedParameter
    V_reset: GroupedParameter
    t_ref: GroupedParameter
    asc_amps: GroupedParameter
    asc_decay: GroupedParameter
    asc_r: GroupedParameter
    tau_syn_fast: GroupedParameter
    tau_syn_slow: GroupedParameter
    amp_slow: GroupedParameter
    th_spike_add: GroupedParameter
    th_spike_decay: GroupedParameter
    voltage_reset_fraction: GroupedParameter
    th_voltage_index: GroupedParameter
    th_voltage_decay: GroupedParameter
    E_L: Tensor
    psc_shape: Tensor | None

    def __init__(
        self,
        network: Network,
        group_by: Mapping[str, str],
        trainable: Collection[str],
        dtype: torch.dtype,
        bounds: Mapping[str, Bounds] | None = None,
    ):
        """Take the parameters of `network`'s cells.

        Args:
            network: already checked with `check_cells`.
            group_by: grouping by parameter name; "cell_model" where it says nothing.
            trainable: names of the parameters that are learned.
            dtype: of the values.
            bounds: ranges by parameter name where they are narrower than those of `KINDS`.
        """
        super().__init__()
        for name, kind in KINDS.items():
            table, values = table_of(network, name), relative_rows(network, name)
            grouping = group_by.get(name, "cell_model")
            group_of, labels = table.group_of, table.labels
            if grouping != "cell_model":
                groups = group_cells(network.cells, grouping)
                group_of, labels = groups.of_cell, groups.labels
                per_cell = values[table.group_of]
                values = group_mean(per_cell, group_of, len(labels), kind.log_mean)
            parameter = GroupedParameter(
                values,
                group_of,
                (bounds or {}).get(name, kind.bounds),
                trainable=name in trainable,
                dtype=dtype,
                grouping=grouping,
                labels=labels,
            )
            self.add_module(name, parameter)
        E_L = torch.tensor(network.membrane.per_cell("E_L"), dtype=dtype)
        self.register_buffer("E_L", E_L, persistent=False)
        self._threshold_moves = any(
            name in trainable or np.any(network.membrane.values[name])
            for name in THRESHOLD_PARAMETERS
        )
        shape = network.receptors.per_cell("psc_shape")
        alpha = bool(np.all(shape == PSC_ALPHA))
        self.register_buffer(
            "psc_shape", None if alpha else torch.tensor(shape, dtype=torch.int8), persistent=False
        )

    def forward(self) -> GlifParameters:
        """The parameters of every cell."""
        threshold = None
        if self._threshold_moves:
            threshold = ThresholdParameters(
                **{name: getattr(self, name)() for name in THRESHOLD_PARAMETERS}
            )
        return GlifParameters(
            **{name: getattr(self, name)() for name in KINDS if name not in THRESHOLD_PARAMETERS},
            threshold=threshold,
            psc_shape=self.psc_shape,
        )
