"""Characterize a network folder: every section that its files allow, as JSON, CSV, figures and a page.

The recordings and tables a network is compared with travel in its folder (`reference/*.csv`), so nothing
else is needed. What is missing there, as in networks that others made, is named and left out.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from v1builder.characterize import sections
from v1builder.load import Network, load_network
from v1builder.load.coordinates import require_glif
from v1builder.load.network import EdgePopulation
from v1builder.report.characterization import write_page
from v1builder.schema.errors import DataError
from v1builder.schema.files import atomic_folder, sha256_of, write_json, write_text
from v1builder.schema.provenance import provenance

Progress = Callable[[str, int, int], None]

_CELLS: Final = ("x", "z", "tuning_angle", "target_sizes", "pop_name")
_PSP_TABLES: Final = ("populations", "psp_lookup", "psp_amplitude")
_RULE_TABLES: Final = ("populations", "connection_probability", "distance_orientation_rule")


def characterize(
    net: Path | str,
    out: Path | str,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Measure a network's derived quantities.

    Args:
        net: network folder, or a SONATA circuit configuration.
        out: folder to create: characterization.json, one CSV file per table, index.html, figures.
        overwrite: replace an existing folder.
        progress: called with (stage, done, total).

    Returns:
        The page, index.html.

    Raises:
        NetworkError: the network is not valid.
        DataError: a table in its `reference` folder is damaged.
        StorageError: `out` is in the way or the file system refused.
    """
    report = progress or (lambda _stage, _done, _total: None)
    net = Path(net)
    with atomic_folder(out, overwrite=overwrite) as folder:
        report("load", 0, 1)
        network = load_network(net)
        require_glif(network.membrane)
        home = net if net.is_dir() else net.parent
        reference = _read_reference(home / "reference")
        report("load", 1, 1)
        tables, summary, left_out = _measure(network, reference, report)
        inputs = {
            path.relative_to(home).as_posix(): sha256_of(path)
            for path in (*sorted(home.glob("*.json")), *sorted((home / "reference").glob("*.csv")))
        }
        record = provenance("characterize", inputs=inputs, network=network.provenance)
        content = {"summary": summary, "left_out": left_out, "provenance": record}
        write_json(folder / "characterization.json", _plain(content))
        for name, table in tables.items():
            write_text(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
        write_page(folder, tables, summary, left_out)
    return Path(out) / "index.html"


def _measure(
    network: Network, reference: sections.Tables, report: Progress
) -> tuple[sections.Tables, dict[str, Any], dict[str, str]]:
    """Tables, summary by section, and the sections that were left out with the reason."""
    tables: sections.Tables = {}
    summary: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    kinds = sections.kinds_of(network)
    report("cell models", 0, len(kinds.table))
    part, summary["excitability"] = sections.excitability_section(kinds, reference)
    tables |= part
    unit, part, summary["unit_psp"] = sections.unit_psp_section(kinds, reference)
    tables |= part
    report("cell models", len(kinds.table), len(kinds.table))
    edges = _recurrent(network)
    recipe = network.provenance.get("recipe", {}).get("recurrent", {})
    attributes = network.cells.attributes
    missing = [name for name in _CELLS if name not in attributes]
    without = "no recurrent edges" if edges is None else ""
    without = without or (f"the cells have no {', '.join(missing)}" if missing else "")
    left_out |= _why("psp", without, [n for n in _PSP_TABLES if n not in reference])
    if edges is not None and "psp" not in left_out:
        report("PSPs", 0, 1)
        part, summary["psp"] = sections.psp_section(network, edges, kinds, unit, reference)
        tables |= part
        report("PSPs", 1, 1)
    absent = [name for name in _RULE_TABLES if name not in reference]
    left_out |= _why("connectivity", without or ("" if recipe else "no recipe is recorded"), absent)
    if edges is not None and "connectivity" not in left_out:
        part, summary["connectivity"] = sections.connectivity_section(
            network, edges, reference, recipe, lambda done, total: report("pairs", done, total)
        )
        tables |= part
    return tables, summary, left_out


def _why(section: str, reason: str, absent: list[str]) -> dict[str, str]:
    """The section with the reason why it is left out; empty where there is none."""
    if absent and not reason:
        reason = f"the network folder has no reference/{', '.join(absent)}.csv"
    return {section: reason} if reason else {}


def _recurrent(network: Network) -> EdgePopulation | None:
    between = [edges for edges in network.edges.values() if edges.source == network.simulated]
    return between[0] if len(between) == 1 and len(between[0]) else None


def _read_reference(folder: Path) -> sections.Tables:
    tables = {}
    for path in sorted(folder.glob("*.csv")):
        try:
            tables[path.stem] = pd.read_csv(path)
        except (ValueError, OSError) as error:
            raise DataError.of(
                "a table to compare with cannot be read", path, error, "build the network again"
            ) from None
    return tables


def _plain(value: Any) -> Any:
    """The same with None for NaN and Python's own numbers, as JSON has them."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
