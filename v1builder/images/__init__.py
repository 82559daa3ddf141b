"""Images and films to be shown: sets that come with libraries, fetched data sets, and the user's own folders.

A set is one file of this package with a subclass of `ImageSet` that has a `name`. It gives pixels; how large
they appear on the screen, and when, is a matter of stimuli and tasks.
"""

from v1builder.images.digits import Digits
from v1builder.images.fetched import FetchedImages
from v1builder.images.folder import ImageFolder
from v1builder.images.image_set import ImageSet
from v1builder.images.named import NAMED, image_set
from v1builder.images.photographs import Photographs
from v1builder.images.textures import Textures

__all__ = [
    "NAMED",
    "Digits",
    "FetchedImages",
    "ImageFolder",
    "ImageSet",
    "Photographs",
    "Textures",
    "image_set",
]
