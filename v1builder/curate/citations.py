"""What to cite for the data behind a store or a network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
