"""Crops of photographs that come with scikit-image and scikit-learn, and textures."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from skimage.transform import resize_local_mean

from v1builder.images.image_set import ImageSet, Labels, Pixels, equalised
from v1builder.images.textures import texture

#: Training has four crops of each of these; all are in the wheels of the two libraries.
_FAMILIAR: Final = ("astronaut", "brick", "camera", "chelsea", "china", "coins", "grass", "rocket")
#: The test has crops of photographs of which no crop was seen in training.
_NOVEL: Final = ("coffee", "flower", "gravel")
_CROPS, _NOVEL_CROPS = 4, 2
_TEXTURES, _NOVEL_TEXTURES = 8, 2
_SIDE: Final = 24
_SCIKIT_LEARN: Final = ("china", "flower")


@lru_cache(maxsize=len(_FAMILIAR) + len(_NOVEL))
def _photograph(name: str) -> NDArray[np.float64]:
    """[row, column] luminance (ITU-R BT.601)."""
    if name in _SCIKIT_LEARN:
        from sklearn.datasets import load_sample_image

        pixels = load_sample_image(f"{name}.jpg")
    else:
        import skimage.data

        pixels = getattr(skimage.data, name)()
    pixels = np.asarray(pixels, np.float64)
    return pixels if pixels.ndim == 2 else pixels[..., :3] @ np.array([0.299, 0.587, 0.114])


def _crop(name: str, corner: int) -> NDArray[np.float64]:
    """A quarter of the largest square in the middle of a photograph."""
    whole = _photograph(name)
    side = min(whole.shape) // 2
    top, left = ((length - 2 * side) // 2 for length in whole.shape)
    row, column = top + side * (corner // 2), left + side * (corner % 2)
    return whole[row : row + side, column : column + side]


@dataclass(frozen=True)
class Photographs(ImageSet):
    """40 images to be learned with and 8 that are new: crops of photographs, and 1/f textures.

    Mean and contrast of all are the same, in 24 x 24 pixels of a degree, which is what the LGN's raster
    shows. Every image is a class of its own. Validation shows the images
    of training; the test shows crops of other photographs, and other textures.

    Attributes:
        contrast: RMS.
    """

    name: ClassVar[str] = "photographs"

    contrast: float = 0.3

    def _names(self, split: str) -> list[str]:
        names, crops, textures = (
            (_NOVEL, _NOVEL_CROPS, _NOVEL_TEXTURES)
            if split == "test"
            else (_FAMILIAR, _CROPS, _TEXTURES)
        )
        return [f"{name} {i}" for name in names for i in range(crops)] + [
            f"texture {i}" for i in range(textures)
        ]

    @property
    def citation(self) -> str:
        """Of the images, or of the libraries that they come with."""
        return "van der Walt et al. 2014, PeerJ 2:e453; Pedregosa et al. 2011, JMLR 12:2825"

    @property
    def same_classes(self) -> bool:
        """No: those of the test are other images."""
        return False

    @property
    def class_names(self) -> tuple[str, ...]:
        """Those of training."""
        return tuple(self._names("train"))

    def labels(self, split: str) -> Labels:
        """[image] its own number."""
        return np.arange(len(self._names(split)))

    def pixels(self, split: str, index: int, frame: int = 0) -> Pixels:
        """[row, column]."""
        del frame
        name, number = self._names(split)[index].rsplit(" ", 1)
        if name == "texture":
            image = texture(5 if split == "test" else 4, int(number), _SIDE)
        else:
            image = resize_local_mean(_crop(name, int(number)), (_SIDE, _SIDE))
        return equalised(image, self.contrast)
