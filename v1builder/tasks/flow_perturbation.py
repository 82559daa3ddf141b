"""Visual flow perturbation: a still grating begins to move, or a moving one stops.

Galvan Fraile et al. 2024, PLOS Comput. Biol. 20:e1011921: in an untrained column some excitatory cells of
layer 2/3 depolarise and some hyperpolarise, and hardly any of layers 5 and 6. The measures
`depolarised_share` and `hyperpolarised_share` count them.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import torch
from pydantic import Field, model_validator

from v1builder.inputs import Source
from v1builder.measures import Window
from v1builder.stimuli import Grating, Movie, Shown
from v1builder.tasks.answer import Classes
from v1builder.tasks.task import Trials
from v1builder.tasks.visual import VisualSettings, VisualTask

#: By condition, the name of what happens: whether the grating moves in each of the three parts of a trial.
_CONDITIONS: Final = {
    "motion_begins": (False, True, False),
    "motion_ends": (True, False, True),
}


class FlowPerturbation(VisualSettings):
    """Still, moving, still (condition 0); moving, still, moving (condition 1). Nothing is to be learned.

    The grating goes on where it is at both changes, so that nothing but its motion changes. It appears on a
    gray screen at the start of a trial. As published, what is compared are the last 500 ms before the first
    change, which that onset is far from, and the whole part after it, in runs that carry the state.

    Attributes:
        direction: degrees.
        spatial_frequency: cycles/degree.
        temporal_frequency: Hz.
        contrast: 0 to 1.
        before_ms, changed_ms, after_ms: length of the three parts.
        baseline_ms: of the first part, its end: what the change is compared with.
    """

    name: Literal["flow_perturbation"] = "flow_perturbation"
    direction: float = 0.0
    spatial_frequency: float = Field(default=0.04, gt=0)
    temporal_frequency: float = Field(default=2.0, gt=0)
    contrast: float = Field(default=0.8, gt=0, le=1)
    carry_state: bool = True
    before_ms: float = Field(default=1000.0, gt=0)
    changed_ms: float = Field(default=1000.0, gt=0)
    after_ms: float = Field(default=1000.0, gt=0)
    baseline_ms: float = Field(default=500.0, gt=0)

    @model_validator(mode="after")
    def _baseline_before_the_change(self) -> "FlowPerturbation":
        if self.baseline_ms > self.before_ms:
            raise ValueError(f"baseline_ms must not be longer than before_ms, {self.before_ms:g}")
        return self

    @property
    def answer(self) -> Classes:
        """Whether motion begins (0) or ends (1)."""
        return Classes(len(_CONDITIONS))

    @property
    def duration_ms(self) -> float:
        """Length of a trial."""
        return self.before_ms + self.changed_ms + self.after_ms

    @property
    def windows_ms(self) -> Sequence[tuple[float, float]]:
        """From the first change to the second."""
        return [(self.before_ms, self.before_ms + self.changed_ms)]

    @property
    def stimulus_ms(self) -> tuple[float, float]:
        """The whole trial."""
        return 0.0, self.duration_ms

    def conditions(self, split: str) -> Sequence[Movie]:
        """Motion that begins and motion that ends; the same for every split."""
        del split
        return [self._movie(moves) for moves in _CONDITIONS.values()]

    def draw(self, n_trials: int, split: str, generator: torch.Generator) -> Trials:
        """As many of both conditions, in random order."""
        movies = self.conditions(split)
        condition = torch.arange(n_trials) % len(movies)
        condition = condition[torch.randperm(n_trials, generator=generator)]
        shown = tuple(movies[int(i)] for i in condition)
        return Trials(split, condition, condition[:, None], shown)

    def make(self, sources: Mapping[str, Source], dt: float) -> "FlowPerturbationTask":
        """The task on the inputs of a network."""
        return FlowPerturbationTask(self, sources, dt)

    def _movie(self, moves: Sequence[bool]) -> Movie:
        movie, start, phase = [], 0.0, 0.0
        lengths = (self.before_ms, self.changed_ms, self.after_ms)
        for moving, length in zip(moves, lengths, strict=True):
            frequency = self.temporal_frequency if moving else 0.0
            grating = Grating(
                self.direction, self.spatial_frequency, frequency, phase, self.contrast
            )
            movie.append(Shown(grating, start, start + length))
            start += length
            # Where the grating is when the part ends (see `Grating`); full cycles are no other still.
            phase = (phase - 360 * frequency * length / 1000) % 360
        return tuple(movie)


class FlowPerturbationTask(VisualTask):
    """Flow perturbation on the inputs of a network, measured around the first change of either condition."""

    def __init__(self, settings: FlowPerturbation, sources: Mapping[str, Source], dt: float):
        """Turn times into steps."""
        super().__init__(settings, sources, dt)
        self._change = round(settings.before_ms / dt)
        self._baseline = round(settings.baseline_ms / dt)

    @property
    def measured(self) -> Mapping[str, Window]:
        """From the begin of the baseline to the second change, for each condition."""
        steps = slice(self._change - self._baseline, self.windows[0].stop)
        return {
            name: Window(steps, (number,), self._change) for number, name in enumerate(_CONDITIONS)
        }
