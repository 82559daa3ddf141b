"""Every published GLIF cell at every level: parameters for us and for NEST, from the same table."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.curate import read_store
from v1builder.load.network import EdgePopulation, GroupedValues, Network, NodePopulation

LEVELS = (1, 2, 3, 4, 5)
_COLUMNS = {
    "C_m": "C_m_pF",
    "g": "g_nS",
    "E_L": "E_L_mV",
    "V_th": "V_th_mV",
    "V_reset": "V_reset_mV",
    "t_ref": "t_ref_ms",
}


def glif_models(level: int) -> pd.DataFrame:
    """The rows of the table of published GLIF models that have a level."""
    models = read_store().glif_models
    return models.loc[models["glif_level"] == level].reset_index(drop=True)


def membrane(models: pd.DataFrame, group_of: NDArray[Any] | None = None) -> GroupedValues:
    """Parameters of the models (rows may differ in level) as the model takes them.

    A mechanism a level lacks has 0. The reset of levels 2, 4 and 5 is
    U <- v_reset_fraction U + v_reset_add, so their V_reset is E_L + v_reset_add.

    Args:
        models: rows of the table.
        group_of: [n] row of every cell; one cell per row unless given.
    """
    values = {name: models[column].to_numpy(float) for name, column in _COLUMNS.items()}
    asc = models["glif_level"].to_numpy() >= 3
    resets = np.isin(models["glif_level"].to_numpy(), (2, 4, 5))
    adapts = models["glif_level"].to_numpy() == 5

    def pair(name: str, unit: str, otherwise: float) -> NDArray[np.float64]:
        both = models[[f"{name}_0{unit}", f"{name}_1{unit}"]].to_numpy(float)
        return np.where(asc[:, None], both, otherwise)

    def where(mask: NDArray[np.bool_], column: str) -> NDArray[np.float64]:
        return np.where(mask, models[column].to_numpy(float), 0.0)

    values["asc_amps"] = pair("asc_amp", "_pA", 0.0)
    values["asc_decay"] = 1 / pair("asc_tau", "_ms", 1.0)
    values["asc_r"] = pair("asc_r", "", 1.0)
    values["th_spike_add"] = where(resets, "th_spike_add_mV")
    values["th_spike_decay"] = where(resets, "th_spike_decay_per_s") / 1000
    values["voltage_reset_fraction"] = where(resets, "v_reset_fraction")
    values["th_voltage_index"] = where(adapts, "th_voltage_index_per_s") / 1000
    values["th_voltage_decay"] = where(adapts, "th_voltage_decay_per_s") / 1000
    add = values["E_L"] + models["v_reset_add_mV"].to_numpy(float)
    values["V_reset"] = np.where(resets, add, values["V_reset"])
    names = zip(models["specimen_id"], models["glif_level"], strict=True)
    labels = tuple(f"{specimen} GLIF{level}" for specimen, level in names)
    rows = np.arange(len(models)) if group_of is None else np.asarray(group_of, dtype=np.int64)
    return GroupedValues(values, rows, labels)


def nest_parameters(row: Any) -> dict[str, Any]:
    """One row of the table (a named tuple) as parameters of NEST's GLIF cells, synapses aside."""
    level = row.glif_level
    parameters = {name: float(getattr(row, column)) for name, column in _COLUMNS.items()}
    parameters |= {
        "V_m": parameters["E_L"],
        "spike_dependent_threshold": level in (2, 4, 5),
        "after_spike_currents": level >= 3,
        "adapting_threshold": level == 5,
    }
    if level >= 3:
        parameters |= {
            "asc_init": [0.0, 0.0],
            "asc_amps": [row.asc_amp_0_pA, row.asc_amp_1_pA],
            "asc_decay": [1 / row.asc_tau_0_ms, 1 / row.asc_tau_1_ms],
            "asc_r": [float(row.asc_r_0), float(row.asc_r_1)],
        }
    if level in (2, 4, 5):
        parameters |= {
            "th_spike_add": row.th_spike_add_mV,
            "th_spike_decay": row.th_spike_decay_per_s / 1000,
            "voltage_reset_fraction": row.v_reset_fraction,
            "voltage_reset_add": row.v_reset_add_mV,
        }
    if level == 5:
        parameters |= {
            "th_voltage_index": row.th_voltage_index_per_s / 1000,
            "th_voltage_decay": row.th_voltage_decay_per_s / 1000,
        }
    return parameters


def rheobase(cells: GroupedValues) -> NDArray[np.float64]:
    """[n] pA, the constant current that just reaches the resting threshold: g (V_th - E_L)."""
    return cells.per_cell("g") * (cells.per_cell("V_th") - cells.per_cell("E_L"))


def node_population(name: str, n: int, **attributes: Any) -> NodePopulation:
    """A node population without a types table."""
    kind = "virtual" if name != "v1" else "point_neuron"
    columns = {"model_type": np.full(n, kind), **attributes}
    return NodePopulation(name, np.arange(n), np.zeros(n, np.int64), columns, pd.DataFrame())


def edge_population(source: str, arrays: dict[str, NDArray[Any]], **more: Any) -> EdgePopulation:
    """Edges from `source` to v1; arrays: source, target, weight, delay, receptor (from 0)."""
    n = len(arrays["weight"])
    return EdgePopulation(
        name=f"{source}_to_v1",
        source=source,
        target="v1",
        source_index=arrays["source"].astype(np.int32),
        target_index=arrays["target"].astype(np.int32),
        edge_type_id=np.zeros(n, np.int64),
        weight=arrays["weight"].astype(np.float64),
        nsyns=np.ones(n, np.int32),
        delay=arrays["delay"].astype(np.float32),
        receptor=arrays["receptor"].astype(np.int16),
        types=pd.DataFrame(),
        **more,
    )


def network(
    cells: GroupedValues,
    receptors: GroupedValues,
    recurrent: dict[str, NDArray[Any]],
    inputs: dict[str, NDArray[Any]],
    n_input: int,
) -> Network:
    """A network of `cells` with edges among them and from the population "lgn"."""
    n = len(cells.group_of)
    return Network(
        nodes={"v1": node_population("v1", n), "lgn": node_population("lgn", n_input)},
        edges={
            "v1_to_v1": edge_population("v1", recurrent),
            "lgn_to_v1": edge_population("lgn", inputs),
        },
        simulated="v1",
        membrane=cells,
        receptors=receptors,
        bias_current=np.zeros(n),
    )
