"""circuit_config.json: which files make a network, and how configured paths are read."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from v1builder.schema.errors import NetworkError, Problem, raise_if_any, unknown_name
from v1builder.schema.files import write_json
from v1builder.sonata.components import read_json

CIRCUIT_CONFIG = "circuit_config.json"

#: Keys a circuit configuration may have (SONATA developer guide and libsonata's extensions).
CIRCUIT_KEYS = (
    "version",
    "manifest",
    "components",
    "networks",
    "node_sets_file",
    "target_simulator",
    "metadata",
)
NODE_KEYS = (
    "nodes_file",
    "node_types_file",
    "populations",
    "node_set",
    "gid_mapping_file",
    "enabled",
)
EDGE_KEYS = ("edges_file", "edge_types_file", "populations", "target", "source", "enabled")


@dataclass(frozen=True)
class PopulationFile:
    """A population, the HDF5 file it is in and its types table.

    Attributes:
        population: its name, or "" when the configuration does not say (then: all in the file).
        file: HDF5 file; relative to the folder when writing, absolute when read.
        types_file: CSV file, or None.
        type: the kind of population: nodes "point_neuron" or "virtual"; edges "chemical".
    """

    population: str
    file: Path
    types_file: Path | None
    type: str = ""


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
    folder: Path | str, nodes: Iterable[PopulationFile], edges: Iterable[PopulationFile]
) -> Path:
    """Write `folder`/circuit_config.json.

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
    return parse_circuit(read_json(path), path)


def parse_circuit(config: Mapping[str, Any], path: Path) -> Circuit:
    """The circuit that the dictionary `config`, read from `path`, describes.

    Raises:
        NetworkError: listing everything wrong with it.
    """
    problems = [
        unknown_name("key", key, CIRCUIT_KEYS, path) for key in config if key not in CIRCUIT_KEYS
    ]
    config = resolve_paths(config, path, problems)
    networks = config.get("networks")
    if not isinstance(networks, dict):
        problems.append(Problem("a required key is missing", f"{path}, key networks", fix="add it"))
        networks = {}
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
    components = config.get("components", {})
    if not isinstance(components, dict):
        problems.append(Problem("'components' is not a dictionary", str(path), repr(components)))
        components = {}
    raise_if_any(problems, NetworkError)
    node_sets = config.get("node_sets_file")
    return Circuit(
        path=path,
        nodes=tuple(parts["node"]),
        edges=tuple(parts["edge"]),
        components={key: absolute(value, path) for key, value in components.items()},
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
    found = []
    for index, entry in enumerate(entries):
        here = f"{where}[{index}]"
        problems += [unknown_name("key", key, keys, here) for key in entry if key not in keys]
        if not isinstance(entry.get(f"{kind}s_file"), str):
            problems.append(
                Problem(
                    "a required key is missing", f"{here}.{kind}s_file", fix="name the HDF5 file"
                )
            )
            continue
        if not entry.get("enabled", True):  # BMTK leaves such files out
            continue
        types = entry.get(f"{kind}_types_file")
        populations = entry.get("populations") or {"": {}}
        found += [
            PopulationFile(
                name,
                absolute(entry[f"{kind}s_file"], path),
                absolute(types, path) if types and types != "NULL" else None,
                str((settings or {}).get("type", "")),
            )
            for name, settings in populations.items()
        ]
    return found


def absolute(value: str, config: Path) -> Path:
    """The path `value` of the configuration file `config`, relative to that file's folder."""
    return (config.parent / value).resolve()


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
    variables |= {name.lstrip("$").strip("{}"): str(value) for name, value in manifest.items()}
    unknown: set[str] = set()

    def replace(text: str, depth: int = 0) -> str:
        def value_of(match: re.Match[str]) -> str:
            name = match.group(1)
            if name not in variables or depth > len(variables):
                unknown.add(name)
                return match.group(0)
            return replace(variables[name], depth + 1)

        return _VARIABLE.sub(value_of, text)

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
