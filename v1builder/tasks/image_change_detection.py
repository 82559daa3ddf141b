"""Has the image changed? As the Allen Visual Behavior experiments and Chen et al. 2022."""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field

from v1builder.schema.errors import DataError
from v1builder.stimuli import Picture, Stimulus
from v1builder.tasks.change_detection import ChangeSettings
from v1builder.tasks.images import ImageSettings
from v1builder.tasks.psychometrics import Kind


class ImageChangeDetection(ImageSettings, ChangeSettings):
    """Flashes of images, each the same as the one before or another; some are omitted.

    With images = "photographs", training and validation show 40 images and the test 8 new ones
    (`images.Photographs`); of films, the first frame is shown. The timing is that of Chen et al. 2022,
    Science Advances 8:eabq7592; that of the mice (Garrett et al. 2020, eLife 9:e50340) is gray_before_ms = 0,
    on_ms = 250, gray_after_ms = 500, response_ms = [150, 750], p_omitted = .05.

    Attributes:
        p_omitted: probability that a flash that is no change is left out (mice: .05).
    """

    name: Literal["image_change_detection"] = "image_change_detection"
    images: str = Field(default="photographs", min_length=1)
    p_omitted: float = Field(default=0.0, ge=0, lt=1)

    def _number(self, split: str) -> int:
        """Of images in a split; at least two, or nothing could change."""
        number = len(self.image_set.labels(split))
        if number < 2:
            raise DataError.of(
                "a change needs two images", f"task {self.name}, images '{self.images}', {split}",
                number, "add images",
            )  # fmt: skip
        return number

    @property
    def kinds(self) -> Sequence[Kind]:
        """The same, another, and none."""
        return [Kind("same"), Kind("change"), Kind("omitted")]

    def kind_of(self, before: Stimulus, now: Stimulus | None) -> int:
        """By what is shown."""
        return 2 if now is None else int(now != before)

    def omitted(self, generator: torch.Generator) -> bool:
        """With the probability of the settings."""
        return torch.rand((), generator=generator).item() < self.p_omitted

    def first(self, split: str, generator: torch.Generator) -> Picture:
        """Any image."""
        index = int(torch.randint(self._number(split), (), generator=generator))
        return Picture(self.image_set, split, index, degrees=self.degrees)

    def changed(self, shown: Stimulus, split: str, generator: torch.Generator) -> Picture:
        """Any other image."""
        assert isinstance(shown, Picture)
        further = 1 + int(torch.randint(self._number(split) - 1, (), generator=generator))
        index = (shown.index + further) % self._number(split)
        return Picture(self.image_set, split, index, degrees=self.degrees)
