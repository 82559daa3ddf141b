"""The conversion of published GLIF models, by the definitions in SI units and for every level."""

import copy
import math
from typing import Any

import pytest
from allen_world import config_of

from v1builder.curate import Store, read_store
from v1builder.curate.glif_config import TERMS, convert_config

#: Made up, with numbers that no two quantities share; what it must give is computed by hand below.
CONFIG: dict[str, Any] = {
    "El": 0.002,
    "El_reference": -0.070,
    "C": 8.0e-11,
    "R_input": 2.5e8,
    "th_inf": 0.025,
    "dt": 5e-05,
    "spike_cut_length": 43,
    "asc_amp_array": [-4.0e-11, 1.5e-10],
    "asc_tau_array": [0.01, 0.1],
    "coeffs": {
        "C": 1.25,
        "G": 0.8,
        "th_inf": 1.2,
        "asc_amp_array": [2.0, 0.5],
        "a": 3.0,
        "b": 0.25,
    },
    "AScurrent_dynamics_method": {"name": "exp", "params": {}},
    "AScurrent_reset_method": {"name": "sum", "params": {"r": [1.0, 0.9]}},
    "voltage_reset_method": {"name": "v_before", "params": {"a": 0.35, "b": 0.006}},
    "threshold_dynamics_method": {
        "name": "three_components_exact",
        "params": {"a_spike": 0.003, "b_spike": 170.0, "a_voltage": 4.0, "b_voltage": 20.0},
    },
    "threshold_reset_method": {"name": "three_components", "params": {"a_spike": 0.003}},
}
#: E_L = El_ref + El; V_th = El_ref + coeff th_inf; V_reset = El_ref; C_m = coeff C; g = coeff / R_input;
#: t_ref = spike_cut_length dt; asc_amp = coeff amp; rules as they are; a_voltage, b_voltage with coeffs.
MEMBRANE = {
    "E_L_mV": -68.0,
    "C_m_pF": 100.0,
    "g_nS": 3.2,
    "V_th_mV": -40.0,
    "V_reset_mV": -70.0,
    "t_ref_ms": 2.15,
}
CURRENTS = {
    "asc_amp_0_pA": -80.0,
    "asc_amp_1_pA": 75.0,
    "asc_tau_0_ms": 10.0,
    "asc_tau_1_ms": 100.0,
    "asc_r_0": 1.0,
    "asc_r_1": 0.9,
}
RESETS = {
    "th_spike_add_mV": 3.0,
    "th_spike_decay_per_s": 170.0,
    "v_reset_fraction": 0.35,
    "v_reset_add_mV": 6.0,
}
FOLLOWS = {"th_voltage_index_per_s": 12.0, "th_voltage_decay_per_s": 5.0}
OF_LEVEL = {
    1: MEMBRANE,
    2: MEMBRANE | RESETS,
    3: MEMBRANE | CURRENTS,
    4: MEMBRANE | CURRENTS | RESETS,
    5: MEMBRANE | CURRENTS | RESETS | FOLLOWS,
}


def of_level(level: int) -> dict[str, Any]:
    config = copy.deepcopy(CONFIG)
    if level not in (3, 4, 5):
        config["AScurrent_dynamics_method"] = {"name": "none", "params": {}}
        config["AScurrent_reset_method"] = {"name": "none", "params": {}}
    if level not in (2, 4, 5):
        config["voltage_reset_method"] = {"name": "zero", "params": {}}
    if level != 5:
        name = "inf" if level in (1, 3) else "spike_component"
        params = {} if level in (1, 3) else {"a_spike": 0.003, "b_spike": 170.0}
        config["threshold_dynamics_method"] = {"name": name, "params": params}
    return config


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_every_column_of_every_level(level: int) -> None:
    row = convert_config(of_level(level), level)
    assert set(row) == {term.column for term in TERMS}
    for column, value in row.items():
        expected = OF_LEVEL[level].get(column)
        assert value == (None if expected is None else pytest.approx(expected, rel=1e-12)), column


def test_raw_file_of_specimen_485058595() -> None:
    """GLIF3 model 485904755 as the database publishes it; the snapshot has the row with 10 digits."""
    config = of_level(3) | {
        "El_reference": -0.06757196807861325,
        "El": 0.0,
        "C": 6.284547467674679e-11,
        "R_input": 397794211.8275731,
        "th_inf": 0.023176394165710303,
        "spike_cut_length": 43,
        "asc_amp_array": [-1.3749503110227912e-10, 4.725552702973892e-10],
        "asc_tau_array": [0.01, 0.0033333333333333335],
        "coeffs": {"th_inf": 1.2032700095813706, "C": 1, "G": 1, "asc_amp_array": [1.0, 1.0]},
        "AScurrent_reset_method": {"name": "sum", "params": {"r": [1.0, 1.0]}},
    }
    table = read_store().glif_models
    (row,) = table[(table["specimen_id"] == 485058595) & (table["glif_level"] == 3)].to_dict(
        "records"
    )
    for column, value in convert_config(config, 3).items():
        if value is not None:
            assert value == pytest.approx(row[column], rel=1e-9), column


@pytest.fixture(scope="module")
def store() -> Store:
    return read_store()


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_snapshot_survives_the_way_through_a_configuration(store: Store, level: int) -> None:
    """Formulas above used backwards, for the first rows of a level."""
    table = store.glif_models
    for row in table[table["glif_level"] == level].head(40).to_dict("records"):
        converted = convert_config(config_of(row), level)
        for column, value in converted.items():
            if value is None:
                assert math.isnan(row[column])
            else:
                assert value == pytest.approx(row[column], rel=1e-9, abs=1e-12), column


@pytest.mark.parametrize(
    ("level", "as_level", "expected"),
    [
        (1, 3, "lacks after-spike currents"),
        (3, 1, "has after-spike currents"),
        (3, 4, "lacks a reset rule"),
        (5, 4, "has a threshold that follows"),
        (4, 5, "no th_voltage_index_per_s"),
    ],
)
def test_model_under_the_wrong_level(level: int, as_level: int, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        convert_config(of_level(level), as_level)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("C",), None, "no C_m_pF"),
        (("R_input",), 0.0, "no g_nS"),
        (("th_inf",), "much", "no V_th_mV"),
        (("El",), float("nan"), "E_L_mV is nan"),
        (("asc_amp_array",), [1.0], "no asc_amp_1_pA"),
        (("voltage_reset_method", "params"), {}, "no v_reset_fraction"),
        (("AScurrent_dynamics_method",), None, "no rules of the model"),
    ],
)
def test_damaged_configuration(path: tuple[str, ...], value: Any, expected: str) -> None:
    config = of_level(5)
    part = config
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    with pytest.raises(ValueError, match=expected):
        convert_config(config, 5)
