"""Sets by the name, or the path, that an experiment file gives."""

from pathlib import Path
from typing import Final

from v1builder.images.fetched import FetchedImages
from v1builder.images.folder import ImageFolder
from v1builder.images.image_set import ImageSet
from v1builder.schema.errors import DataError, unknown_name
from v1builder.schema.members import import_members, named

import_members("v1builder.images", but=__name__)

#: Sets that need no files.
NAMED: Final[dict[str, type[ImageSet]]] = named(ImageSet, lambda kind: kind.name, "image set")


def image_set(name: str) -> ImageSet:
    """The set of this name, or of the folder with this path.

    Raises:
        DataError: neither is there.
    """
    if name in NAMED:
        return NAMED[name]()
    path = Path(name)
    if (path / "provenance.json").is_file():
        return FetchedImages(name)
    if path.is_dir():
        return ImageFolder(name)
    near = unknown_name("image set", path.name, NAMED, "images")
    raise DataError.of(
        "there are no such images",
        "images",
        name,
        f"give a folder of images or one that 'v1builder fetch' has made; {near.fix}",
    )
