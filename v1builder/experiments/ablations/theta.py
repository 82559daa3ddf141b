"""Cells as points: GLIF parameters to a matrix in which means and differences make sense, and back.

theta = (log C_m, log g, log(V_th - E_L), V_reset - E_L, t_ref, log k, a, r, what moves the threshold, E_L)

k are the rates, a the amplitudes and r the reset fractions of the after-spike currents. What moves the
threshold of GLIF levels 2, 4 and 5, and their reset, is linear, because cells without it have zeros.
Capacitances, conductances, distances to threshold and rates are positive and skewed, so they are
averaged as logarithms, which also keeps log tau = log C_m - log g consistent; the others linearly.
E_L itself has no influence on the spikes (synapses inject currents, so a cell only knows voltages
relative to E_L); it is carried along linearly and V_th and V_reset follow it.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from v1builder.load.network import GroupedValues
from v1builder.schema.errors import NetworkError, Problem, raise_if_any
from v1builder.schema.parameters import THRESHOLD_PARAMETERS

Matrix = NDArray[np.float64]
Values = dict[str, NDArray[np.float64]]

_LOGARITHMIC: Final = ("C_m", "g", "V_th", "asc_decay")
_FROM_REST: Final = ("V_th", "V_reset")
_SCALAR: Final = ("C_m", "g", "V_th", "V_reset", "t_ref", "E_L", *THRESHOLD_PARAMETERS)
_PER_CURRENT: Final = ("asc_decay", "asc_amps", "asc_r")

#: Smallest refractory period, ms, of an ablated cell; simulators refuse 0.
T_REF_MIN: Final = 0.1
#: Smallest V_th - V_reset, mV, of an ablated cell; simulators refuse 0.
RESET_GAP_MIN: Final = 0.1
_ROUNDING: Final = 1e-9

#: Parameters that belong together when one aspect of a cell is ablated.
ASPECTS: Final[dict[str, tuple[str, ...]]] = {
    "tau_m": ("C_m", "g"),
    "threshold": (
        "V_th",
        "th_spike_add",
        "th_spike_decay",
        "th_voltage_index",
        "th_voltage_decay",
    ),
    "reset": ("V_reset", "voltage_reset_fraction"),
    "t_ref": ("t_ref",),
    "asc_amps": ("asc_amps", "asc_r"),
    "asc_decay": ("asc_decay",),
}


@dataclass(frozen=True)
class Space:
    """The columns of a theta matrix.

    Attributes:
        columns: [p] (parameter, index of the after-spike current, or 0).
    """

    columns: tuple[tuple[str, int], ...]

    def of(self, parameters: tuple[str, ...]) -> NDArray[np.bool_]:
        """[p] True for the columns of these parameters."""
        return np.array([parameter in parameters for parameter, _ in self.columns])

    @property
    def dynamics(self) -> NDArray[np.bool_]:
        """[p] True for the columns that shape spikes: all but E_L."""
        return ~self.of(("E_L",))


def to_theta(membrane: GroupedValues) -> tuple[Matrix, Space]:
    """The rows of `membrane` as points, [n_groups, p].

    Raises:
        NetworkError: a parameter is missing, has no rule here, or lies outside its range.
    """
    values = membrane.values
    problems = [
        Problem("a membrane parameter is missing", "network membrane", name)
        for name in (*_SCALAR, *_PER_CURRENT)
        if name not in values
    ]
    problems += [
        Problem(
            f"ablations have no rule for the membrane parameter '{name}'",
            "network membrane",
            name,
            "ablate a network of GLIF cells",
        )
        for name in values
        if name not in (*_SCALAR, *_PER_CURRENT)
    ]
    raise_if_any(problems, NetworkError)
    columns: list[tuple[str, int]] = [(name, 0) for name in _SCALAR]
    columns += [(name, j) for name in _PER_CURRENT for j in range(values[name].shape[1])]
    theta = np.empty((len(membrane.labels), len(columns)))
    for at, (name, j) in enumerate(columns):
        column = values[name] if name in _SCALAR else values[name][:, j]
        if name in _FROM_REST:
            column = column - values["E_L"]
        if name in _LOGARITHMIC:
            _require_positive(column, name, membrane.labels)
            column = np.log(column)
        theta[:, at] = column
    return theta, Space(tuple(columns))


def _require_positive(column: Matrix, name: str, labels: tuple[str, ...]) -> None:
    wrong = np.flatnonzero(~(column > 0))
    if len(wrong):
        shown = "V_th - E_L" if name == "V_th" else name
        raise NetworkError.of(
            f"{shown} must be positive",
            f"network membrane, group {labels[wrong[0]]}",
            f"{column[wrong[0]]:g} ({len(wrong)} groups in all)",
            "correct the cell model",
        )


def from_theta(theta: Matrix, space: Space) -> tuple[Values, dict[str, NDArray[np.bool_]]]:
    """GLIF parameters of points, and which rows had to be brought back into the physical range.

    Extrapolation (dose above 1) and independent resampling can leave that range in the linear
    parameters: t_ref <= 0 becomes `T_REF_MIN`, V_reset >= V_th becomes V_th - `RESET_GAP_MIN` where no
    spike raises the threshold, r is brought into [0, 1], and negative rates become 0.

    Returns:
        values: [n] or [n, number of after-spike currents] by parameter.
        clipped: [n] by parameter, True where the value was changed; only parameters with any.
    """
    values: Values = {}
    for name in (*_SCALAR, *_PER_CURRENT):
        block = theta[:, space.of((name,))]
        block = np.exp(block) if name in _LOGARITHMIC else block.copy()
        values[name] = block[:, 0] if name in _SCALAR else block
    for name in _FROM_REST:
        values[name] = values[name] + values["E_L"]
    V_th, V_reset, t_ref = values["V_th"], values["V_reset"], values["t_ref"]
    moves = (values["voltage_reset_fraction"] != 0) | (values["th_spike_add"] != 0)
    limited = {
        "t_ref": np.where(t_ref > 0, t_ref, T_REF_MIN),
        "V_reset": np.where((V_reset < V_th) | moves, V_reset, V_th - RESET_GAP_MIN),
        "asc_r": np.clip(values["asc_r"], 0.0, 1.0),
        "th_spike_decay": values["th_spike_decay"].clip(min=0),
        "th_voltage_decay": values["th_voltage_decay"].clip(min=0),
    }
    clipped = {}
    for name, within in limited.items():
        changed = ~np.isclose(within, values[name], rtol=0, atol=_ROUNDING)
        values[name] = within
        if changed.any():
            clipped[name] = changed.reshape(len(theta), -1).any(axis=1)
    return values, clipped
