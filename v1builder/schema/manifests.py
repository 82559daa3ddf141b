"""Data manifests: which published data exist, where, in what version, under which terms, in which units.

One TOML file per source, of tables or of images. The embedded tables lie beside them in `tables/`.
"""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from v1builder.schema.config import Settings, load_settings
from v1builder.schema.errors import DataError, Problem, raise_if_any
from v1builder.schema.images import PublishedImages
from v1builder.schema.tables import TableSchema

_PACKAGE = Path(__file__).parent.parent


class Reference(Settings):
    """A publication or data set to cite; the fields of BibTeX.

    Attributes:
        authors: names separated by " and ", as BibTeX wants them.
    """

    key: str
    authors: str
    title: str
    journal: str | None = None
    year: int | None = None
    volume: str | None = None
    pages: str | None = None
    doi: str | None = None
    url: str | None = None

    def text(self) -> str:
        """One line for a list of references."""
        authors = self.authors.replace(" and others", ", et al.").replace(" and ", ", ")
        year = f" ({self.year})" if self.year else ""
        parts = [f"{authors}{year}. {self.title}."]
        if self.journal:
            parts.append(f"{self.journal} {self.volume}:{self.pages}.")
        if self.doi:
            parts.append(f"doi:{self.doi}")
        elif self.url:
            parts.append(self.url)
        return " ".join(parts)

    def bibtex(self) -> str:
        """The entry for a .bib file."""
        names = {"authors": "author"}
        fields = self.model_dump(exclude={"key"}, exclude_none=True)
        body = "".join(f"  {names.get(key, key)} = {{{value}}},\n" for key, value in fields.items())
        return f"@{'article' if self.journal else 'misc'}{{{self.key},\n{body}}}"


class Pin(Settings):
    """What a file must be.

    Attributes:
        sha256: of its bytes.
        size: bytes; None for any.
        url: where it was; for the reader.
    """

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    size: int | None = None
    url: str | None = None


class Download(Settings):
    """A file that a service offers.

    Attributes:
        file: its name; in a store relative to the folder `raw`.
        url: where it is.
        size: bytes; None where not known.
        sha256: of its bytes; None where not known. A download of another size or hash is refused.
        checked: who saw this size and hash.
    """

    file: str
    url: str
    size: int | None = None
    sha256: str | None = None
    checked: str | None = None


class Manifest(Settings):
    """One source.

    Attributes:
        name: as the file is called.
        title: what the source is.
        url: where it is found.
        version: of the source; the snapshot's where the source has none.
        licence: what one may do with it.
        terms: address of the full terms.
        retrieved: day on which the tables were taken from the source, where that was recorded.
        references: what to cite.
        tables: by name.
        images: the image data set of a source that is one; it has no tables.
        service: address of the live query service, where there is one.
        downloads: files of the live source, by name; of images, the Debian package that has them.
    """

    name: str
    title: str
    url: str
    version: str
    licence: str
    terms: str
    retrieved: str | None = None
    references: tuple[Reference, ...]
    tables: dict[str, TableSchema] = Field(default_factory=dict)
    images: PublishedImages | None = None
    service: str | None = None
    downloads: dict[str, Download] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> Self:
        if bool(self.tables) == (self.images is not None):
            raise ValueError("give the source either tables or images")
        return self

    def record(self) -> dict[str, Any]:
        """The source as provenance: version, terms, citation, and the hash of every table."""
        left_out = {"tables", "images", "service", "downloads"}
        record = self.model_dump(exclude=left_out, exclude_none=True)
        record["citation"] = " | ".join(reference.text() for reference in self.references)
        record["references"] = [
            reference.model_dump(exclude_none=True) for reference in self.references
        ]
        record["tables"] = {
            name: {"sha256": table.sha256, "rows": table.rows, "references": list(table.references)}
            for name, table in self.tables.items()
        }
        return record


def manifest_folder() -> Path:
    """Where the manifests and the embedded tables are.

    In an installed package they lie inside it; in a source tree or editable install, beside it.

    Raises:
        DataError: neither place has them.
    """
    places = (_PACKAGE / "data_manifests", _PACKAGE.parent / "data_manifests")
    for place in places:
        if (place / "tables").is_dir():
            return place
    raise DataError.of(
        "the data manifests of v1builder are not installed",
        " or ".join(str(place) for place in places),
        fix="install v1builder again",
    )


def read_manifests(folder: Path | None = None) -> tuple[Manifest, ...]:
    """All manifests of tables, sorted by name: the sources of a store.

    Args:
        folder: where they are; None for the ones shipped with the package.

    Raises:
        ConfigError: a manifest is not valid.
        DataError: there is none, or two describe the same table.
    """
    return tuple(manifest for manifest in _all_manifests(folder) if manifest.images is None)


def read_image_manifests(folder: Path | None = None) -> dict[str, Manifest]:
    """All manifests of images by name; a store, and so a network, does not rest on them.

    Args:
        folder: where they are; None for the ones shipped with the package.

    Raises:
        ConfigError: a manifest is not valid.
        DataError: there is none, or two describe the same table.
    """
    found = (manifest for manifest in _all_manifests(folder) if manifest.images is not None)
    return {manifest.name: manifest for manifest in found}


def _all_manifests(folder: Path | None) -> tuple[Manifest, ...]:
    folder = manifest_folder() if folder is None else Path(folder)
    manifests = tuple(load_settings(path, Manifest) for path in sorted(folder.glob("*.toml")))
    if not manifests:
        raise DataError.of("no data manifest found", folder, fix="install v1builder again")
    problems = []
    owner: dict[str, str] = {}
    for manifest in manifests:
        cited = {reference.key for reference in manifest.references}
        for name, table in manifest.tables.items():
            where = f"{folder / manifest.name}.toml, table {name}"
            if name in owner:
                problems.append(
                    Problem("two manifests describe the same table", where, owner[name])
                )
            owner[name] = manifest.name
            unknown = set(table.references) - cited
            if unknown:
                fix = "add the reference to the manifest"
                problems.append(
                    Problem("unknown reference", where, ", ".join(sorted(unknown)), fix)
                )
    raise_if_any(problems, DataError)
    return manifests


def table_schemas(manifests: tuple[Manifest, ...]) -> dict[str, TableSchema]:
    """Every table of `manifests` by name."""
    return {name: table for manifest in manifests for name, table in manifest.tables.items()}
