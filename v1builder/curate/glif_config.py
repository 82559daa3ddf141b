"""Parameters of a published GLIF model, from SI units and fit coefficients to model units: one table.

A `neuron_config.json` of the Allen Cell Types Database holds a model as it was fitted: values in V, A,
F, Ohm and s, factors of the fit in `coeffs`, and rules with parameters of their own. `TERMS` says, per
column of table glif_models, what that means; nothing else converts. Voltages in a configuration are
relative to `El_reference` (Teeter et al. 2018, Nat. Commun. 9:709; the model's own code multiplies
th_inf, C, G, asc_amp_array, a and b by their coefficients).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

#: Template of the model in the database -> level (names of the templates: LIF, LIF-R, LIF-ASC,
#: LIF-R-ASC, LIF-R-ASC-A).
LEVEL_OF_TEMPLATE = {395310469: 1, 395310479: 2, 395310475: 3, 471355161: 4, 395310498: 5}
#: Rules that make a level: after-spike currents, reset of the voltage, a threshold that follows it.
_MECHANISMS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (True, False, False),
    4: (True, True, False),
    5: (True, True, True),
}
_ALL = (1, 2, 3, 4, 5)
_CURRENTS = (3, 4, 5)
_RESETS = (2, 4, 5)
_FOLLOWS = (5,)

Config = Mapping[str, Any]


@dataclass(frozen=True)
class ConfigColumn:
    """One column.

    Attributes:
        column: of table glif_models; ends in the unit.
        scale: from the SI unit of `formula` to the column's unit.
        formula: value in SI units.
        levels: that have it.
    """

    column: str
    scale: float
    formula: Callable[[Config], float]
    levels: tuple[int, ...] = _ALL


def _factor(config: Config, name: str) -> float:
    return config["coeffs"].get(name, 1.0)


def _asc_amp(k: int) -> Callable[[Config], float]:
    return lambda c: c["asc_amp_array"][k] * c["coeffs"]["asc_amp_array"][k]


def _asc_tau(k: int) -> Callable[[Config], float]:
    return lambda c: c["asc_tau_array"][k]


def _asc_r(k: int) -> Callable[[Config], float]:
    return lambda c: c["AScurrent_reset_method"]["params"]["r"][k]


def _threshold(name: str) -> Callable[[Config], float]:
    return lambda c: c["threshold_dynamics_method"]["params"][name]


def _reset(name: str) -> Callable[[Config], float]:
    return lambda c: c["voltage_reset_method"]["params"][name]


_MILLI, _NANO, _PICO, _SAME = 1e3, 1e9, 1e12, 1.0  # V to mV, S to nS, A to pA, F to pF

TERMS = (
    ConfigColumn("E_L_mV", _MILLI, lambda c: c["El_reference"] + c["El"]),
    ConfigColumn("C_m_pF", _PICO, lambda c: c["C"] * _factor(c, "C")),
    ConfigColumn("g_nS", _NANO, lambda c: _factor(c, "G") / c["R_input"]),
    ConfigColumn(
        "V_th_mV", _MILLI, lambda c: c["El_reference"] + _factor(c, "th_inf") * c["th_inf"]
    ),
    ConfigColumn("V_reset_mV", _MILLI, lambda c: c["El_reference"]),
    ConfigColumn("t_ref_ms", _MILLI, lambda c: c["spike_cut_length"] * c["dt"]),
    ConfigColumn("asc_amp_0_pA", _PICO, _asc_amp(0), _CURRENTS),
    ConfigColumn("asc_amp_1_pA", _PICO, _asc_amp(1), _CURRENTS),
    ConfigColumn("asc_tau_0_ms", _MILLI, _asc_tau(0), _CURRENTS),
    ConfigColumn("asc_tau_1_ms", _MILLI, _asc_tau(1), _CURRENTS),
    ConfigColumn("asc_r_0", _SAME, _asc_r(0), _CURRENTS),
    ConfigColumn("asc_r_1", _SAME, _asc_r(1), _CURRENTS),
    ConfigColumn("th_spike_add_mV", _MILLI, _threshold("a_spike"), _RESETS),
    ConfigColumn("th_spike_decay_per_s", _SAME, _threshold("b_spike"), _RESETS),
    ConfigColumn("v_reset_fraction", _SAME, _reset("a"), _RESETS),
    ConfigColumn("v_reset_add_mV", _MILLI, _reset("b"), _RESETS),
    ConfigColumn(
        "th_voltage_index_per_s",
        _SAME,
        lambda c: _threshold("a_voltage")(c) * _factor(c, "a"),
        _FOLLOWS,
    ),
    ConfigColumn(
        "th_voltage_decay_per_s",
        _SAME,
        lambda c: _threshold("b_voltage")(c) * _factor(c, "b"),
        _FOLLOWS,
    ),
)


def convert_config(config: Config, level: int) -> dict[str, float | None]:
    """The columns of table glif_models that a configuration determines.

    Args:
        config: parsed `neuron_config.json`.
        level: GLIF level, 1 to 5.

    Returns:
        Value by column, None where the level has no such term.

    Raises:
        ValueError: saying which value is missing or not a finite number, or which mechanism does not
            fit the level.
    """
    _check_mechanisms(config, level)
    row: dict[str, float | None] = {}
    for term in TERMS:
        if level not in term.levels:
            row[term.column] = None
            continue
        try:
            value = float(term.formula(config)) * term.scale
        except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError) as error:
            raise ValueError(f"no {term.column}: {type(error).__name__} {error}") from None
        if not math.isfinite(value):
            raise ValueError(f"{term.column} is {value}")
        row[term.column] = value
    return row


def _check_mechanisms(config: Config, level: int) -> None:
    """A model under the wrong level would silently lose or gain a mechanism."""
    try:
        currents = config["AScurrent_dynamics_method"]["name"] != "none"
        resets = config["voltage_reset_method"]["name"] != "zero"
        rule = config["threshold_dynamics_method"]
        params = rule.get("params") or {}
        # At level 5 a fitted zero is possible; that the value is there is seen when it is read.
        follows = level == 5 or bool(params.get("a_voltage"))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no rules of the model: {type(error).__name__} {error}") from None
    names = ("after-spike currents", "a reset rule", "a threshold that follows the voltage")
    for name, has, should in zip(
        names, (currents, resets, follows), _MECHANISMS[level], strict=True
    ):
        if has != should:
            verb = "has" if has else "lacks"
            raise ValueError(f"the model {verb} {name}, unlike level {level}")
