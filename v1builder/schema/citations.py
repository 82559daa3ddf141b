"""What to cite for the data behind a store or a network."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from v1builder.schema.files import write_text
from v1builder.schema.manifests import Reference


@dataclass(frozen=True)
class Citation:
    """One publication or data set.

    Attributes:
        key: short name.
        text: one line for a list of references.
        bibtex: entry for a .bib file.
        doi: where there is one.
        tables: tables that rest on it.
    """

    key: str
    text: str
    bibtex: str
    doi: str | None
    tables: tuple[str, ...]


def citations(provenance: Mapping[str, Any]) -> list[Citation]:
    """Everything to cite, each once.

    Args:
        provenance: `store.provenance`, or any record with its key "sources".
    """
    references: dict[str, Reference] = {}
    tables: dict[str, list[str]] = {}
    for source in provenance["sources"]:
        for fields in source["references"]:
            reference = Reference.model_validate(fields)
            references.setdefault(reference.key, reference)
        for name, table in source["tables"].items():
            for key in table["references"]:
                tables.setdefault(key, []).append(name)
    return [
        Citation(
            key, reference.text(), reference.bibtex(), reference.doi, tuple(tables.get(key, ()))
        )
        for key, reference in references.items()
    ]


def citations_markdown(provenance: Mapping[str, Any]) -> str:
    """A list of references with the tables that rest on each, and the terms of every source."""
    lines = ["# What to cite", ""]
    for citation in citations(provenance):
        used = f" (tables {', '.join(citation.tables)})" if citation.tables else ""
        lines.append(f"- {citation.text}{used}")
    lines += ["", "# Sources and terms", ""]
    for source in provenance["sources"]:
        taken = f", taken {source['retrieved']}" if source.get("retrieved") else ""
        lines.append(f"- {source['title']}; {source['version']}{taken}. {source['url']}")
        lines.append(f"  {source['licence']}: {source['terms']}")
    return "\n".join(lines) + "\n"


def citations_bibtex(provenance: Mapping[str, Any]) -> str:
    """The references as a .bib file."""
    return "\n\n".join(citation.bibtex for citation in citations(provenance)) + "\n"


def write_citations(folder: Path, provenance: Mapping[str, Any]) -> None:
    """Write CITATIONS.md and CITATIONS.bib."""
    write_text(folder / "CITATIONS.md", citations_markdown(provenance))
    write_text(folder / "CITATIONS.bib", citations_bibtex(provenance))
