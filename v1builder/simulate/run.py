"""Run a standard SONATA simulation configuration: what BMTK's PointNet runs on NEST, and as it does.

Times become steps the way NEST and PointNet make them. A spike of an input file counts in the step
whose end is the first at or after its time. A current clamp acts from `delay` + one step to `delay` +
`duration` + one step. A spike that is written carries the end of its step, and so does a recorded
quantity. Unlike PointNet, which leaves out clamps that begin in the first step, we run them.

The run goes in segments, so that memory does not grow with its length: only the spikes stay in
memory, what is recorded goes to disk.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from operator import itemgetter
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from v1builder.load import Network, load_circuit
from v1builder.load.populations import split
from v1builder.load.selection import some_cells
from v1builder.model import V1Network
from v1builder.model.device import device_of
from v1builder.model.observation import Observer, Segment, SpikeEvents, observe
from v1builder.model.recordables import needs_ports
from v1builder.schema.errors import ConfigError
from v1builder.schema.files import atomic_file
from v1builder.simulate.currents import clamps, current
from v1builder.simulate.inputs import input_spikes
from v1builder.simulate.overrides import with_overrides
from v1builder.simulate.reports import recordings
from v1builder.sonata.simulation_config import Simulation, read_simulation
from v1builder.sonata.spikes import write_spikes

Progress = Callable[[str, int, int], None]

#: Steps are counted in 32 bits, see `SpikeEvents`: 2 147 s of model time at .001 ms.
_MOST_STEPS: Final = 2**31 - 1


def simulate(
    config_path: Path | str,
    *,
    dtype: torch.dtype = torch.float64,
    backend: str = "auto",
    accelerator: str = "cpu",
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Run the simulation and write its spikes and reports.

    Args:
        config_path: SONATA simulation configuration.
        dtype: float64 gives NEST's spikes; float32 is faster.
        backend: what computes the rollout, see `model.backends`.
        accelerator: where: "cpu", "cuda", or "auto" for a GPU where there is one.
        progress: called with (stage, done, total).
        say: called with what is worth knowing, as sentences.

    Returns:
        The output folder.

    Raises:
        ConfigError: the configuration is not valid or asks for what is not supported.
        NetworkError: the network or an input file is not valid.
        StorageError: the file system refused.
    """
    device = device_of(accelerator)
    simulation = read_simulation(config_path)
    settings = simulation.config.run
    n_steps = _n_steps(simulation)
    _check_output(simulation)
    network = load_circuit(simulation.circuit, progress)
    _check_node_set(simulation, network)
    network = with_overrides(network, simulation)
    if say is not None:
        for sentence in _short_delays(network, settings.dt):
            say(sentence)
    trains = input_spikes(simulation, network, n_steps)
    acting = clamps(simulation, network)
    reports = recordings(simulation, network, n_steps)
    _check_outputs(simulation, network, [report.path for report in reports])
    keep_ports = any(needs_ports(report.variable) for report in reports)
    model = V1Network(
        network,
        dt=settings.dt,
        dtype=dtype,
        trainable=(),
        backend=backend,
        keep_ports=keep_ports,
    ).to(device)
    spikes = SpikeEvents()
    with ExitStack() as stack:
        for report in reports:
            stack.enter_context(report.on_disk())
        observe(
            model,
            lambda start, stop: {name: train.dense(start, stop) for name, train in trains.items()},
            [spikes, *reports, _Shown(progress, n_steps)],
            n_steps=n_steps,
            current=lambda start, stop: current(acting, network.n_cells, start, stop),
            state=model.starting_state(),
        )
        _, step, cell = spikes.events()[0]
        _write_spikes(simulation, network, step, cell)
        for report in reports:
            report.write(network.cells, settings.dt)
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
    if n_steps > _MOST_STEPS:
        raise ConfigError.of(
            "the run has too many steps",
            f"{simulation.path}, run",
            f"tstop {run.tstop} ms, dt {run.dt} ms",
            f"choose at most {_MOST_STEPS} steps",
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
    keeps = not (
        simulation.config.output.overwrite_output_dir and simulation.config.run.overwrite_output_dir
    )
    if keeps and simulation.output_dir.is_dir() and any(simulation.output_dir.iterdir()):
        raise ConfigError.of(
            "the output folder is not empty",
            f"{simulation.path}, output.output_dir",
            simulation.output_dir,
            "overwrite_output_dir is false: choose another folder",
        )


def _short_delays(network: Network, dt: float) -> list[str]:
    """Sentences on delays below a step, of which NEST runs none."""
    found = []
    for name, edges in network.edges.items():
        short = edges.delay < dt * (1 - 1e-6)
        if short.any():
            share = f"{np.count_nonzero(short)} of {len(short)} edges of {name}"
            shortest = f"{edges.delay[short].min():g} ms"
            found.append(
                f"{share} have a delay below the step of {dt:g} ms ({shortest}): it is one step"
            )
    return found


def _check_node_set(simulation: Simulation, network: Network) -> None:
    """Refuse the simulation of a part of the cells (libsonata's `node_set`)."""
    node_set = simulation.config.node_set
    if node_set is None:
        return
    where = f"{simulation.path}, node_set"
    chosen = some_cells(network, node_set, where, simulation.node_sets)
    if len(chosen) < network.n_cells:
        raise ConfigError.of(
            "a part of the cells cannot be simulated alone",
            where,
            f"{len(chosen)} of {network.n_cells} cells",
            "name a node set of all simulated cells, or leave it out",
        )


def _check_outputs(simulation: Simulation, network: Network, reports: Sequence[Path]) -> None:
    """Refuse outputs that would replace what is read, or one another."""
    config = simulation.config
    names = [config.output.spikes_file, config.output.spikes_file_csv]
    written = [*reports, *(simulation.output_path(name) for name in names if name is not None)]
    read = _inputs(simulation, network)
    seen: set[Path] = set()
    for path in written:
        if path.resolve() in read | seen:
            what = "an output would replace what is read"
            if path.resolve() in seen:
                what = "two outputs have one file"
            where, fix = f"{simulation.path}, output", "write to another file"
            raise ConfigError.of(what, where, path, fix)
        seen.add(path.resolve())


def _inputs(simulation: Simulation, network: Network) -> set[Path]:
    """Every file that a simulation reads."""
    config, circuit = simulation.config, simulation.circuit
    parts = [*circuit.nodes, *circuit.edges]
    read = {part.file for part in parts} | {part.types_file for part in parts}
    read |= {circuit.path, circuit.node_sets_file, simulation.path.resolve()}
    for settings in config.inputs.values():
        read |= {
            simulation.input_path(name).resolve()
            for name in (settings.input_file, settings.file)
            if name is not None
        }
    if config.node_sets_file is not None:
        read.add(simulation.input_path(config.node_sets_file).resolve())
    for key, tables in (
        ("point_neuron_models_dir", [network.cells.types, network.cells.attributes]),
        ("synaptic_models_dir", [edges.types for edges in network.edges.values()]),
    ):
        folder = circuit.components.get(key)
        if folder is None:
            continue
        for table in tables:
            names = table["dynamics_params"] if "dynamics_params" in table else []  # noqa: SIM401
            read |= {(folder / name).resolve() for name in set(names) if isinstance(name, str)}
    return {path for path in read if path is not None}


class _Shown(Observer):
    """Tells how far the run is."""

    def __init__(self, progress: Progress | None, n_steps: int):
        self._progress, self._n_steps = progress, n_steps

    def see(self, segment: Segment) -> None:
        """Tell it."""
        if self._progress is not None:
            self._progress("simulating", segment.stop, self._n_steps)


def _write_spikes(
    simulation: Simulation, network: Network, step: NDArray[np.int32], cell: NDArray[np.int32]
) -> None:
    """Write the spikes, step and cell of each."""
    output, dt = simulation.config.output, simulation.config.run.dt
    times = np.round((step.astype(np.int64) + 1) * dt, 6)
    trains = {}
    for here, population in split(network.cells):
        own = (cell >= here.start) & (cell < here.stop)
        trains[population.name] = times[own], population.node_id[cell[own] - here.start]
    if output.spikes_file is not None:
        write_spikes(simulation.output_path(output.spikes_file), trains, output.sorting)
    if output.spikes_file_csv is not None:
        ids_first = output.sorting == "by_id"
        by_time, by_id = itemgetter(0), itemgetter(1, 0)
        lines = [
            (time, node, f"{time:.10g} {name} {node}\n")
            for name, (of_part, ids) in trains.items()
            for time, node in zip(of_part, ids, strict=True)
        ]
        with atomic_file(simulation.output_path(output.spikes_file_csv)) as temporary:
            temporary.write_text(
                "timestamps population node_ids\n"
                + "".join(line for *_, line in sorted(lines, key=by_id if ids_first else by_time))
            )
