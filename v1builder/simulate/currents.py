"""Currents into the cells of a simulation: steps, ramps, tables of steps, and recorded sweeps.

A clamp is constant from `delay` to `delay` + `duration`; of several steps a later one ends the one before it.
A ramp (`linear` with `amp_end`) has in each step the mean of the current over it. In a table (BMTK's "csv")
an amplitude (pA) lasts until the next time (ms), the last one to the end. A sweep ("nwb") is a stimulus of
the Allen Cell Types Database: amperes at its sampling rate, every step taking the sample at its onset. BMTK's
PointNet hands their nA to NEST as if they were pA, a thousandth of the recorded current; here they are what
was recorded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from v1builder.load import Network
from v1builder.load.selection import some_cells
from v1builder.schema.errors import NetworkError
from v1builder.sonata.current_table import check_current, held_current, read_current
from v1builder.sonata.hdf5 import open_dataset, open_to_read, read_array
from v1builder.sonata.simulation_config import Input, Simulation

_PA_PER_A = 1e12


@dataclass(frozen=True)
class Clamp:
    """A constant current into some cells: rows [start, stop) of the injected current."""

    cells: NDArray[np.int64]
    start: int
    stop: int
    amplitude: float

    def within(self, first: int, last: int) -> NDArray[np.float64] | float:
        """PA in rows [first, last), all its own."""
        del first, last
        return self.amplitude


@dataclass(frozen=True)
class Waveform:
    """A current that changes from step to step: `values` [stop - start] pA."""

    cells: NDArray[np.int64]
    start: int
    values: NDArray[np.float64]

    @property
    def stop(self) -> int:
        """Row after its last."""
        return self.start + len(self.values)

    def within(self, first: int, last: int) -> NDArray[np.float64]:
        """[last - first, 1] pA in rows [first, last), all its own."""
        return self.values[first - self.start : last - self.start, None]


Current = Clamp | Waveform


def clamps(simulation: Simulation, network: Network) -> list[Current]:
    """Every current, as steps or waveforms.

    Raises:
        ConfigError: a node set is not valid or selects nobody.
        NetworkError: a file is not what it should be.
    """
    found: list[Current] = []
    for key, settings in simulation.config.inputs.items():
        if settings.input_type == "spikes" or not settings.enabled:
            continue
        where = f"{simulation.path}, inputs.{key}"
        cells = some_cells(network, settings.node_set, where, simulation.node_sets)
        if settings.input_type != "current_clamp":
            path = simulation.input_path(settings.file or "")
            found.append(_of_file(settings, path, cells, simulation))
        elif settings.amp_end is not None:
            found.append(_ramp(settings, cells, simulation))
        else:
            found += _steps(settings, cells, simulation)
    return found


def _steps(settings: Input, cells: NDArray[np.int64], simulation: Simulation) -> list[Current]:
    run = simulation.config.run
    steps = sorted(settings.steps)
    onsets = [onset for onset, _, _ in steps[1:]] + [float("inf")]
    found: list[Current] = []
    for (onset, duration, amplitude), next_onset in zip(steps, onsets, strict=True):
        stop = min(onset + duration, next_onset, run.tstop)
        found.append(Clamp(cells, round(onset / run.dt), round(stop / run.dt), amplitude))
    return found


def _ramp(settings: Input, cells: NDArray[np.int64], simulation: Simulation) -> Waveform:
    run = simulation.config.run
    ((onset, duration, first),) = settings.steps
    start, n = round(onset / run.dt), round(duration / run.dt)
    middle = (np.arange(n) + 0.5) / max(n, 1)
    values = first + (settings.last_amplitude - first) * middle
    return Waveform(cells, start, values[: max(0, round(run.tstop / run.dt) - start)])


def _of_file(
    settings: Input, path: Path, cells: NDArray[np.int64], simulation: Simulation
) -> Waveform:
    run = simulation.config.run
    if settings.input_type in ("csv", "file"):
        columns = settings.timestamps_column, settings.amplitudes_column
        times, amplitudes = read_current(path, columns, settings.separator or " ")
    else:
        times, amplitudes = _sweep(settings, path)
    values = held_current(times, amplitudes, round(run.tstop / run.dt), run.dt)
    return Waveform(cells, 0, values)


def _sweep(settings: Input, path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    sweep = str(settings.sweep_id)
    sweep = f"Sweep_{int(sweep)}" if sweep.isdecimal() else sweep
    with open_to_read(path) as file:
        name = f"epochs/{sweep}/stimulus/timeseries"
        if name not in file:
            present = ", ".join(file.get("epochs", {}))
            raise NetworkError.of("the file has no such sweep", f"{path}, {name}", present)
        group = file[name]
        data = read_array(open_dataset(group, "data"))
        rate = open_dataset(group, "starting_time").attrs.get("rate", 0.0)
    if data.ndim != 1 or data.dtype.kind not in "iuf":
        raise NetworkError.of("a current is not a list of numbers", f"{path}, {name}/data")
    amplitudes = _PA_PER_A * np.asarray(data, dtype=np.float64)
    rate = float(rate) if isinstance(rate, int | float | np.number) else 0.0
    if not (np.isfinite(rate) and rate > 0):
        raise NetworkError.of("the sampling rate is not one", f"{path}, {name}", f"{rate} Hz")
    interval = 1000.0 / rate
    if settings.downsample is not None and settings.downsample > interval:
        stride = round(settings.downsample / interval)
        amplitudes, interval = amplitudes[::stride], interval * stride
    times = interval * np.arange(len(amplitudes), dtype=np.float64)
    if settings.sweep_window is not None:
        first, last = settings.sweep_window
        inside = (times >= first) & (times <= last)
        times, amplitudes = times[inside], amplitudes[inside]
    assert isinstance(settings.delay, float | int)
    times = times + settings.delay
    check_current(times, amplitudes, path)
    # Nothing after the last sample.
    return np.append(times, times[-1] + interval), np.append(amplitudes, 0.0)


def current(acting: Sequence[Current], n_cells: int, start: int, stop: int) -> torch.Tensor | None:
    """[1, stop - start, n_cells] pA, or None when no current acts."""
    acting = [each for each in acting if each.start < stop and each.stop > start]
    if not acting:
        return None
    total = np.zeros((1, stop - start, n_cells))
    for each in acting:
        first, last = max(each.start, start), min(each.stop, stop)
        total[0, first - start : last - start, each.cells] += np.transpose(each.within(first, last))
    return torch.from_numpy(total)
