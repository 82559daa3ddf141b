"""Run a standard SONATA simulation configuration: what BMTK's PointNet runs on NEST, and as it does.

Times become steps the way NEST and PointNet make them. A spike of an input file counts in the step
whose end is the first at or after its time. A current clamp acts from `delay` + one step to `delay` +
`duration` + one step. A spike that is written carries the end of its step, and so does a recorded
voltage. Unlike PointNet, which leaves out clamps that begin in the first step, we run them.

The run goes in segments, so that memory does not grow with its length: only the spikes stay in
memory, recorded voltages go to disk.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from v1builder.load import Network, NodePopulation, load_circuit
from v1builder.load.populations import split
from v1builder.model import V1Network
from v1builder.schema.errors import ConfigError, unknown_name
from v1builder.schema.files import atomic_file
from v1builder.sonata.node_sets import resolve_node_set
from v1builder.sonata.reports import write_reports
from v1builder.sonata.simulation_config import Input, ReportSettings, Simulation, read_simulation
from v1builder.sonata.spikes import Spikes, read_spikes, write_spikes

SEGMENT_STEPS = 250
RECORDABLE = ("V_m",)

Progress = Callable[[str, int, int], None]


def simulate(
    config_path: Path | str,
    *,
    dtype: torch.dtype = torch.float64,
    backend: str = "auto",
    progress: Progress | None = None,
) -> Path:
    """Run the simulation and write its spikes and reports.

    Args:
        config_path: SONATA simulation configuration.
        dtype: float64 gives NEST's spikes; float32 is faster.
        backend: what computes the rollout, see `model.backends`.
        progress: called with (stage, done, total).

    Returns:
        The output folder.

    Raises:
        ConfigError: the configuration is not valid or asks for what is not supported.
        NetworkError: the network or an input file is not valid.
        StorageError: the file system refused.
    """
    simulation = read_simulation(config_path)
    settings = simulation.config.run
    n_steps = _n_steps(simulation)
    _check_output(simulation)
    network = load_circuit(simulation.circuit, progress)
    inputs = _input_spikes(simulation, network, n_steps)
    clamps = _clamps(simulation, network)
    recordings = _recordings(simulation, network, n_steps)
    model = V1Network(network, dt=settings.dt, dtype=dtype, trainable=(), backend=backend)

    emitted: list[NDArray[np.int64]] = []
    with ExitStack() as stack, torch.no_grad():
        rows = {name: stack.enter_context(recording.on_disk()) for name, recording in recordings}
        state = model.starting_state()
        for start in range(0, n_steps, SEGMENT_STEPS):
            stop = min(start + SEGMENT_STEPS, n_steps)
            rollout = model(
                {name: train.dense(start, stop) for name, train in inputs.items()},
                n_steps=stop - start,
                current=_current(clamps, network.n_cells, start, stop),
                state=state,
                record_voltage=bool(recordings),
            )
            state = rollout.state
            emitted.append(rollout.spikes[0].nonzero().cpu().numpy() + np.array([start, 0]))
            if rollout.voltage is not None:
                absolute = rollout.voltage[0].double() + model.cells.E_L
                for name, recording in recordings:
                    recording.put(rows[name], absolute.cpu().numpy(), start)
            if progress is not None:
                progress("simulating", stop, n_steps)
        _write(simulation, network, np.concatenate(emitted))
        for name, recording in recordings:
            recording.write(rows[name], network.cells, settings.dt)
    return simulation.output_dir


def _n_steps(simulation: Simulation) -> int:
    run = simulation.config.run
    if run.tstart != 0:
        raise ConfigError.of(
            "a run starts at time 0", f"{simulation.path}, run.tstart", run.tstart, "set it to 0"
        )
    n_steps = round(run.tstop / run.dt)
    if abs(n_steps * run.dt - run.tstop) > 1e-6 * run.dt or n_steps < 1:
        raise ConfigError.of(
            "tstop is not a whole number of steps",
            f"{simulation.path}, run",
            f"tstop {run.tstop} ms, dt {run.dt} ms",
            "make tstop a multiple of dt",
        )
    return n_steps


def _check_output(simulation: Simulation) -> None:
    if simulation.config.output.spikes_file_nwb is not None:
        raise ConfigError.of(
            "spikes cannot be written as NWB",
            f"{simulation.path}, output.spikes_file_nwb",
            simulation.config.output.spikes_file_nwb,
            "use spikes_file (SONATA) or spikes_file_csv",
        )


@dataclass(frozen=True)
class _Train:
    """Input spikes of one population, sorted by step: row and source of each."""

    row: NDArray[np.int64]
    source: NDArray[np.int64]
    n_source: int

    def dense(self, start: int, stop: int) -> torch.Tensor:
        """[1, stop - start, n_source] number of spikes, uint8."""
        first, last = np.searchsorted(self.row, [start, stop])
        counts = np.zeros((stop - start, self.n_source), dtype=np.uint8)
        np.add.at(counts, (self.row[first:last] - start, self.source[first:last]), 1)
        return torch.from_numpy(counts)[None]


def _input_spikes(simulation: Simulation, network: Network, n_steps: int) -> dict[str, _Train]:
    """The spike trains of every input population; those without a file are silent."""
    found: dict[str, list[tuple[NDArray[np.int64], NDArray[np.int64]]]] = {
        edges.source: [] for edges in network.edges.values() if edges.source != network.simulated
    }
    for key, settings in simulation.config.inputs.items():
        if settings.input_type != "spikes" or not settings.enabled:
            continue
        where = f"{simulation.path}, inputs.{key}"
        spikes = read_spikes(simulation.input_path(settings.input_file or ""))
        population = _source_of(settings, spikes, network, where)
        nodes = network.nodes[population]
        chosen = np.arange(len(nodes))
        if settings.source is None:
            chosen = _select(settings.node_set, nodes, simulation, where)
        train = spikes[population] if population in spikes else spikes[""]
        rows, sources = _rows_of(train, nodes, chosen, simulation.config.run.dt, where)
        if population in found:
            found[population].append((rows, sources))
    trains = {}
    for name, parts in found.items():
        row = np.concatenate([rows for rows, _ in parts]) if parts else np.empty(0, np.int64)
        source = np.concatenate([ids for _, ids in parts]) if parts else np.empty(0, np.int64)
        order = np.argsort(row, kind="stable")
        order = order[row[order] < n_steps]
        trains[name] = _Train(row[order], source[order], len(network.nodes[name]))
    return trains


def _source_of(settings: Input, spikes: Mapping[str, Spikes], network: Network, where: str) -> str:
    """The virtual population an input's spikes come from."""
    virtual = [name for name, nodes in network.nodes.items() if name != network.simulated]
    named = settings.source or settings.node_set
    if isinstance(named, dict):
        named = named.get("population")
    if isinstance(named, str) and named in virtual and (named in spikes or "" in spikes):
        return named
    present = [name for name in spikes if name in virtual]
    if len(present) != 1 or settings.source is not None:
        raise ConfigError.of(
            "the spikes belong to no single input population",
            f"{where}, file {settings.input_file}",
            f"node_set {settings.node_set!r}, populations in the file: {', '.join(spikes) or '-'}",
            f"name one of the populations {', '.join(virtual)} as node_set, and have it in the file",
        )
    return present[0]


def _select(
    node_set: object, nodes: NodePopulation, simulation: Simulation, where: str
) -> NDArray[np.int64]:
    return resolve_node_set(
        node_set, nodes.name, nodes.node_id, nodes.attributes, simulation.node_sets, where
    )


def _select_cells(
    node_set: object, cells: NodePopulation, simulation: Simulation, where: str
) -> NDArray[np.int64]:
    """Positions on the axis of cells. Of several populations a set need only fit one."""
    found, errors = [], []
    for here, population in split(cells):
        try:
            found.append(here.start + _select(node_set, population, simulation, where))
        except ConfigError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    return np.concatenate(found)


def _rows_of(
    spikes: Spikes, nodes: NodePopulation, chosen: NDArray[np.int64], dt: float, where: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Step and position of every spike of the chosen nodes."""
    position = {int(node): index for index, node in enumerate(nodes.node_id)}
    unknown = [int(node) for node in np.unique(spikes.node_ids) if int(node) not in position]
    if unknown:
        raise ConfigError.of(
            "a spike comes from a node that does not exist",
            f"{where}, population {nodes.name}",
            f"node id {unknown[0]} ({len(unknown)} unknown in all)",
            f"the population has {len(nodes)} nodes",
        )
    if len(spikes) and spikes.timestamps[0] <= 0:
        raise ConfigError.of(
            "a spike at time 0 belongs to no step",
            f"{where}, population {nodes.name}",
            f"{spikes.timestamps[0]} ms",
            "spike times must be positive, as NEST wants them",
        )
    source = np.array([position[int(node)] for node in spikes.node_ids], dtype=np.int64)
    # Up to the end of a step; 1e-9 steps absorb the rounding of a product such as 3 * 0.1.
    row = np.ceil(spikes.timestamps / dt - 1e-9).astype(np.int64) - 1
    wanted = np.isin(source, chosen)
    return row[wanted], source[wanted]


@dataclass(frozen=True)
class _Clamp:
    """A constant current into some cells: rows [start, stop) of the injected current."""

    cells: NDArray[np.int64]
    start: int
    stop: int
    amplitude: float


def _clamps(simulation: Simulation, network: Network) -> list[_Clamp]:
    """Every step of every current clamp. Within a clamp a later step ends the one before it."""
    dt = simulation.config.run.dt
    clamps = []
    for key, settings in simulation.config.inputs.items():
        if settings.input_type != "current_clamp" or not settings.enabled:
            continue
        where = f"{simulation.path}, inputs.{key}"
        cells = _select_cells(settings.node_set, network.cells, simulation, where)
        steps = sorted(settings.steps)
        onsets = [onset for onset, _, _ in steps[1:]] + [float("inf")]
        for (onset, duration, amplitude), next_onset in zip(steps, onsets, strict=True):
            stop = min(onset + duration, next_onset, simulation.config.run.tstop)
            clamps.append(_Clamp(cells, round(onset / dt), round(stop / dt), amplitude))
    return clamps


def _current(clamps: list[_Clamp], n_cells: int, start: int, stop: int) -> torch.Tensor | None:
    """[1, stop - start, n_cells] pA, or None when no clamp acts."""
    acting = [clamp for clamp in clamps if clamp.start < stop and clamp.stop > start]
    if not acting:
        return None
    current = np.zeros((1, stop - start, n_cells))
    for clamp in acting:
        first, last = max(clamp.start - start, 0), min(clamp.stop, stop) - start
        current[0, first:last, clamp.cells] += clamp.amplitude
    return torch.from_numpy(current)


@dataclass(frozen=True)
class _Recording:
    """One membrane report.

    Attributes:
        path: file to write.
        cells: [n] positions of the recorded cells, ascending.
        steps: [t] steps whose end is recorded.
    """

    path: Path
    cells: NDArray[np.int64]
    steps: NDArray[np.int64]

    @contextmanager
    def on_disk(self) -> Iterator[NDArray[np.float32]]:
        """[t, n] room for the rows, in a file that disappears."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        shape = (len(self.steps), len(self.cells))
        with tempfile.TemporaryFile(dir=self.path.parent) as file:
            if 0 in shape:  # which numpy cannot map
                yield np.zeros(shape, dtype=np.float32)
            else:
                yield np.memmap(file, dtype=np.float32, mode="w+", shape=shape)

    def put(self, rows: NDArray[np.float32], voltage: NDArray[np.float64], start: int) -> None:
        """Keep what is recorded of a segment, `voltage` [t, n_cells] from step `start`."""
        first, last = np.searchsorted(self.steps, [start, start + len(voltage)])
        rows[first:last] = voltage[self.steps[first:last] - start][:, self.cells]

    def write(self, rows: NDArray[np.float32], cells: NodePopulation, dt: float) -> None:
        """Write the SONATA report, by population of the files."""
        ends = (self.steps[:2] + 1) * dt
        step = float(ends[1] - ends[0]) if len(ends) > 1 else dt
        found = {}
        for here, population in split(cells):
            first, last = np.searchsorted(self.cells, [here.start, here.stop])
            ids = population.node_id[self.cells[first:last] - here.start]
            if len(ids) or not cells.parts:
                found[population.name] = (ids, rows[:, first:last])
        write_reports(self.path, found, start=float(ends[0]), step=step, units="mV")


def _recordings(
    simulation: Simulation, network: Network, n_steps: int
) -> list[tuple[str, _Recording]]:
    """Every membrane report, checked."""
    recordings = []
    for name, settings in simulation.config.reports.items():
        if not settings.enabled:
            continue
        where = f"{simulation.path}, reports.{name}"
        for variable in settings.variables:
            if variable not in RECORDABLE:
                raise ConfigError([unknown_name("variable", variable, RECORDABLE, where)])
        cells = _select_cells(settings.cells, network.cells, simulation, where)
        path = simulation.output_path(settings.file_name or f"{name}.h5")
        steps = _recorded_steps(settings, simulation.config.run.dt, n_steps, where)
        recordings.append((name, _Recording(path, cells, steps)))
    return recordings


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


def _write(simulation: Simulation, network: Network, emitted: NDArray[np.int64]) -> None:
    """Write the spikes, rows (step, cell)."""
    output, dt = simulation.config.output, simulation.config.run.dt
    times = np.round((emitted[:, 0] + 1) * dt, 6)
    trains = {}
    for here, population in split(network.cells):
        own = (emitted[:, 1] >= here.start) & (emitted[:, 1] < here.stop)
        trains[population.name] = times[own], population.node_id[emitted[own, 1] - here.start]
    if output.spikes_file is not None:
        write_spikes(simulation.output_path(output.spikes_file), trains)
    if output.spikes_file_csv is not None:
        lines = [
            (time, f"{time:.10g} {name} {node}\n")
            for name, (of_part, ids) in trains.items()
            for time, node in zip(of_part, ids, strict=True)
        ]
        with atomic_file(simulation.output_path(output.spikes_file_csv)) as temporary:
            temporary.write_text(
                "timestamps population node_ids\n"
                + "".join(line for _, line in sorted(lines, key=lambda line: line[0]))
            )
