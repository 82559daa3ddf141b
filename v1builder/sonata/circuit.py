"""circuit_config.json: which files make a network, and how configured paths are read."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from v1builder.schema.errors import NetworkError, Problem, raise_if_any, unknown_name
from v1builder.schema.files import write_json
from v1builder.sonata.foreign import read_json

CIRCUIT_CONFIG = "circuit_config.json"
NODE_SETS = "node_sets.json"

#: Keys a circuit configuration may have (SONATA developer guide and libsonata's extensions).
CIRCUIT_KEYS = (
    "version",
    "manifest",
    "components",
    "networks",
    "node_sets_file",
    "target_simulator",
    "metadata",
    "standardized_morphology_orientation",
)
#: Keys of a simulation configuration, which may have its networks in the same file.
SIMULATION_KEYS = (
    "run",
    "conditions",
    "inputs",
    "output",
    "reports",
    "node_sets",
    "node_set",
    "connection_overrides",
    "target_simulator_version",
    "mechanisms_dir",
)
#: Keys that name a further file, see `network_file`.
FURTHER_KEYS = ("network", "simulation")
NODE_KEYS = ("nodes_file", "node_types_file", "populations", "enabled")
EDGE_KEYS = ("edges_file", "edge_types_file", "populations", "target", "source", "enabled")


@dataclass(frozen=True)
class PopulationFile:
    """A population, the HDF5 file it is in and its types table.

    Attributes:
        population: its name, or "" when the configuration does not say (then: all in the file).
        file: HDF5 file; relative to the folder when writing, absolute when read.
        types_file: CSV file, or None.
        type: the kind of population: nodes "point_neuron" or "virtual"; edges "chemical".
        source, target: of edges, the node populations that the configuration names, or "".
    """

    population: str
    file: Path
    types_file: Path | None
    type: str = ""
    source: str = ""
    target: str = ""


@dataclass(frozen=True)
class Circuit:
    """A circuit configuration with all paths resolved.

    Attributes:
        path: the configuration file.
        nodes: node populations, in the order of the file.
        edges: edge populations, in the order of the file.
        components: component folders by their SONATA key (for example "point_neuron_models_dir").
        node_sets_file: JSON file of named node sets, or None.
    """

    path: Path
    nodes: tuple[PopulationFile, ...]
    edges: tuple[PopulationFile, ...]
    components: dict[str, Path] = field(default_factory=dict)
    node_sets_file: Path | None = None


def write_circuit_config(
    folder: Path | str,
    nodes: Iterable[PopulationFile],
    edges: Iterable[PopulationFile],
    node_sets: Mapping[str, Any] | None = None,
) -> Path:
    """Write `folder`/circuit_config.json, and node_sets.json where there are named node sets.

    The base directory is "." (relative to the configuration, as SONATA says), because libsonata
    does not know BMTK's ${configdir}. BMTK reads "." as the working directory, so run it there.

    Raises:
        StorageError: the file system refused.
    """

    def entry(part: PopulationFile, kind: str) -> dict[str, Any]:
        types = None if part.types_file is None else f"$BASE_DIR/{part.types_file.as_posix()}"
        return {
            f"{kind}s_file": f"$BASE_DIR/{part.file.as_posix()}",
            f"{kind}_types_file": types,
            "populations": {part.population: {"type": part.type}},
        }

    path = Path(folder) / CIRCUIT_CONFIG
    if node_sets:
        write_json(path.with_name(NODE_SETS), dict(node_sets))
    write_json(
        path,
        {
            "manifest": {"$BASE_DIR": ".", "$COMPONENTS_DIR": "$BASE_DIR/components"},
            "components": {
                "point_neuron_models_dir": "$COMPONENTS_DIR/cell_models",
                "synaptic_models_dir": "$COMPONENTS_DIR/synaptic_models",
            },
            "networks": {
                "nodes": [entry(part, "node") for part in nodes],
                "edges": [entry(part, "edge") for part in edges],
            },
            **({"node_sets_file": f"$BASE_DIR/{NODE_SETS}"} if node_sets else {}),
        },
    )
    return path


def read_circuit(folder_or_config: Path | str) -> Circuit:
    """Read the circuit configuration of a network folder, or the one named.

    Raises:
        NetworkError: listing everything wrong with it.
    """
    path = Path(folder_or_config)
    if path.is_dir() or not path.exists():
        config = path / CIRCUIT_CONFIG
        if not config.is_file():
            raise NetworkError.of(
                "this is not a network folder" if path.is_dir() else "there is no such network",
                path,
                f"no {CIRCUIT_CONFIG}",
                "name a folder made by 'v1builder build', or a SONATA circuit configuration",
            )
        path = config
    config = read_json(path)
    further = network_file(config, path)
    return parse_circuit(config, path) if further is None else read_circuit(further)


def network_file(config: Mapping[str, Any], path: Path) -> Path | None:
    """The circuit configuration that a configuration names (`network`); None if it is one itself.

    BMTK's `build_env` writes a configuration of two lines, `network` and `simulation`; a simulation
    configuration names its network in the same way.

    Raises:
        NetworkError: the file it names names another one in turn, or it has networks itself.
    """
    if "network" not in config:
        return None
    where = f"{path}, key network"
    if "networks" in config:
        raise NetworkError.of("there are two networks", where, "network and networks", "keep one")
    problems: list[Problem] = []
    value = resolve_paths(
        {key: config[key] for key in ("network", "manifest") if key in config}, path, problems
    )["network"]
    raise_if_any(problems, NetworkError)
    if not isinstance(value, str):
        raise NetworkError.of("this is not a path", where, json.dumps(value)[:80], "name a file")
    file = absolute(value, path)
    if "network" in read_json(file):
        raise NetworkError.of(
            "a network configuration names another one", file, fix="name the other one instead"
        )
    return file


def parse_circuit(config: Mapping[str, Any], path: Path) -> Circuit:
    """The circuit that the dictionary `config`, read from `path`, describes.

    Raises:
        NetworkError: listing everything wrong with it.
    """
    known = (*CIRCUIT_KEYS, *SIMULATION_KEYS)
    problems = [unknown_name("key", key, known, path) for key in config if key not in known]
    config = resolve_paths(config, path, problems)
    networks = config.get("networks")
    if not isinstance(networks, dict):
        what = "'networks' is not a dictionary" if networks else "a required key is missing"
        problems.append(Problem(what, f"{path}, key networks", fix="add it"))
        networks = {}
    problems += [
        unknown_name("key", key, ("nodes", "edges"), f"{path}, key networks")
        for key in networks
        if key not in ("nodes", "edges")
    ]
    parts = {
        kind: _population_files(networks.get(f"{kind}s", []), kind, keys, path, problems)
        for kind, keys in (("node", NODE_KEYS), ("edge", EDGE_KEYS))
    }
    if networks and not parts["node"]:
        problems.append(
            Problem(
                "the network has no nodes", f"{path}, key networks.nodes", fix="list its node files"
            )
        )
    components = config.get("components") or {}
    if not isinstance(components, dict):
        problems.append(Problem("'components' is not a dictionary", str(path), repr(components)))
        components = {}
    node_sets = config.get("node_sets_file")
    named = {f"components.{key}": value for key, value in components.items()}
    for key, value in {**named, "node_sets_file": node_sets}.items():
        if value is not None and not isinstance(value, str):
            where = f"{path}, key {key}"
            problems.append(Problem("this is not a path", where, repr(value)[:80], "write a text"))
    raise_if_any(problems, NetworkError)
    return Circuit(
        path=path,
        nodes=tuple(parts["node"]),
        edges=tuple(parts["edge"]),
        components={
            key: absolute(value, path) for key, value in components.items() if value is not None
        },
        node_sets_file=absolute(node_sets, path) if node_sets else None,
    )


def _population_files(
    entries: Any, kind: str, keys: tuple[str, ...], path: Path, problems: list[Problem]
) -> list[PopulationFile]:
    where = f"{path}, key networks.{kind}s"
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        problems.append(
            Problem(f"'{kind}s' is not a list of dictionaries", where, repr(entries)[:80])
        )
        return []
    found: list[PopulationFile] = []
    for index, entry in enumerate(entries):
        here = f"{where}[{index}]"
        before = len(problems)
        problems += [unknown_name("key", key, keys, here) for key in entry if key not in keys]
        problems += _entry_problems(entry, kind, here)
        if len(problems) > before or not entry.get("enabled", True):
            continue  # BMTK leaves files out that are not enabled
        types = entry.get(f"{kind}_types_file")
        populations = entry.get("populations") or {"": {}}
        found += [
            PopulationFile(
                name,
                absolute(entry[f"{kind}s_file"], path),
                absolute(types, path) if types and types != "NULL" else None,
                (settings or {}).get("type", ""),
                entry.get("source") or "",
                entry.get("target") or "",
            )
            for name, settings in populations.items()
        ]
    named = [part.population for part in found if part.population]
    problems += [
        Problem(f"two {kind} populations have one name", where, name, "name each once")
        for name in dict.fromkeys(named)
        if named.count(name) > 1
    ]
    return found


def _entry_problems(entry: Mapping[str, Any], kind: str, here: str) -> list[Problem]:
    """What is wrong with the values of one entry of `networks`."""
    file = f"{kind}s_file"
    problems = []
    if file not in entry:
        problems.append(
            Problem("a required key is missing", f"{here}.{file}", fix="name the HDF5 file")
        )
    for key in (file, f"{kind}_types_file", "source", "target"):
        may_be_null = key != file
        value = entry.get(key, "")
        if not isinstance(value, str) and not (value is None and may_be_null):
            problems.append(
                Problem("this is not a text", f"{here}.{key}", repr(value)[:80], "correct it")
            )
    if not isinstance(entry.get("enabled", True), bool):
        shown = json.dumps(entry["enabled"])[:80]
        problems.append(
            Problem("this is neither true nor false", f"{here}.enabled", shown, "without quotes")
        )
    populations = entry.get("populations")
    if populations is None:
        return problems
    if not isinstance(populations, dict) or not all(
        value is None or isinstance(value, dict) for value in populations.values()
    ):
        problems.append(
            Problem(
                "'populations' is not a dictionary of dictionaries",
                f"{here}.populations",
                repr(populations)[:80],
                'write {"NAME": {"type": "point_neuron"}}',
            )
        )
        return problems
    for name, settings in populations.items():
        for key, value in (settings or {}).items():
            if key != "type" or not isinstance(value, str):
                where = f"{here}.populations.{name}.{key}"
                what = "a property of a population is not supported"
                if key == "type":
                    what = "the type of a population is not a text"
                problems.append(Problem(what, where, repr(value)[:80], "only 'type' is"))
    return problems


def absolute(value: str, config: Path) -> Path:
    """The path `value` of the configuration file `config`, relative to that file's folder.

    Raises:
        NetworkError: it cannot be a path.
    """
    try:
        return (config.parent / value).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise NetworkError.of("this is not a path", config, error, "correct the path") from None


#: Characters of the longest path of Linux.
LONGEST_PATH = 4096
#: Longest chain of manifest variables that name one another.
_DEEPEST = 100
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")


def resolve_paths(config: Mapping[str, Any], path: Path, problems: list[Problem]) -> dict[str, Any]:
    """Replace the manifest's variables in all texts of a configuration.

    `$NAME` and `${NAME}` are the same; BMTK's `${configdir}` and `${workingdir}` are known.

    Args:
        config: the configuration as read.
        path: its file.
        problems: gets one entry per unknown or circular variable.

    Returns:
        The configuration without its manifest.
    """
    manifest = config.get("manifest") or {}
    if not isinstance(manifest, dict):
        problems.append(Problem("'manifest' is not a dictionary", str(path), repr(manifest)[:80]))
        manifest = {}
    variables = {"configdir": str(path.parent.resolve()), "workingdir": str(Path.cwd())}
    for name, value in manifest.items():
        if isinstance(value, str):
            variables[name.lstrip("$").strip("{}")] = value
        else:
            where = f"{path}, key manifest.{name}"
            problems.append(Problem("this is not a text", where, repr(value)[:80], "correct it"))
    unknown: dict[str, None] = {}
    done: dict[str, str] = {}

    def replace(text: str, within: tuple[str, ...] = ()) -> str:
        def value_of(match: re.Match[str]) -> str:
            name = match.group(1)
            if name not in variables or name in within or len(within) > _DEEPEST:
                unknown[name] = None
                return match.group(0)
            if name not in done:
                done[name] = replace(variables[name], (*within, name))
            return done[name]

        replaced = _VARIABLE.sub(value_of, text) if len(text) <= LONGEST_PATH else text
        if len(replaced) <= LONGEST_PATH:
            return replaced
        if replaced != text:
            problems.append(
                Problem(
                    "a text grows too long when manifest variables are replaced",
                    f"{path}, key manifest",
                    f"{text[:80]}: {len(replaced)} characters",
                    f"paths have at most {LONGEST_PATH}",
                )
            )
        return text

    def walk(value: Any) -> Any:
        if isinstance(value, str):
            return replace(value)
        if isinstance(value, list):
            return [walk(item) for item in value]
        if isinstance(value, dict):
            return {key: walk(item) for key, item in value.items()}
        return value

    resolved = {key: walk(value) for key, value in config.items() if key != "manifest"}
    problems += [
        unknown_name("manifest variable", name, variables, f"{path}, key manifest")
        for name in sorted(unknown)
    ]
    return resolved
