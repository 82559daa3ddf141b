"""SONATA simulation configuration: what to run on a network, with which inputs, recording what.

The keys are those of the SONATA developer guide, of BMTK's PointNet and of libsonata, so that one
file serves all three. Currents are in pA and recorded voltages in mV, as PointNet on NEST has them.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from v1builder.schema.config import Settings, parse_settings
from v1builder.schema.errors import ConfigError, NetworkError, Problem, raise_if_any
from v1builder.sonata.circuit import (
    CIRCUIT_CONFIG,
    Circuit,
    absolute,
    parse_circuit,
    read_circuit,
    resolve_paths,
)
from v1builder.sonata.components import read_json


class Run(Settings):
    """Section `run`. Times in ms.

    Keys after `random_seed` are BMTK's or libsonata's; they are accepted and have no effect here.
    """

    tstop: float = Field(gt=0)
    dt: float = Field(default=0.1, gt=0)
    tstart: float = Field(default=0.0, ge=0)
    random_seed: int = 0
    duration: float | None = None
    spike_threshold: float | None = None
    dL: float | None = None  # noqa: N815 (BMTK's name)
    nsteps_block: int | None = None
    overwrite_output_dir: bool = True
    print_time: bool = False
    n_thread: int | None = None
    n_runs: int | None = None
    precise_times: bool | None = None
    allow_offgrid_spikes: bool | None = None
    block_run: bool | None = None
    block_size: float | None = None
    integration_method: str | int | None = None

    @model_validator(mode="before")
    @classmethod
    def _duration_is_tstop(cls, values: Any) -> Any:
        """BMTK's `duration` is another name of `tstop`."""
        if isinstance(values, dict) and "duration" in values and "tstop" not in values:
            return {**values, "tstop": values["duration"]}
        return values

    @model_validator(mode="after")
    def _start_before_stop(self) -> "Run":
        if self.tstart >= self.tstop:
            raise ValueError(f"tstart ({self.tstart}) must lie before tstop ({self.tstop})")
        return self


class Conditions(Settings):
    """Section `conditions`; accepted, without effect on point neurons."""

    model_config = ConfigDict(extra="allow", frozen=True)

    v_init: float | None = None
    celsius: float | None = None


class Input(Settings):
    """One entry of `inputs`: spikes from a file, or a current clamp.

    Attributes:
        input_type: "spikes" or "current_clamp".
        module: BMTK's name ("sonata", "IClamp") or libsonata's ("synapse_replay", "linear").
        node_set: name, dictionary, or list of the cells that get it; for spikes, the virtual cells.
        input_file: spike file (libsonata's `spike_file` is the same).
        amp: pA; a list gives several steps.
        delay: ms, onset of the clamp; a list gives several steps.
        duration: ms; a list gives several steps.
        source: name of the population the spikes come from (libsonata).
        enabled: False leaves the input out (BMTK).
    """

    input_type: Literal["spikes", "current_clamp"]
    module: str
    node_set: Any = "all"
    input_file: str | None = None
    amp: float | list[float] | None = None
    delay: float | list[float] = 0.0
    duration: float | list[float] | None = None
    source: str | None = None
    source_node_set: Any = None
    enabled: bool = True
    random_seed: int | None = None
    trial: str | None = None
    gids: Any = None
    use_parrot_neurons: bool | None = None
    represents_physical_electrode: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _libsonata_names(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        values = dict(values)
        for theirs, ours in (("spike_file", "input_file"), ("amp_start", "amp")):
            if theirs in values and ours not in values:
                values[ours] = values.pop(theirs)
        return values

    @model_validator(mode="after")
    def _complete(self) -> "Input":
        if self.input_type == "spikes":
            if self.input_file is None:
                raise ValueError("a spike input needs 'input_file'")
            if self.module not in ("sonata", "h5", "hdf5", "synapse_replay", "csv"):
                raise ValueError(
                    f"spike module '{self.module}' is not supported: use 'sonata' and a SONATA file, or 'csv'"
                )
            return self
        if self.module not in ("IClamp", "linear"):
            raise ValueError(f"current clamp module '{self.module}' is not supported: use 'IClamp'")
        steps = {key: getattr(self, key) for key in ("amp", "delay", "duration")}
        missing = [key for key, value in steps.items() if value is None]
        if missing:
            raise ValueError(f"a current clamp needs '{missing[0]}'")
        lengths = {len(value) if isinstance(value, list) else 1 for value in steps.values()}
        if len(lengths) > 1:
            raise ValueError("amp, delay and duration of a current clamp differ in length")
        return self

    @property
    def steps(self) -> list[tuple[float, float, float]]:
        """The steps of a current clamp: (onset ms, duration ms, amplitude pA)."""
        columns = [
            value if isinstance(value, list) else [value]
            for value in (self.delay, self.duration, self.amp)
        ]
        return [tuple(map(float, step)) for step in zip(*columns, strict=True)]  # type: ignore[misc]


class Output(Settings):
    """Section `output`. Files without a folder lie in `output_dir`."""

    output_dir: str = "output"
    spikes_file: str | None = "spikes.h5"
    spikes_file_csv: str | None = None
    spikes_file_nwb: str | None = None
    spikes_sort_order: Literal["none", "by_id", "by_time", "id", "time"] | None = None
    log_file: str | None = None
    log_level: str | int | None = None
    log_format: str | None = None
    log_to_console: bool | None = None
    quiet_simulator: bool | None = None
    overwrite_output_dir: bool = True
    compression: str | None = None
    cache_to_disk: bool | None = None


class ReportSettings(Settings):
    """One entry of `reports`: a variable recorded from some cells.

    Attributes:
        cells: node set to record from.
        variable_name: variable, or list of variables, in NEST's names (V_m, I_syn, threshold ...).
        file_name: file in the output folder; `<name>.h5` unless given.
        start_time: ms.
        end_time: ms; the end of the run unless given.
        dt: ms between rows (BMTK: `interval`); the step of the run unless given.
    """

    cells: Any = "all"
    variable_name: str | list[str] = "V_m"
    module: str | None = None
    sections: str = "soma"
    file_name: str | None = None
    start_time: float = 0.0
    end_time: float | None = None
    dt: float | None = Field(default=None, gt=0)
    unit: str | None = None
    type: str | None = None
    enabled: bool = True
    format: str | None = None
    transform: Any = None
    buffer: bool | None = None
    to_h5: bool | None = None
    delete_dat: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _other_names(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        values = dict(values)
        pairs = (("interval", "dt"), ("tstart", "start_time"), ("tstop", "end_time"))
        for theirs, ours in pairs:
            if theirs in values and ours not in values:
                values[ours] = values.pop(theirs)
        return values

    @field_validator("module")
    @classmethod
    def _records_membranes(cls, module: str | None) -> str | None:
        if module not in (None, "membrane_report", "multimeter_report"):
            raise ValueError(f"report module '{module}' is not supported: use 'membrane_report'")
        return module

    @property
    def variables(self) -> list[str]:
        """The recorded variables."""
        return (
            [self.variable_name]
            if isinstance(self.variable_name, str)
            else list(self.variable_name)
        )


class SimulationConfig(Settings):
    """A whole simulation configuration, manifest variables replaced."""

    run: Run
    version: float | str | None = None
    network: str | None = None
    components: dict[str, str] | None = None
    networks: dict[str, Any] | None = None
    conditions: Conditions = Conditions()
    inputs: dict[str, Input] = Field(default_factory=dict)
    output: Output = Output()
    reports: dict[str, ReportSettings] = Field(default_factory=dict)
    node_sets: dict[str, Any] = Field(default_factory=dict)
    node_sets_file: str | None = None
    node_set: Any = None
    target_simulator: str | None = None
    target_simulator_version: str | None = None
    metadata: dict[str, Any] | None = None


class Simulation:
    """A simulation configuration with its circuit and with paths resolved.

    Attributes:
        path: the configuration file.
        config: its contents.
        circuit: the network it runs on.
        node_sets: named node sets, those of the circuit and of `node_sets_file` included.
        output_dir: absolute.
    """

    def __init__(self, path: Path, config: SimulationConfig, circuit: Circuit):
        self.path = path
        self.config = config
        self.circuit = circuit
        self.node_sets: dict[str, Any] = {}
        files = [circuit.node_sets_file]
        if config.node_sets_file:
            files.append(absolute(config.node_sets_file, path))
        for file in files:
            if file is not None:
                self.node_sets |= read_json(file)
        self.node_sets |= config.node_sets
        self.output_dir = absolute(config.output.output_dir, path)

    def input_path(self, value: str) -> Path:
        """Absolute path of an input file named in the configuration."""
        return absolute(value, self.path)

    def output_path(self, value: str) -> Path:
        """Absolute path of an output file: in the output folder, unless it names its own folder."""
        path = Path(value)
        return absolute(value, self.path) if len(path.parts) > 1 else self.output_dir / path


def read_simulation(path: Path | str) -> Simulation:
    """Read a simulation configuration and the circuit it names.

    The circuit is `network` (a circuit configuration), or inline `networks`, or the
    circuit_config.json beside the file.

    Raises:
        ConfigError: listing every key that is unknown, missing or has a wrong value.
        NetworkError: the file is missing or not JSON, or the circuit is not valid.
    """
    path = Path(path)
    if path.is_dir():
        raise ConfigError.of(
            "this is a folder, not a simulation configuration",
            path,
            fix="name the JSON file, for example FOLDER/simulation_config.json",
        )
    raw = read_json(path)
    problems: list[Problem] = []
    values = resolve_paths(raw, path, problems)
    raise_if_any(problems, ConfigError)
    config = parse_settings(values, SimulationConfig, path)
    return Simulation(path, config, _circuit_of(config, path))


def _circuit_of(config: SimulationConfig, path: Path) -> Circuit:
    if config.networks is not None:
        inline = {"components": config.components or {}, "networks": config.networks}
        return parse_circuit(inline, path)
    if config.network is not None:
        return read_circuit(absolute(config.network, path))
    beside = path.parent / CIRCUIT_CONFIG
    if not beside.is_file():
        raise NetworkError.of(
            "the simulation names no network",
            f"{path}, key network",
            fix=f'add "network": "path/to/{CIRCUIT_CONFIG}"',
        )
    return read_circuit(beside)
