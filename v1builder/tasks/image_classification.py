"""Of which class is the image, or the film? Digits, Fashion-MNIST, or the user's own folder."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from v1builder.schema.errors import ConfigError
from v1builder.stimuli import Movie, Picture, Shown, Stimulus
from v1builder.tasks.classification import ClassificationSettings
from v1builder.tasks.images import ImageSettings


class ImageClassification(ImageSettings, ClassificationSettings):
    """Images on gray, as Chen et al. 2022 (Science Advances 8:eabq7592) showed MNIST.

    A film is shown frame by frame for `on_ms`, and gray after its last frame. Images are read when they are
    shown, and what the LGN makes of them is kept within a limit, so a set may be of any size.

    Attributes:
        frames_per_second: of films that do not say it themselves (arrays).
    """

    name: Literal["image_classification"] = "image_classification"
    frames_per_second: float = Field(default=30.0, gt=0)

    @property
    def n_classes(self) -> int:
        """As many as the set has."""
        return len(self.image_set.class_names)

    def stimuli(self, split: str) -> Sequence[tuple[Stimulus, int]]:
        """Every image of a split; of films the first frame.

        Raises:
            ConfigError: the images of the splits are not of the same classes.
        """
        if not self.image_set.same_classes:
            raise ConfigError.of(
                "these images are not of the same classes in training and test",
                f"task {self.name}, images",
                self.images,
                "take digits or a folder, or the task image_change_detection",
            )
        return [
            (Picture(self.image_set, split, index, degrees=self.degrees), int(label))
            for index, label in enumerate(self.image_set.labels(split))
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
