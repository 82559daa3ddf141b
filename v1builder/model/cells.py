"""The parameters of the simulated cells as a module: one `GroupedParameter` per NEST parameter.

V_th and V_reset are held relative to E_L, as the model uses them; V_th - E_L is positive. E_L is
only the zero of the voltage and t_ref counts whole steps, so neither has a gradient and neither can
be trained.
"""

from collections.abc import Collection, Mapping
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from v1builder.load.coordinates import group_means
from v1builder.load.groups import LEVELS, Groups, group_cells
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
from v1builder.schema.parameters import (
    GLIF_UNITS,
    PARAMETERS,
    RECEPTOR_UNITS,
    THRESHOLD_PARAMETERS,
    Parameter,
)


def _bounds(parameter: Parameter) -> Bounds:
    if parameter.name == "asc_r":
        # 1 in every published GLIF model: the middle of this interval, so that it can move both ways. As
        # asc_r - 1 it is the r_j of GLIFR, which is trained in (-1, 1): see `model.glifr`.
        return Bounds("interval", 0, 2)
    return FREE if parameter.range == "any" else POSITIVE


#: Ranges of the parameters of cells and their ports, within which they are trained.
BOUNDS: Final[dict[str, Bounds]] = {
    name: _bounds(PARAMETERS[name])
    for name in (*GLIF_UNITS, *RECEPTOR_UNITS)
    if name not in ("E_L", "psc_shape")
}

CELL_PARAMETERS: Final[tuple[str, ...]] = tuple(BOUNDS)
TRAINABLE_CELL_PARAMETERS: Final = tuple(n for n in BOUNDS if PARAMETERS[n].trainable)


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
    for name, bounds in BOUNDS.items():
        rows, labels = relative_rows(network, name), table_of(network, name).labels
        zero_allowed = PARAMETERS[name].range == "not negative"
        shown = f"{name} - E_L" if name in ("V_th", "V_reset") else name
        for row, label in zip(rows, labels, strict=True):
            fault = bounds.problem(np.atleast_1d(row), zero_allowed)
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


def _averaged(network: Network, level: str) -> tuple[Groups, dict[str, NDArray[np.float64]]]:
    """The groups of a level and, by parameter, the values of their mean cells, [n_groups, ...]."""
    groups = group_cells(network.cells, level)
    means = group_means(network.membrane, groups)
    for name in ("V_th", "V_reset"):
        means[name] = means[name] - means["E_L"]
    for name, rows in network.receptors.values.items():
        per_cell = rows[network.receptors.group_of]
        log = PARAMETERS[name].mean == "log"
        means[name] = group_mean(per_cell, groups.of_cell, len(groups), log)
    return groups, means


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
            bounds: ranges by parameter name where they are narrower than those of `BOUNDS`.
        """
        super().__init__()
        averaged = {
            grouping: _averaged(network, grouping)
            for grouping in sorted({*group_by.values()} & {*LEVELS} - {"cell_model"})
        }
        for name, kind in BOUNDS.items():
            table, values = table_of(network, name), relative_rows(network, name)
            grouping = group_by.get(name, "cell_model")
            group_of, labels = table.group_of, table.labels
            if grouping != "cell_model":
                groups, means = averaged[grouping]
                group_of, labels, values = groups.of_cell, groups.labels, means[name]
            parameter = GroupedParameter(
                values,
                group_of,
                (bounds or {}).get(name, kind),
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
            **{name: getattr(self, name)() for name in BOUNDS if name not in THRESHOLD_PARAMETERS},
            threshold=threshold,
            psc_shape=self.psc_shape,
        )
