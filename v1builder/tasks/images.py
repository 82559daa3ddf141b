"""What tasks on images share: which ones, how large, and what is checked of them."""

from collections.abc import Mapping
from functools import cached_property

from pydantic import Field, ValidationInfo, field_validator

from v1builder.images import NAMED, ImageSet, image_set
from v1builder.schema.config import located
from v1builder.tasks.visual import VisualSettings


class ImageSettings(VisualSettings):
    """Images in the middle of the screen.

    Attributes:
        images: name of a set (`images.NAMED`); or path, relative to the experiment file, of a folder that
            `v1builder fetch` made (Fashion-MNIST) or of one with images or films by class (`ImageFolder`).
        degrees: height of the images. The cells of a column of 100 um see some 30 x 24 degrees.
    """

    images: str = Field(default="digits", min_length=1)
    degrees: float = Field(default=24.0, gt=0)

    @field_validator("images")
    @classmethod
    def _located(cls, images: str, info: ValidationInfo) -> str:
        return images if images in NAMED else located(images, info)

    @cached_property
    def image_set(self) -> ImageSet:
        """The set.

        Raises:
            DataError: it is not there, or a file is no image.
        """
        return image_set(self.images)

    @property
    def files(self) -> Mapping[str, str]:
        """The hash of the images, where they are files of the user's."""
        return {f"images {self.images}": digest} if (digest := self.image_set.digest) else {}

    @property
    def notes(self) -> tuple[str, ...]:
        """Whom to cite for the images."""
        citation = self.image_set.citation
        return (f"images '{self.images}': cite {citation}",) if citation else ()
