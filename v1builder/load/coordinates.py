"""Cells as points: GLIF parameters to a matrix in which means and differences make sense, and back.

theta = (log tau_m, log g, log(V_th - E_L), (V_reset - E_L)/(V_th - E_L), t_ref, log k, q, r, what moves the
         threshold, E_L)

tau_m = C_m/g, so that time scale and conductance can be changed one at a time. k are the rates, q = a/k the
charges (pA ms per spike) and r the reset fractions of the after-spike currents. Fast currents have large
amplitudes a: with a and k averaged apart the mean cell would adapt several times too much, with q the
charge of a mean cell is the mean charge. The reset is a part of the distance to threshold, so that a cell
whose threshold is averaged still resets below it. What moves the threshold of GLIF levels 2, 4 and 5, and
their reset, is linear, because cells without it have zeros. Positive, skewed quantities are averaged as
logarithms, the others linearly (`schema.parameters`). E_L has no influence on the spikes (synapses inject
currents, so a cell only knows voltages relative to E_L); it is carried along linearly and V_th and V_reset
follow it.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from v1builder.load.groups import Groups
from v1builder.load.network import GroupedValues
from v1builder.schema.errors import NetworkError, Problem, raise_if_any
from v1builder.schema.parameters import GLIF_UNITS, PARAMETERS, THRESHOLD_PARAMETERS

Matrix = NDArray[np.float64]
Values = dict[str, NDArray[np.float64]]

#: Coordinates of a cell and of each of its after-spike currents, and whether they are logarithms.
_OF_CELL: Final[dict[str, bool]] = {
    "tau_m": True,
    "g": True,
    "V_th": True,
    "V_reset": False,
    "t_ref": False,
    **dict.fromkeys(THRESHOLD_PARAMETERS, False),
    "E_L": False,
}
_OF_CURRENT: Final[dict[str, bool]] = {"asc_rate": True, "asc_charge": False, "asc_r": False}
#: The coordinates that stand for a parameter of another name.
_STANDS_FOR: Final = {"C_m": "tau_m", "asc_decay": "asc_rate", "asc_amps": "asc_charge"}

#: Background weight / rheobase: a coordinate of cells that receive a background, see `load.carrying`.
BACKGROUND: Final = "background"

#: Smallest refractory period, ms, of an averaged or extrapolated cell; simulators refuse 0.
T_REF_MIN: Final = 0.1
#: Smallest (V_th - V_reset)/(V_th - E_L) of such a cell; simulators refuse 0.
RESET_GAP_MIN: Final = 0.01
_ROUNDING: Final = 1e-9


def _aspects() -> dict[str, tuple[str, ...]]:
    aspects: dict[str, tuple[str, ...]] = {}
    for name in GLIF_UNITS:
        aspect = PARAMETERS[name].aspect
        if aspect is not None:
            aspects[aspect] = (*aspects.get(aspect, ()), _STANDS_FOR.get(name, name))
    return aspects | {BACKGROUND: (BACKGROUND,)}


#: Coordinates that belong together when one aspect of a cell is ablated.
ASPECTS: Final[dict[str, tuple[str, ...]]] = _aspects()


@dataclass(frozen=True)
class Space:
    """The columns of a theta matrix.

    Attributes:
        columns: [p] (coordinate, index of the after-spike current, or 0).
    """

    columns: tuple[tuple[str, int], ...]

    def of(self, coordinates: tuple[str, ...]) -> NDArray[np.bool_]:
        """[p] True for the columns of these coordinates."""
        return np.array([name in coordinates for name, _ in self.columns])

    @property
    def dynamics(self) -> NDArray[np.bool_]:
        """[p] True for the columns that shape spikes: all but E_L."""
        return ~self.of(("E_L",))

    @property
    def logarithmic(self) -> NDArray[np.bool_]:
        """[p] True for the columns that are logarithms."""
        logs = [name for name, log in (_OF_CELL | _OF_CURRENT).items() if log]
        return self.of(tuple(logs))

    def with_background(self) -> "Space":
        """The space with the background's column at the end."""
        return Space((*self.columns, (BACKGROUND, 0)))


def require_glif(membrane: GroupedValues) -> None:
    """Refuse cells of another neuron, which have no such coordinates.

    Raises:
        NetworkError: the parameters are not those of GLIF cells.
    """
    names = set(membrane.values)
    missing = set(GLIF_UNITS) - names
    if missing and names - set(GLIF_UNITS):
        raise NetworkError.of(
            "the cells are not GLIF cells, whose parameters this works on",
            "network membrane",
            ", ".join(membrane.values),
            "other neurons can be simulated and trained, and their wiring and plasticity ablated",
        )


def to_theta(membrane: GroupedValues) -> tuple[Matrix, Space]:
    """The rows of `membrane` as points, [n_groups, p].

    Raises:
        NetworkError: a parameter is missing, has no rule here, or lies outside its range.
    """
    require_glif(membrane)
    values = membrane.values
    problems = [
        Problem("a membrane parameter is missing", "network membrane", name)
        for name in GLIF_UNITS
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
        if name not in GLIF_UNITS
    ]
    raise_if_any(problems, NetworkError)
    distance = values["V_th"] - values["E_L"]
    for name in ("C_m", "g", "V_th", "asc_decay"):
        column = distance if name == "V_th" else values[name]
        _require_positive(column, name, membrane.labels)
    point: Values = {name: values[name] for name in _OF_CELL if name in values}
    point |= {
        "tau_m": values["C_m"] / values["g"],
        "V_th": distance,
        "V_reset": (values["V_reset"] - values["E_L"]) / distance,
        "asc_rate": values["asc_decay"],
        "asc_charge": values["asc_amps"] / values["asc_decay"],
        "asc_r": values["asc_r"],
    }
    n_currents = values["asc_amps"].shape[1]
    columns = [(name, 0) for name in _OF_CELL]
    columns += [(name, j) for name in _OF_CURRENT for j in range(n_currents)]
    space = Space(tuple(columns))
    of = [point[name] if name in _OF_CELL else point[name][:, j] for name, j in columns]
    theta = np.stack(of, axis=1) if len(membrane.labels) else np.empty((0, len(columns)))
    theta[:, space.logarithmic] = np.log(theta[:, space.logarithmic])
    return theta, space


def _require_positive(column: Matrix, name: str, labels: tuple[str, ...]) -> None:
    wrong = np.flatnonzero(~(column > 0).reshape(len(labels), -1).all(axis=1))
    if len(wrong):
        shown = "V_th - E_L" if name == "V_th" else name
        raise NetworkError.of(
            f"{shown} must be positive",
            f"network membrane, group {labels[wrong[0]]}",
            f"{column[wrong[0]]} ({len(wrong)} groups in all)",
            "correct the cell model",
        )


def from_theta(theta: Matrix, space: Space) -> tuple[Values, dict[str, NDArray[np.bool_]]]:
    """GLIF parameters of points, and which rows had to be brought back into the physical range.

    Extrapolation (dose above 1) and independent resampling can leave that range in the linear coordinates:
    t_ref <= 0 becomes `T_REF_MIN`, a reset at or above the threshold is put `RESET_GAP_MIN` of V_th - E_L
    below it where no spike raises the threshold, r is brought into [0, 1], and negative rates become 0.

    Returns:
        values: [n] or [n, number of after-spike currents] by parameter.
        clipped: [n] by coordinate, True where the value was changed; only coordinates with any.
    """
    point: Values = {}
    for name, log in (_OF_CELL | _OF_CURRENT).items():
        block = theta[:, space.of((name,))]
        block = np.exp(block) if log else block.copy()
        point[name] = block[:, 0] if name in _OF_CELL else block
    t_ref, reset = point["t_ref"], point["V_reset"]
    moves = (point["voltage_reset_fraction"] != 0) | (point["th_spike_add"] != 0)
    limited = {
        "t_ref": np.where(t_ref > 0, t_ref, T_REF_MIN),
        "V_reset": np.where((reset < 1) | moves, reset, 1 - RESET_GAP_MIN),
        "asc_r": np.clip(point["asc_r"], 0.0, 1.0),
        "th_spike_decay": point["th_spike_decay"].clip(min=0),
        "th_voltage_decay": point["th_voltage_decay"].clip(min=0),
    }
    clipped = {}
    for name, within in limited.items():
        changed = ~np.isclose(within, point[name], rtol=0, atol=_ROUNDING)
        point[name] = within
        if changed.any():
            clipped[name] = changed.reshape(len(theta), -1).any(axis=1)
    E_L = point["E_L"]
    values = {name: point[name] for name in _OF_CELL if name != "tau_m"} | {
        "C_m": point["tau_m"] * point["g"],
        "V_th": point["V_th"] + E_L,
        "V_reset": point["V_reset"] * point["V_th"] + E_L,
        "asc_decay": point["asc_rate"],
        "asc_amps": point["asc_charge"] * point["asc_rate"],
        "asc_r": point["asc_r"],
    }
    return {name: values[name] for name in GLIF_UNITS}, clipped


def group_means(membrane: GroupedValues, groups: Groups) -> Values:
    """GLIF parameters of the mean cell of every group, every cell counting once.

    Returns:
        [n_groups] or [n_groups, number of after-spike currents] by parameter.
    """
    theta, space = to_theta(membrane)
    sums = np.zeros((len(groups), theta.shape[1]))
    np.add.at(sums, groups.of_cell, theta[membrane.group_of])
    return from_theta(sums / groups.sizes[:, None], space)[0]


def rheobase(membrane: GroupedValues) -> NDArray[np.float64]:
    """[n_rows] pA, g (V_th - E_L): the constant current that just reaches the resting threshold.

    Raises:
        NetworkError: the cells are not GLIF cells.
    """
    require_glif(membrane)
    values = membrane.values
    return values["g"] * (values["V_th"] - values["E_L"])
