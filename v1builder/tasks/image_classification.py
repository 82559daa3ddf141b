"""Of which class is the image, or the film? Digits, Fashion-MNIST, or the user's own folder."""

from collections.abc import Sequence
from functools import cached_property
from typing import Literal

from pydantic import Field

from v1builder.images import ImageSet, image_set
from v1builder.schema.config import NameOrPath
from v1builder.stimuli import Movie, Picture, Shown, Stimulus
from v1builder.tasks.classification import ClassificationSettings


class ImageClassification(ClassificationSettings):
    """Images on gray, as Chen et al. 2022 (Science Advances 8:eabq7592) showed MNIST.

    A film is shown frame by frame for `on_ms`, and gray after its last frame. Images are read when they are
    shown, and what the LGN makes of them is kept within a limit, so a set may be of any size.

    Attributes:
        images: "digits" or another name of `images.NAMED`; or path, relative to this file, of a folder that
            `v1builder fetch` made (Fashion-MNIST), or of one with images or films by class (`ImageFolder`).
        degrees: height of the images.
        frames_per_second: of films that do not say it themselves (arrays).
    """

    name: Literal["image_classification"] = "image_classification"
    images: NameOrPath = "digits"
    degrees: float = Field(default=24.0, gt=0)
    frames_per_second: float = Field(default=30.0, gt=0)

    @cached_property
    def _set(self) -> ImageSet:
        return image_set(self.images)

    @property
    def notes(self) -> tuple[str, ...]:
        """Whom to cite for the images."""
        citation = self._set.citation
        return (f"images '{self.images}': cite {citation}",) if citation else ()

    @property
    def n_classes(self) -> int:
        """As many as the set has."""
        return len(self._set.class_names)

    def stimuli(self, split: str) -> Sequence[tuple[Stimulus, int]]:
        """Every image of a split; of films the first frame."""
        return [
            (Picture(self._set, split, index, degrees=self.degrees), int(label))
            for index, label in enumerate(self._set.labels(split))
        ]

    def movie(self, stimulus: Stimulus) -> Movie:
        """The image, or the frames of the film one after the other."""
        assert isinstance(stimulus, Picture)
        images, split, index = stimulus.images, stimulus.split, stimulus.index
        n_frames = images.n_frames(split, index)
        start, end = self.stimulus_ms
        if n_frames == 1:
            return (Shown(stimulus, start, end),)
        length = 1000 / (images.frames_per_second(split, index) or self.frames_per_second)
        return tuple(
            Shown(
                Picture(images, split, index, frame, self.degrees),
                start + frame * length,
                min(start + (frame + 1) * length, end),
            )
            for frame in range(n_frames)
            if start + frame * length < end
        )
