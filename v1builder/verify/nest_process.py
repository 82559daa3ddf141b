"""Networks of point neurons in NEST, which needs a process of its own.

NEST sets the threads of torch when it is imported, so the process that runs torch never imports it.
A network goes to `processes/nest_network.py` as in.json (cells as [template, parameters]) and in.npz
(spikes, currents, edges), and its spikes and recordings come back as out.npz.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCRIPT = Path(__file__).parent / "processes" / "nest_network.py"


@dataclass(frozen=True)
class NestEdges:
    """Synapses of one model.

    Attributes:
        source: "cells" or "inputs".
        synapse_model: "static_synapse", "tsodyks2_synapse" ...
        columns: [e] arrays: source and target (positions), weight (pA, or mV for delta synapses),
            delay (ms), receptor_type (NEST's port; 0 for cells without ports), and parameters of
            the synapse model.
    """

    source: str
    columns: Mapping[str, NDArray[Any]]
    synapse_model: str = "static_synapse"


@dataclass(frozen=True)
class NestInput:
    """What drives the cells.

    Attributes:
        dt, duration: ms.
        spikes: [steps, n_input] number of spikes of every input (0 or 1).
        current: [k, n] pA, piecewise constant.
        current_times: [k] ms at which each piece begins for NEST's generator.
    """

    dt: float
    duration: float
    spikes: NDArray[Any]
    current: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    current_times: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return round(self.duration / self.dt)

    @property
    def current_delay(self) -> float:
        """ms, delay of the edge from a current generator to its cell."""
        return max(self.dt, 1.0)

    def current_per_step(self) -> NDArray[np.float64]:
        """[steps, n] pA as the model takes it.

        A step_current_generator whose edge has the delay d sends what begins at time s so that it
        is the current set in step (s + d)/dt - 1.
        """
        begins = np.rint((self.current_times + self.current_delay) / self.dt).astype(int) - 1
        piece = np.searchsorted(begins, np.arange(self.n_steps), side="right") - 1
        return np.where(piece[:, None] >= 0, self.current[np.maximum(piece, 0)], 0.0)


@dataclass(frozen=True)
class NestRun:
    """What NEST did.

    Attributes:
        spikes: [steps, n] bool.
        recorded: [steps, n] by recordable ("V_m" in mV, "threshold" in mV ...), at step ends.
        refused: by position of the cell, what NEST said of parameters that it does not accept. Such
            a cell ran with NEST's defaults and means nothing.
    """

    spikes: NDArray[np.bool_]
    recorded: dict[str, NDArray[np.float64]]
    refused: dict[int, str]


def run_nest(
    cells: Sequence[tuple[str, Mapping[str, Any]]],
    projections: Sequence[NestEdges],
    stimulus: NestInput,
    folder: Path,
    *,
    record: Sequence[str] = ("V_m",),
) -> NestRun:
    """Run a network in NEST.

    Args:
        cells: template ("glif_psc", "iaf_psc_alpha" ...) and parameters of every cell.
        projections: its synapses.
        stimulus: spikes of the inputs and currents.
        folder: for the files.
        record: recordables of the cells.

    Raises:
        RuntimeError: with NEST's words, when it fails.
    """
    step, source = np.nonzero(stimulus.spikes)
    settings = {
        "dt": stimulus.dt,
        "duration": stimulus.duration,
        "current_delay": stimulus.current_delay,
        "cells": [[template, dict(parameters)] for template, parameters in cells],
        "n_input": stimulus.spikes.shape[1],
        "projections": [
            {"source": one.source, "synapse_model": one.synapse_model} for one in projections
        ],
        "record": list(record),
    }
    arrays: dict[str, NDArray[Any]] = {
        f"projection_{number}_{name}": values
        for number, one in enumerate(projections)
        for name, values in one.columns.items()
    }
    (folder / "in.json").write_text(json.dumps(settings))
    arrays |= {
        "input_source": source,
        "input_time": (step + 1) * stimulus.dt,
        "current": stimulus.current.T,
        "current_times": stimulus.current_times,
    }
    np.savez(folder / "in.npz", allow_pickle=False, **arrays)
    run_script(SCRIPT, [str(folder)])
    refused = json.loads((folder / "out.json").read_text())["refused"]
    with np.load(folder / "out.npz") as out:
        n = stimulus.n_steps
        fired = np.rint(out["time"] / stimulus.dt).astype(int) - 1
        spikes = np.zeros((max(n, fired.max(initial=0) + 1), len(cells)), dtype=bool)
        spikes[fired, out["cell"]] = True
        recorded = {name: out[name][:n] for name in record}
    return NestRun(spikes[:n], recorded, {int(k): text for k, text in refused.items()})


def run_script(script: Path, arguments: Sequence[str], cwd: Path | None = None) -> str:
    """Run a script in a Python process of its own; return what it printed.

    Raises:
        RuntimeError: with the end of its error output, when it fails.
    """
    command = [sys.executable, str(script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    if done.returncode != 0:
        raise RuntimeError(f"{script.name} failed:\n{done.stderr[-3000:]}")
    return done.stdout
