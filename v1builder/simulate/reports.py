"""Membrane reports: what of which cells is recorded in which steps, and the SONATA file it becomes.

The variables are those of NEST, see `model.recordables`; which of them a cell has depends on its template. A
report of V_m costs little; any other makes the whole run go step by step (see `model.observation.observe`).
A report of several variables becomes one file for each, NAME_VARIABLE.h5: SONATA has one variable per file.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from v1builder.load import Network, NodePopulation
from v1builder.load.populations import split
from v1builder.load.selection import some_cells
from v1builder.model.neurons import choose
from v1builder.model.observation import Observer, Segment
from v1builder.model.recordables import recordable
from v1builder.schema.errors import ConfigError, unknown_name
from v1builder.schema.files import storage_error
from v1builder.sonata.reports import write_reports
from v1builder.sonata.simulation_config import ReportSettings, Simulation

#: Bytes of a report besides its rows: ids and places of a cell, and what HDF5 has around all.
_PER_CELL: Final = 32
_AROUND_ROWS: Final = 1 << 16


class Recording(Observer):
    """One membrane report.

    Attributes:
        path: file to write.
        variable: name of what is recorded.
        unit: its unit.
        cells: [n] positions of the recorded cells, ascending.
        steps: [t] steps whose end is recorded.
    """

    def __init__(
        self,
        path: Path,
        variable: str,
        unit: str,
        cells: NDArray[np.int64],
        steps: NDArray[np.int64],
    ):
        self.path, self.variable, self.unit = path, variable, unit
        self.cells, self.steps = cells, steps
        self.needs = (variable,)
        self._rows: NDArray[np.float32] = np.zeros((0, 0), np.float32)
        self._release: Callable[[], object] = lambda: None  # gives back the room for the report

    @contextmanager
    def on_disk(self) -> Iterator[None]:
        """Makes room for the rows, in a file that disappears, and as much again for the report.

        Raises:
            StorageError: there is no room, or the file system refused.
        """
        shape = (len(self.steps), len(self.cells))
        with ExitStack() as held:
            if 0 in shape:  # which numpy cannot map
                self._rows = np.zeros(shape, dtype=np.float32)
            else:
                try:
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                    file = held.enter_context(tempfile.TemporaryFile(dir=self.path.parent))
                    report = 4 * shape[0] * shape[1] + _PER_CELL * shape[1] + _AROUND_ROWS
                    _reserve(file.fileno(), 4 * shape[0] * shape[1] + report)
                    self._rows = np.memmap(file, dtype=np.float32, mode="w+", shape=shape)
                    self._release = lambda: file.truncate(self._rows.nbytes)
                except OSError as error:
                    raise storage_error(error, self.path) from error
            yield

    def see(self, segment: Segment) -> None:
        """Keep what is recorded of a segment."""
        first, last = np.searchsorted(self.steps, [segment.start, segment.stop])
        values = segment.recorded[self.variable][0].cpu().numpy()
        self._rows[first:last] = values[np.ix_(self.steps[first:last] - segment.start, self.cells)]

    def write(self, cells: NodePopulation, dt: float) -> None:
        """Write the SONATA report, by population of the files."""
        self._release()
        ends = (self.steps[:2] + 1) * dt
        step = float(ends[1] - ends[0]) if len(ends) > 1 else dt
        found = {}
        for here, population in split(cells):
            first, last = np.searchsorted(self.cells, [here.start, here.stop])
            ids = population.node_id[self.cells[first:last] - here.start]
            if len(ids) or not cells.parts:
                found[population.name] = (ids, self._rows[:, first:last])
        write_reports(
            self.path,
            found,
            start=float(ends[0]),
            step=step,
            units=self.unit,
            variable=self.variable,
        )


def _reserve(file: int, n_bytes: int) -> None:
    """Give a file all its room now: a page of a map that has none on the disk ends the process."""
    if hasattr(os, "posix_fallocate"):  # not on macOS
        os.posix_fallocate(file, 0, n_bytes)


def recordings(simulation: Simulation, network: Network, n_steps: int) -> list[Recording]:
    """Every membrane report, checked.

    Raises:
        ConfigError: a report asks for what cannot be recorded.
    """
    found = []
    for name, settings in simulation.config.reports.items():
        if not settings.enabled:
            continue
        where = f"{simulation.path}, reports.{name}"
        cells = some_cells(network, settings.cells, where, simulation.node_sets)
        steps = _recorded_steps(settings, simulation.config.run.dt, n_steps, where)
        variables = _variables(settings, network, cells, where)
        file = settings.file_name or f"{name}.h5"
        for variable in variables:
            path = simulation.output_path(file)
            if len(variables) > 1:
                path = path.with_name(f"{path.stem}_{variable}{path.suffix}")
            unit = recordable(variable, choose("auto", network).recordables).unit
            if settings.unit not in (None, unit):
                raise ConfigError.of(
                    "a report has another unit", f"{where}.unit", settings.unit, f"it is {unit}"
                )
            found.append(Recording(path, variable, unit, cells, steps))
    paths = [report.path for report in found]
    for path in dict.fromkeys(paths):
        if paths.count(path) > 1:
            raise ConfigError.of(
                "two reports have one file", f"{simulation.path}, reports", path, "rename one"
            )
    return found


def _variables(
    settings: ReportSettings, network: Network, cells: NDArray[np.int64], where: str
) -> list[str]:
    """The variables of a report, which all of its cells have."""
    names = _recordable_names(network, cells)
    for name in settings.variables:
        if name not in names:
            raise ConfigError([unknown_name("variable", name, names, where)])
    if not settings.variables:
        raise ConfigError.of("a report has no variable", f"{where}.variable_name", "[]", "name one")
    return settings.variables


def _recordable_names(network: Network, cells: NDArray[np.int64]) -> list[str]:
    """What all of these cells have."""
    n_ports = network.receptors.values["tau_syn_fast"].shape[1]
    kind = choose("auto", network)
    templates = np.unique(network.cells.attributes["model_template"][cells].astype(str))
    own = [kind.recorded(template, n_ports) for template in templates]
    every = dict.fromkeys(name for names in own for name in names)
    return [name for name in every if all(name in names for names in own)]


def _recorded_steps(
    settings: ReportSettings, dt: float, n_steps: int, where: str
) -> NDArray[np.int64]:
    """Steps whose end is a multiple of the interval in (start_time, end_time], as NEST's meter has."""
    interval = settings.dt or dt
    every = round(interval / dt)
    if every < 1 or abs(every * dt - interval) > 1e-6 * dt:
        raise ConfigError.of(
            "the interval of a report is not a whole number of steps",
            f"{where}.dt",
            f"{interval} ms at a step of {dt} ms",
            "make it a multiple of run.dt",
        )
    end = n_steps * dt if settings.end_time is None else settings.end_time
    ends = np.arange(every, n_steps + 1, every)
    inside = (ends * dt > settings.start_time + 1e-9) & (ends * dt <= end + 1e-9)
    if not inside.any():
        raise ConfigError.of(
            "a report records nothing",
            where,
            f"from {settings.start_time} to {end} ms every {interval} ms",
            "choose a longer interval of time",
        )
    return ends[inside] - 1
