"""What the server serves: cells and GLIF models in the service's form, made from tables of the snapshot.

The form of a configuration follows Teeter et al. 2018 and the documentation of the database. Fitted
values are split into a value and a coefficient, so that a conversion that forgets one shows.
"""

import json
from typing import Any

import numpy as np
import pandas as pd
from allen_server import AllenServer

from v1builder.curate import Store

TEMPLATE_OF_LEVEL = {1: 395310469, 2: 395310479, 3: 395310475, 4: 471355161, 5: 395310498}
NAME_OF_LEVEL = {1: "LIF", 2: "LIF-R", 3: "LIF-ASC", 4: "LIF-R-ASC", 5: "LIF-R-ASC-A"}


def config_of(row: dict[str, Any]) -> dict[str, Any]:
    """neuron_config.json of a row of table glif_models, in SI units with coefficients."""
    level = row["glif_level"]
    currents, resets, follows = level >= 3, level in (2, 4, 5), level == 5
    reference = row["V_reset_mV"] * 1e-3
    dynamics: dict[str, Any] = {"name": "inf", "params": {}}
    threshold_reset: dict[str, Any] = {"name": "inf", "params": {}}
    voltage_reset: dict[str, Any] = {"name": "zero", "params": {}}
    if resets:
        spike = {"a_spike": row["th_spike_add_mV"] * 1e-3, "b_spike": row["th_spike_decay_per_s"]}
        dynamics = {"name": "spike_component", "params": spike | {"a_voltage": None}}
        threshold_reset = {"name": "three_components", "params": spike}
        voltage_reset = {
            "name": "v_before",
            "params": {"a": row["v_reset_fraction"], "b": row["v_reset_add_mV"] * 1e-3},
        }
        if follows:
            voltage = {
                "a_voltage": row["th_voltage_index_per_s"] / 1.5,
                "b_voltage": row["th_voltage_decay_per_s"] / 0.5,
            }
            dynamics = {"name": "three_components_exact", "params": spike | voltage}
    amps = [row["asc_amp_0_pA"], row["asc_amp_1_pA"]] if currents else [0.0, 0.0]
    taus = [row["asc_tau_0_ms"], row["asc_tau_1_ms"]] if currents else [10.0, 100.0]
    factors = {"a": 1.5, "b": 0.5, "C": 1.25, "G": 0.8, "th_inf": 1.1, "asc_amp_array": [2.0, 0.25]}
    return {
        "type": "GLIF",
        "El": row["E_L_mV"] * 1e-3 - reference,
        "El_reference": reference,
        "C": row["C_m_pF"] * 1e-12 / factors["C"],
        "R_input": factors["G"] / (row["g_nS"] * 1e-9),
        "th_inf": (row["V_th_mV"] * 1e-3 - reference) / factors["th_inf"],
        "th_adapt": None,
        "dt": 5e-05,
        "spike_cut_length": round(row["t_ref_ms"] / 0.05),
        "asc_amp_array": [amps[0] * 1e-12 / 2.0, amps[1] * 1e-12 / 0.25],
        "asc_tau_array": [tau * 1e-3 for tau in taus],
        "coeffs": factors,
        "AScurrent_dynamics_method": {"name": "exp" if currents else "none", "params": {}},
        "AScurrent_reset_method": {
            "name": "sum" if currents else "none",
            "params": {"r": [row["asc_r_0"], row["asc_r_1"]]} if currents else {},
        },
        "voltage_dynamics_method": {"name": "linear_forward_euler", "params": {}},
        "voltage_reset_method": voltage_reset,
        "threshold_dynamics_method": dynamics,
        "threshold_reset_method": threshold_reset,
        "init_voltage": 0.0,
        "init_threshold": 0.03,
        "init_AScurrents": [0.0, 0.0],
    }


def _plain(value: Any) -> Any:
    """For JSON: None for what is missing, Python's numbers for numpy's."""
    if value is None or value != value:
        return None
    return value.item() if isinstance(value, np.generic) else value


def add_specimen(server: AllenServer, cell: dict[str, Any], models: pd.DataFrame) -> None:
    """Serve a row of table specimens with its rows of table glif_models."""
    specimen_id = int(cell["specimen_id"])
    server.cells.append(
        {
            "specimen__id": specimen_id,
            "specimen__name": f"{cell['transgenic_line']};Ai14-{specimen_id}",
            "donor__species": "Mus musculus",
            "line_name": cell["transgenic_line"],
            "structure_parent__acronym": cell["area"],
            "structure__layer": cell["layer"],
            "tag__dendrite_type": cell["dendrite_type"],
            "tag__apical": _plain(cell["apical_dendrite"]) or "NA",
            "cell_reporter_status": cell["reporter_status"],
            "csl__normalized_depth": _plain(cell["normalized_depth"]),
            "m__glif": len(models),
        }
    )
    server.features.append(
        {
            "id": specimen_id + 1,
            "specimen_id": specimen_id,
            "threshold_i_long_square": _plain(cell["rheobase_pA"]),
            "f_i_curve_slope": _plain(cell["f_i_slope_Hz_per_pA"]),
            "tau": _plain(cell["tau_ms"]),
            "ri": _plain(cell["input_resistance_MOhm"]),
            "vrest": _plain(cell["v_rest_mV"]),
            "adaptation": _plain(cell["adaptation_index"]),
            "avg_isi": _plain(cell["mean_isi_ms"]),
            "upstroke_downstroke_ratio_long_square": _plain(cell["upstroke_downstroke_ratio"]),
        }
    )
    served = []
    for row in models.to_dict("records"):
        row = {key: _plain(value) for key, value in row.items()}
        level = row["glif_level"]
        model_id = specimen_id * 10 + level
        link = f"/api/v2/well_known_file_download/{model_id}"
        config_file = {
            "id": model_id,
            "download_link": link,
            "path": f"/external/prod/{model_id}_neuron_config.json",
        }
        template = {"id": TEMPLATE_OF_LEVEL[level], "name": f"({NAME_OF_LEVEL[level]})"}
        served.append(
            {
                "id": model_id,
                "specimen_id": specimen_id,
                "name": f"({level}{NAME_OF_LEVEL[level]})_{row['cre_line']};Ai14-{specimen_id}",
                "neuronal_model_template_id": template["id"],
                "neuronal_model_template": template,
                "neuronal_model_runs": [
                    {
                        "id": model_id + 5,
                        "explained_variance_ratio": row["explained_variance_noise2"],
                        "well_known_files": [],
                    }
                ],
                "well_known_files": [config_file],
            }
        )
        kind = {"id": 1, "name": "NeuronalModelParameters"}
        server.models[model_id] = {
            "id": model_id,
            "well_known_files": [config_file | {"well_known_file_type": kind}],
        }
        server.configs[model_id] = json.dumps(config_of(row)).encode()
    # Models of other kinds come without a template, as the query's condition is on the template.
    served.append({"id": specimen_id * 10, "neuronal_model_template": None, "well_known_files": []})
    server.specimens[specimen_id] = {"id": specimen_id, "neuronal_models": served}


def fill(server: AllenServer, store: Store, specimens: list[int]) -> None:
    """Serve some specimens of the snapshot, all their levels, and a human cell."""
    cells = store.specimens.set_index("specimen_id", drop=False)
    for specimen_id in specimens:
        models = store.glif_models[store.glif_models["specimen_id"] == specimen_id]
        add_specimen(server, dict(cells.loc[specimen_id]), models)
    server.cells.append({"specimen__id": 1, "donor__species": "Homo Sapiens"})
