"""Published GLIF cells at every level, alone, against NEST at the same step in float64.

Each cell is there three times: under current steps, under noise, and under spike input to all its
receptors. At fine steps it is there once, under noise and spikes together.

NEST refuses parameters with voltage_reset_fraction outside [0, 1], which some published fits of
levels 2, 4 and 5 have; those cells are not compared.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.curate import read_store
from v1builder.load.network import GroupedValues
from v1builder.schema.names import SYNAPSE_CLASSES
from v1builder.verify.agreement import Measured, case
from v1builder.verify.comparison import run_ours, same_spikes
from v1builder.verify.nest_process import NestEdges, NestInput, run_nest
from v1builder.verify.published_cells import (
    LEVELS,
    glif_models,
    membrane,
    nest_parameters,
    network,
    rheobase,
)

TEMPLATES = ("glif_psc", "glif_psc_double_alpha")
DURATION = 1000.0  # ms
N_INPUT, IN_DEGREE, RATE = 50, 20, 30.0  # RATE in Hz


def receptors(template: str, n_cells: int) -> GroupedValues:
    """The ten receptors of an e23 cell; without the slow part for `glif_psc`."""
    kinetics = read_store().synapse_kinetics
    rows = kinetics[kinetics["post_synapse_class"] == "e23"].set_index("pre_synapse_class")
    rows = rows.loc[list(SYNAPSE_CLASSES)]
    values = {
        "tau_syn_fast": rows["tau_fast_ms"].to_numpy(float)[None],
        "tau_syn_slow": rows["tau_slow_ms"].to_numpy(float)[None],
        "amp_slow": rows["amp_slow_rel"].to_numpy(float)[None],
    }
    values["psc_shape"] = np.zeros_like(values["amp_slow"])  # alpha
    if template == "glif_psc":
        values["tau_syn_slow"] = values["tau_syn_fast"].copy()
        values["amp_slow"] = np.zeros_like(values["amp_slow"])
    return GroupedValues(values, np.zeros(n_cells, dtype=np.int64), ("e23",))


def nest_cells(
    template: str, models: pd.DataFrame, group_of: NDArray[Any], ports: GroupedValues
) -> list[tuple[str, dict[str, Any]]]:
    """Template and parameters of every cell for NEST."""
    names = {"tau_syn_fast": "tau_syn_fast", "tau_syn_slow": "tau_syn_slow", "amp_slow": "amp_slow"}
    if template == "glif_psc":
        names = {"tau_syn": "tau_syn_fast"}
    kinetics = {nest: ports.values[ours][0].tolist() for nest, ours in names.items()}
    rows = [nest_parameters(row) | kinetics for row in models.itertuples()]
    return [(template, rows[group]) for group in group_of]


def projection(source: str, arrays: dict[str, NDArray[Any]]) -> NestEdges:
    """Edges as NEST takes them: ports from 1."""
    columns = {name: arrays[name] for name in ("source", "target", "weight", "delay")}
    return NestEdges(source, columns | {"receptor_type": arrays["receptor"] + 1})


def random_edges(
    rng: np.random.Generator, n_source: int, targets: NDArray[Any], strength: NDArray[np.float64]
) -> dict[str, NDArray[Any]]:
    """`IN_DEGREE` edges onto each target with random weight (unit: its rheobase) and receptor."""
    target = np.repeat(targets, IN_DEGREE)
    n = len(target)
    return {
        "source": rng.integers(0, n_source, n),
        "target": target,
        "weight": rng.normal(0.15, 0.5, n) * strength[target],
        "delay": rng.choice([1.0, 1.5, 1.7, 2.2, 3.0], n),
        "receptor": rng.integers(0, len(SYNAPSE_CLASSES), n),
    }


def currents(
    kinds: Sequence[str], threshold: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Current [piece, cell] in pA and times [piece]; the cells are one block per kind."""
    rng = np.random.default_rng(2)
    times = np.arange(1.0, DURATION, 5.0)
    steps = np.select([times < 100, times < 500, times < 600], [0.0, 1.3, 0.4], 2.0)
    blocks = []
    for kind, strength in zip(kinds, np.split(threshold, len(kinds)), strict=True):
        relative = np.zeros((len(times), len(strength)))
        if "steps" in kind:
            relative += steps[:, None]
        if "noise" in kind:
            relative += rng.normal(1.0, 0.5, relative.shape)
        blocks.append(relative * strength)
    return np.concatenate(blocks, axis=1), times


def single_cells(
    folder: Path, *, template: str, level: int, dt: float, kinds: tuple[str, ...]
) -> Measured:
    """All cells of a level, one block of them per kind of stimulus."""
    rng = np.random.default_rng(1)
    models = glif_models(level)
    group_of = np.tile(np.arange(len(models)), len(kinds))
    cells = membrane(models, group_of)
    threshold = rheobase(cells)
    driven = [block for block, kind in enumerate(kinds) if "spikes" in kind]
    blocks = np.split(np.arange(len(group_of)), len(kinds))
    inputs = random_edges(rng, N_INPUT, np.concatenate([blocks[b] for b in driven]), threshold)
    current, times = currents(kinds, threshold)
    train = rng.random((round(DURATION / dt), N_INPUT)) < RATE * dt / 1000
    stimulus = NestInput(dt, DURATION, train, current, times)
    ports = receptors(template, len(group_of))
    nothing = {name: values[:0] for name, values in inputs.items()}

    nest = run_nest(
        nest_cells(template, models, group_of, ports),
        [projection("inputs", inputs)],
        stimulus,
        folder,
    )
    ours = run_ours(network(cells, ports, nothing, inputs, N_INPUT), stimulus)

    refused = np.isin(np.arange(len(group_of)), list(nest.refused))
    n_refused = np.count_nonzero(refused) // len(kinds)
    per_kind = ", ".join(
        f"{np.count_nonzero(nest.spikes[:, block[~refused[block]]])} under {kind}"
        for kind, block in zip(kinds, blocks, strict=True)
    )
    text = f" ({len(models) - n_refused} specimens; {per_kind})"
    if n_refused:
        text += f"; NEST refuses {n_refused} of {len(models)}, voltage_reset_fraction not in [0, 1]"
        outside = (models["v_reset_fraction"] < 0) | (models["v_reset_fraction"] > 1)
        if not np.array_equal(np.tile(outside, len(kinds)), refused):
            raise RuntimeError(f"NEST refused other cells: {next(iter(nest.refused.values()))}")
    worst = np.abs(nest.recorded["V_m"] - ours.voltage)[:, ~refused].max()
    least = 4 * len(models) * len(kinds)
    return same_spikes(
        nest.spikes[:, ~refused], ours.spikes[:, ~refused], least, text, float(worst)
    )


for _template in TEMPLATES:
    for _level in LEVELS:
        case(
            f"GLIF{_level} cells, {_template}",
            reference="NEST",
            compared="spikes and voltages of every published cell alone, 1 s, dt 1 ms",
            needs="nest",
        )(
            partial(
                single_cells,
                template=_template,
                level=_level,
                dt=1.0,
                kinds=("steps", "noise", "spikes"),
            )
        )
        for _dt in (0.25, 0.1):
            case(
                f"GLIF{_level} cells, {_template}, dt {_dt:g}",
                reference="NEST",
                compared=f"spikes and voltages of every published cell alone, 1 s, dt {_dt:g} ms",
                needs="nest",
                slow=True,
            )(
                partial(
                    single_cells,
                    template=_template,
                    level=_level,
                    dt=_dt,
                    kinds=("noise and spikes",),
                )
            )
