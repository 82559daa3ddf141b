"""The agreement table as files: JSON for programs, Markdown for people."""

from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from itertools import groupby
from pathlib import Path

from rich.table import Table
from rich.text import Text

from v1builder.schema.files import write_json, write_text
from v1builder.schema.provenance import provenance
from v1builder.verify.agreement import SOFTWARE, Agreement


def status(row: Agreement) -> str:
    """Whether it agrees: "yes", "no" or "not run"."""
    return {True: "yes", False: "no", None: "not run"}[row.passed]


def shown(rows: Sequence[Agreement]) -> Table:
    """The table for a terminal."""
    table = Table(box=None, pad_edge=False)
    for heading in ("case", "reference", "result", "agrees"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        colour = {"yes": "green", "no": "bold red", "not run": "yellow"}[status(row)]
        table.add_row(row.case, row.reference, row.result, Text(status(row), colour))
    return table


def write_tables(rows: Sequence[Agreement], folder: Path) -> None:
    """Write agreement.json and agreement.md into `folder`."""
    references = reference_versions()
    record = provenance("verify", references=references)
    write_json(folder / "agreement.json", {**record, "agreement": [asdict(row) for row in rows]})
    write_text(folder / "agreement.md", markdown(rows, {**references, **record["versions"]}))


def reference_versions() -> dict[str, str]:
    """Versions of the reference software, where installed."""
    versions = {}
    for package in SOFTWARE.values():
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def markdown(rows: Sequence[Agreement], versions: dict[str, str]) -> str:
    """The table, one section per topic."""
    counts = {word: sum(status(row) == word for row in rows) for word in ("yes", "no", "not run")}
    lines = [
        "# Agreement with other software",
        "",
        "Written by `v1builder verify`. "
        f"{len(rows)} cases: {counts['yes']} agree, {counts['no']} do not, "
        f"{counts['not run']} were not run.",
    ]
    for topic, part in groupby(rows, key=lambda row: row.topic):
        lines += [
            "",
            f"## {topic.replace('_', ' ').capitalize()}",
            "",
            "| case | reference | what is compared | result | measured | limit | agrees |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in part:
            cells = (row.case, row.reference, row.compared, row.result)
            numbers = ("" if x is None else f"{x:.4g}" for x in (row.value, row.limit))
            text = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
            lines.append("| " + " | ".join([*text, *numbers, status(row)]) + " |")
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return "\n".join([*lines, "", f"Versions: {listed}.", ""])
