"""SONATA simulation configuration: what to run on a network, with which inputs, recording what.

The keys are those of the SONATA developer guide, of BMTK's PointNet and of libsonata, so that one
file serves all three. Currents are in pA and recorded voltages in mV, as PointNet on NEST has them; those
of libsonata's `linear` in nA, as it has them. docs/sonata.md lists what is supported.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from v1builder.schema.config import Settings, parse_settings
from v1builder.schema.errors import (
    ConfigError,
    NetworkError,
    Problem,
    raise_if_any,
    unknown_name,
)
from v1builder.sonata.circuit import (
    CIRCUIT_CONFIG,
    Circuit,
    absolute,
    parse_circuit,
    read_circuit,
    resolve_paths,
)
from v1builder.sonata.foreign import read_json


class _Strict(Settings):
    """A section: no text or truth value stands for a number, no number is NaN or infinite."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, strict=True, allow_inf_nan=False
    )


class Run(_Strict):
    """Section `run`. Times in ms.

    Of the keys after `precise_times` none can change a result here: random_seed (nothing is random), dL,
    spike_threshold and integration_method (of cells with compartments), and how BMTK divides and shows its
    work.
    """

    tstop: float = Field(gt=0)
    dt: float = Field(default=0.1, gt=0)
    tstart: float = Field(default=0.0, ge=0)
    duration: float | None = None
    n_runs: Literal[1] | None = None
    overwrite_output_dir: bool = True
    precise_times: bool = True
    allow_offgrid_spikes: bool = False
    random_seed: int = 0
    spike_threshold: float | None = None
    dL: float | None = None  # noqa: N815 (BMTK's name)
    integration_method: str | int | None = None
    nsteps_block: int | None = None
    print_time: bool = False
    n_thread: int | None = None
    block_run: bool | None = None
    block_size: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _duration_is_tstop(cls, values: Any) -> Any:
        """BMTK's `duration` is another name of `tstop`."""
        if not isinstance(values, dict) or "duration" not in values:
            return values
        if values.get("tstop", values["duration"]) != values["duration"]:
            raise ValueError("duration and tstop are two names of one time; give one of them")
        return {**values, "tstop": values["duration"]}

    @field_validator("n_runs", mode="before")
    @classmethod
    def _one_run(cls, n_runs: Any) -> Any:
        if n_runs not in (None, 1):
            raise ValueError("several runs one after the other are not supported: run them apart")
        return n_runs

    @model_validator(mode="after")
    def _start_before_stop(self) -> "Run":
        if self.tstart >= self.tstop:
            raise ValueError(f"tstart ({self.tstart}) must lie before tstop ({self.tstop})")
        return self


class Conditions(_Strict):
    """Section `conditions`: of cells with compartments. Point neurons start at the V_m of their files."""

    model_config = ConfigDict(extra="allow", frozen=True)

    v_init: float | None = None
    celsius: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _changes_no_cell(cls, values: Any) -> Any:
        for key in ("modifications", "mechanisms"):
            if isinstance(values, dict) and values.get(key):
                raise ValueError(f"'{key}' change the cells, which is not supported")
        return values


_SPIKE_MODULES = ("sonata", "h5", "hdf5", "synapse_replay", "csv")
_TABLES = ("csv", "file")
_SWEEPS = ("nwb", "allen")
#: Modules of each type of input. "linear" is libsonata's and has nA; PointNet's IClamp has pA.
_MODULES: dict[str, tuple[str, ...]] = {
    "spikes": _SPIKE_MODULES,
    "current_clamp": ("IClamp", "linear"),
    **dict.fromkeys((*_TABLES, *_SWEEPS), ("IClamp",)),
}
#: Keys that only some inputs have.
_KEYS: dict[str, tuple[str, ...]] = {
    "spikes": (
        "input_file",
        "source",
        "use_parrot_neurons",
        "separator",
        "delay",
        "duration",
    ),
    "current_clamp": ("amp", "amp_end", "delay", "duration", "represents_physical_electrode"),
    **dict.fromkeys(_TABLES, ("file", "separator", "timestamps_column", "amplitudes_column")),
    **dict.fromkeys(_SWEEPS, ("file", "sweep_id", "downsample", "sweep_window", "delay")),
}
_PA_PER_NA = 1000.0


class Input(_Strict):
    """One entry of `inputs`: spikes from a file, or a current clamp.

    Attributes:
        input_type: "spikes" or "current_clamp"; "csv" ("file") or "nwb" ("allen") for currents of a file.
        module: BMTK's name ("sonata", "IClamp") or libsonata's ("synapse_replay", "linear").
        node_set: name, dictionary, or list of the cells that get it; for spikes, the virtual cells.
        input_file: spike file (libsonata's `spike_file` is the same).
        amp: pA, of IClamp; a list gives several steps. Of linear (`amp_start`) nA.
        amp_end: nA, of linear: what the current has become when it ends.
        delay: ms, onset of the clamp; a list gives several steps.
        duration: ms; a list gives several steps.
        file: table or NWB file of a current.
        separator, timestamps_column, amplitudes_column: of a table: ms and pA.
        sweep_id, downsample, sweep_window: of an NWB file of the Allen Cell Types Database; ms.
        source: name of the population the spikes come from (libsonata).
        use_parrot_neurons: spikes come a step later, through a relay (BMTK).
        enabled: False leaves the input out (BMTK).
    """

    input_type: str
    module: str
    node_set: Any = "all"
    enabled: bool = True
    random_seed: int | None = None
    input_file: str | None = None
    source: str | None = None
    use_parrot_neurons: bool = False
    amp: float | list[float] | None = None
    amp_end: float | None = None
    delay: float | list[float] = 0.0
    duration: float | list[float] | None = None
    represents_physical_electrode: bool | None = None
    file: str | None = None
    separator: str | None = None
    timestamps_column: str = "timestamps"
    amplitudes_column: str = "amps"
    sweep_id: str | int | None = None
    downsample: float | None = Field(default=None, gt=0)
    sweep_window: list[float] | None = None

    @model_validator(mode="before")
    @classmethod
    def _known_module(cls, values: Any) -> Any:
        """Refuse what is not supported by its name, before its keys are called wrong."""
        if not isinstance(values, dict):
            return values
        values = dict(values)
        kind, module = values.get("input_type"), values.get("module")
        if isinstance(kind, str) and kind not in _MODULES:
            raise ValueError(
                f"input_type '{kind}' is not supported: use one of {', '.join(_MODULES)}"
            )
        if isinstance(kind, str) and isinstance(module, str) and module not in _MODULES[kind]:
            noun = "spike" if kind == "spikes" else "current clamp"
            known = ", ".join(_MODULES[kind])
            raise ValueError(f"{noun} module '{module}' is not supported: use one of {known}")
        if "gids" in values:
            raise ValueError('\'gids\' are not supported: select by "node_set": {"node_id": [...]}')
        if values.get("trial") is not None:
            raise ValueError("'trial' is of NWB files of spikes, which are not supported")
        values.pop("trial", None)
        for theirs, ours, of in (
            ("spike_file", "input_file", _SPIKE_MODULES),
            ("amp_start", "amp", ("linear",)),
        ):
            if theirs in values and module in of:
                if ours in values:
                    raise ValueError(f"'{theirs}' and '{ours}' are one key; give one of them")
                values[ours] = values.pop(theirs)
        for other, keys in _KEYS.items():
            wrong = [key for key in keys if key in values and key not in _KEYS.get(str(kind), keys)]
            if wrong:
                raise ValueError(f"'{wrong[0]}' is a key of '{other}', not of '{kind}'")
        return values

    @model_validator(mode="after")
    def _complete(self) -> "Input":
        if self.input_type == "spikes":
            if self.input_file is None:
                raise ValueError("a spike input needs 'input_file'")
            if self.delay != 0:
                raise ValueError("spikes that are replayed later are not supported: set delay to 0")
            if isinstance(self.duration, list):
                raise ValueError("a spike input has one duration")
            return self
        if self.input_type != "current_clamp":
            if self.file is None:
                raise ValueError("a current of a file needs 'file'")
            if self.input_type in _SWEEPS and self.sweep_id is None:
                raise ValueError("a current of an NWB file needs 'sweep_id'")
            if isinstance(self.delay, list):
                raise ValueError("a current of a file has one delay")
            window = self.sweep_window
            if window is not None and not (len(window) == 2 and 0 <= window[0] < window[1]):
                raise ValueError("'sweep_window' is [start, stop] with 0 <= start < stop, in ms")
            return self
        steps = {key: getattr(self, key) for key in ("amp", "delay", "duration")}
        missing = [key for key, value in steps.items() if value is None]
        if missing:
            raise ValueError(f"a current clamp needs '{missing[0]}'")
        if self.module == "linear" and any(isinstance(value, list) for value in steps.values()):
            raise ValueError("a linear current has one amplitude, delay and duration")
        if self.amp_end is not None and self.module != "linear":
            raise ValueError("'amp_end' is a key of the module 'linear'")
        lengths = {len(value) if isinstance(value, list) else 1 for value in steps.values()}
        if len(lengths) > 1:
            raise ValueError("amp, delay and duration of a current clamp differ in length")
        if 0 in lengths:
            raise ValueError("a current clamp needs at least one step")
        for onset, duration, _ in self.steps:
            if onset < 0 or duration < 0:
                raise ValueError("delay and duration of a current clamp are not negative")
        return self

    @property
    def steps(self) -> list[tuple[float, float, float]]:
        """The steps of a current clamp: (onset ms, duration ms, amplitude pA)."""
        unit = _PA_PER_NA if self.module == "linear" else 1.0
        columns = [
            value if isinstance(value, list) else [value]
            for value in (self.delay, self.duration, self.amp)
        ]
        found = [tuple(map(float, step)) for step in zip(*columns, strict=True)]  # type: ignore[arg-type]
        return [(onset, duration, unit * amplitude) for onset, duration, amplitude in found]

    @property
    def last_amplitude(self) -> float:
        """pA, what a linear current has become when it ends."""
        end = self.amp if self.amp_end is None else self.amp_end
        assert isinstance(end, float | int)
        return _PA_PER_NA * float(end)


class ConnectionOverride(_Strict):
    """One entry of libsonata's `connection_overrides`: weights between two node sets are multiplied.

    Attributes:
        name: for people.
        source, target: node sets.
        weight: factor; 0 silences.
    """

    source: str
    target: str
    weight: float = Field(ge=0)
    name: str = ""


class Output(_Strict):
    """Section `output`. Files without a folder lie in `output_dir`.

    Logs are BMTK's and are not written; spikes are neither compressed nor kept on disk while a run lasts.
    """

    output_dir: str = "output"
    spikes_file: str | None = "spikes.h5"
    spikes_file_csv: str | None = None
    spikes_file_nwb: str | None = None
    spikes_sort_order: (
        Literal["none", "na", "by_time", "time", "by_id", "id", "node_id", "gid"] | None
    ) = None
    overwrite_output_dir: bool = True
    log_file: str | None = None
    log_level: str | int | None = None
    log_format: str | None = None
    log_to_console: bool | None = None
    quiet_simulator: bool | None = None
    compression: str | None = None
    cache_to_disk: bool | None = None

    @property
    def sorting(self) -> str:
        """Order of written spikes, "by_id" or "by_time"."""
        by_id = self.spikes_sort_order in ("by_id", "id", "node_id", "gid")
        return "by_id" if by_id else "by_time"


class ReportSettings(_Strict):
    """One entry of `reports`: variables recorded from some cells.

    Attributes:
        cells: node set to record from.
        variable_name: variable, or list of variables, in NEST's names (V_m, I_syn, threshold ...).
        file_name: file in the output folder; `<name>.h5` unless given.
        start_time: ms.
        end_time: ms; the end of the run unless given.
        dt: ms between rows (BMTK: `interval`); the step of the run unless given.
        unit: what a file says of its unit; an error unless it is the variable's.
    """

    cells: Any = "all"
    variable_name: str | list[str] = "V_m"
    module: str | None = None
    # A point has nothing but a soma; the last is a slip of the guide's own example 300_pointneurons.
    sections: Literal["soma", "all", "multimeter_report"] = "soma"
    file_name: str | None = None
    start_time: float = 0.0
    end_time: float | None = None
    dt: float | None = Field(default=None, gt=0)
    unit: str | None = None
    type: Literal["compartment"] | None = None
    enabled: bool = True
    format: Literal["HDF5", "hdf5", "SONATA"] | None = None
    transform: Literal["none", "None"] | None = None
    to_h5: Literal[True] | None = None
    buffer: bool | None = None
    delete_dat: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _other_names(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        values = dict(values)
        module = values.get("module")
        if module not in (None, "membrane_report", "multimeter_report"):
            raise ValueError(f"report module '{module}' is not supported: use 'membrane_report'")
        pairs = (("interval", "dt"), ("tstart", "start_time"), ("tstop", "end_time"))
        for theirs, ours in pairs:
            if theirs in values and ours in values:
                raise ValueError(f"'{theirs}' and '{ours}' are one key; give one of them")
            if theirs in values:
                values[ours] = values.pop(theirs)
        return values

    @property
    def variables(self) -> list[str]:
        """The recorded variables."""
        names = [self.variable_name] if isinstance(self.variable_name, str) else self.variable_name
        return list(dict.fromkeys(names))


class SimulationConfig(_Strict):
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
    connection_overrides: list[ConnectionOverride] = Field(default_factory=list)
    target_simulator: str | None = None
    target_simulator_version: str | None = None
    mechanisms_dir: str | None = None  # of cells with compartments
    standardized_morphology_orientation: Any = None  # likewise
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
    values = _resolved(path)
    if "simulation" in values:
        path, values = _inner(values, path)
    config = parse_settings(values, SimulationConfig, path)
    return Simulation(path, config, _circuit_of(config, path))


def _resolved(path: Path) -> dict[str, Any]:
    """A configuration, manifest variables replaced."""
    problems: list[Problem] = []
    values = resolve_paths(read_json(path), path, problems)
    raise_if_any(problems, ConfigError)
    return values


def _inner(outer: dict[str, Any], path: Path) -> tuple[Path, dict[str, Any]]:
    """The simulation that BMTK's configuration of two lines names, `network` and `simulation`.

    Like BMTK: what the inner file says holds.
    """
    also = {"network", "simulation", "target_simulator", "version", "metadata"}
    problems = [unknown_name("key", key, sorted(also), path) for key in outer if key not in also]
    raise_if_any(problems, ConfigError)
    for key in ("network", "simulation"):
        if not isinstance(outer.get(key, ""), str):
            raise ConfigError.of("this is not a path", f"{path}, key {key}", repr(outer[key])[:80])
    inner_path = absolute(outer["simulation"], path)
    inner = _resolved(inner_path)
    if "simulation" in inner:
        raise ConfigError.of("a simulation names another one", inner_path, inner["simulation"])
    if "network" in outer and not {"network", "networks"} & set(inner):
        inner["network"] = str(absolute(outer["network"], path))
    return inner_path, inner


def _circuit_of(config: SimulationConfig, path: Path) -> Circuit:
    if config.networks is not None:
        if config.network is not None:
            raise ConfigError.of("there are two networks", path, "network and networks", "keep one")
        inline: dict[str, Any] = {
            "components": config.components or {},
            "networks": config.networks,
            "node_sets_file": config.node_sets_file,
        }
        return parse_circuit(inline, path)
    if config.components is not None:
        raise ConfigError.of(
            "the components are those of another file",
            f"{path}, key components",
            ", ".join(config.components),
            "name them in the circuit configuration",
        )
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
