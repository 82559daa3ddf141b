"""Run published GLIF cells in allensdk and keep their spikes and voltages; a script.

Usage: python allensdk_traces.py glif_models.csv OUT.npz

allensdk is no dependency of this project. Its environment (Python 3.11):
    pip install allensdk==2.16.2 numpy==1.23.5 pandas==1.5.3 scipy==1.10.1

Every cell and level gets two stimuli, given in units of the cell's rheobase g (V_th - E_L), as pieces
of 5 ms: steps and noise. It runs at the 50 us of the published fits, and at half and a fifth of it,
so that what changes with the step can be told from what does not.

OUT holds: specimen [m], level [m] of each model; relative_current [2, pieces]; piece_ms; for every
step d of dt_us: steps_<d> [k] and model_<d> [k], stimulus_<d> [k], the time step of every spike (index
from 0; its end is (index + 1) dt), its model and stimulus; completed_<d> [m, 2] steps run, fewer than
asked for where allensdk stopped because a reset ended above the threshold; and at 50 us voltage and
threshold [m, 2, samples] in mV above E_L at the ends of the steps sample_step, NaN in the refractory
period.
"""

import sys

import numpy as np
import pandas as pd
from allensdk.model.glif.glif_neuron import GlifNeuron

N_SPECIMENS = 24
DURATION_MS, PIECE_MS, SAMPLE_MS = 1000.0, 5.0, 5.0
DT_US = (50.0, 25.0, 10.0)


def chosen_models(table):
    """Specimens that have all levels, spread over the table; a quarter with unusual reset rules."""
    levels = table.groupby("specimen_id")["glif_level"].nunique()
    complete = table[table["specimen_id"].isin(levels.index[levels == 5])]
    fraction = complete[complete["glif_level"] == 2].set_index("specimen_id")["v_reset_fraction"]
    unusual = fraction.index[(fraction < 0) | (fraction > 1)]  # which NEST refuses
    usual = fraction.index[(fraction >= 0) & (fraction <= 1)]
    chosen = []
    for group, n in ((usual, N_SPECIMENS * 3 // 4), (unusual, N_SPECIMENS // 4)):
        chosen += [group[i] for i in np.linspace(0, len(group) - 1, n).round().astype(int)]
    return complete[complete["specimen_id"].isin(chosen)].reset_index(drop=True)


def relative_currents():
    """[2, pieces] in units of rheobase: steps, and noise; at rest in the first pieces."""
    times = np.arange(0.0, DURATION_MS, PIECE_MS)
    steps = np.select(
        [times < 100, times < 500, times < 600, times < 700], [0.0, 1.5, 0.0, 0.7], 2.0
    )
    noise = np.random.default_rng(7).normal(1.2, 0.8, len(times))
    noise[:2] = 0.0
    return np.stack([steps, noise])


def neuron_of(row, dt):
    """Allensdk's neuron, in SI units, with voltages above E_L; the methods are those of the level."""
    asc, resets, adapts = row.glif_level >= 3, row.glif_level in (2, 4, 5), row.glif_level == 5
    threshold = (row.V_th_mV - row.E_L_mV) * 1e-3
    rules = {"a_spike": row.th_spike_add_mV * 1e-3, "b_spike": row.th_spike_decay_per_s}
    voltage_rules = {"a_voltage": None, "b_voltage": None}
    if adapts:
        voltage_rules = {
            "a_voltage": row.th_voltage_index_per_s,
            "b_voltage": row.th_voltage_decay_per_s,
        }
    threshold_dynamics = {"name": "inf", "params": {}}
    if resets:
        name = "three_components_exact" if adapts else "spike_component"
        threshold_dynamics = {"name": name, "params": {**rules, **voltage_rules}}
    reset = {"a": row.v_reset_fraction, "b": row.v_reset_add_mV * 1e-3}
    config = {
        "El": 0.0,
        "dt": dt,
        "R_input": 1 / (row.g_nS * 1e-9),
        "C": row.C_m_pF * 1e-12,
        "th_inf": threshold,
        "th_adapt": None,
        "spike_cut_length": round(row.t_ref_ms * 1e-3 / dt),
        "asc_tau_array": np.array([row.asc_tau_0_ms, row.asc_tau_1_ms]) * 1e-3
        if asc
        else np.ones(2),
        "asc_amp_array": np.array([row.asc_amp_0_pA, row.asc_amp_1_pA]) * 1e-12
        if asc
        else np.zeros(2),
        "AScurrent_dynamics_method": {"name": "exp" if asc else "none", "params": {}},
        "AScurrent_reset_method": {
            "name": "sum" if asc else "none",
            "params": {"r": np.array([row.asc_r_0, row.asc_r_1])} if asc else {},
        },
        "voltage_dynamics_method": {"name": "linear_forward_euler", "params": {}},
        "voltage_reset_method": {
            "name": "v_before" if resets else "zero",
            "params": reset if resets else {},
        },
        "threshold_dynamics_method": threshold_dynamics,
        "threshold_reset_method": {
            "name": "three_components" if resets else "inf",
            "params": rules if resets else {},
        },
        "init_voltage": 0.0,
        "init_threshold": threshold,
        "init_AScurrents": np.zeros(2),
    }
    return GlifNeuron.from_dict(config)


def steps_run(output, cut_length):
    """Steps until allensdk stopped; it leaves the rest NaN, as it does within a spike."""
    n_steps = len(output["voltage"])
    known = np.flatnonzero(~np.isnan(output["voltage"]))[-1] + 1
    spikes = output["spike_time_steps"]
    within_a_spike = len(spikes) > 0 and spikes[-1] + cut_length >= n_steps
    return n_steps if within_a_spike else int(known)


def main(table_path, out_path):
    """Run everything and write the file."""
    table = chosen_models(pd.read_csv(table_path))
    relative = relative_currents()
    m = len(table)
    arrays = {
        "specimen": table["specimen_id"].to_numpy(np.int64),
        "level": table["glif_level"].to_numpy(np.int8),
        "relative_current": relative,
        "piece_ms": PIECE_MS,
        "duration_ms": DURATION_MS,
        "dt_us": np.array(DT_US),
    }
    for dt_us in DT_US:
        n_steps = round(DURATION_MS * 1000 / dt_us)
        sample_step = np.arange(round(SAMPLE_MS * 1000 / dt_us), n_steps + 1) - 1
        sample_step = sample_step[:: round(SAMPLE_MS * 1000 / dt_us)]
        spikes, completed = [], np.zeros((m, 2), dtype=np.int32)
        voltage = np.full((m, 2, len(sample_step)), np.nan, dtype=np.float32)
        threshold = voltage.copy()
        for i, row in enumerate(table.itertuples()):
            neuron = neuron_of(row, dt_us * 1e-6)
            rheobase = row.g_nS * (row.V_th_mV - row.E_L_mV) * 1e-12
            for kind in range(2):
                current = np.repeat(relative[kind] * rheobase, round(PIECE_MS * 1000 / dt_us))
                output = neuron.run(current)
                steps = output["spike_time_steps"].astype(np.int32)
                spikes.append(np.stack([steps, np.full_like(steps, i), np.full_like(steps, kind)]))
                completed[i, kind] = steps_run(output, neuron.spike_cut_length)
                voltage[i, kind] = output["voltage"][sample_step] * 1e3
                threshold[i, kind] = output["threshold"][sample_step] * 1e3
        key = f"{dt_us:g}"
        spikes = np.concatenate(spikes, axis=1)
        arrays[f"steps_{key}"], arrays[f"model_{key}"] = spikes[0], spikes[1].astype(np.int16)
        arrays[f"stimulus_{key}"] = spikes[2].astype(np.int8)
        arrays[f"completed_{key}"] = completed
        if dt_us == DT_US[0]:
            arrays |= {"sample_step": sample_step, "voltage": voltage, "threshold": threshold}
        print(f"dt {key} us: {spikes.shape[1]} spikes", flush=True)
    np.savez_compressed(out_path, **arrays)


main(sys.argv[1], sys.argv[2])
