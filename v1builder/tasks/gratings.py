"""Tasks on gratings and their settings: the [task] table of an experiment file.

[task]
name = "orientation_discrimination"
max_delta = 10.0
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

import torch
from pydantic import BeforeValidator, Field, model_validator

from v1builder.inputs import Source
from v1builder.schema.config import Settings
from v1builder.schema.errors import ConfigError, unknown_name
from v1builder.tasks.stimuli import Grating, Presentation
from v1builder.tasks.task import SPLITS, GratingTask, Split, StimulusSet

#: Held-out stimuli lie between those of training: shifted by this part of the grid's step.
_SHIFT: dict[Split, float] = {"train": 0.0, "validation": 1 / 3, "test": 2 / 3}


class _GratingSettings(Settings):
    """What every task on gratings has. Times in ms from the start of the trial.

    How inputs fire is not a setting: their nodes say it, see `v1builder.inputs`.

    Attributes:
        spatial_frequency: cycles/degree.
        contrast: 0 to 1.
        n_phases: phases of a grating, evenly spaced.
        gray_before_ms, on_ms, gray_after_ms: what is shown.
        response_ms: start and end of the window in which the answer is read.
        warm_up_ms: gray before the trial, from rest, of which nothing is learned or answered. After-spike
            currents (up to 333 ms in the published models) and short-term plasticity need it to come to
            what they do spontaneously; 0 starts every trial at rest. 500 ms add some 40 % to a training step
            of trials of 200 ms, and double a test.
    """

    spatial_frequency: float = Field(default=0.05, gt=0)
    contrast: float = Field(default=0.8, gt=0, le=1)
    n_phases: int = Field(default=8, gt=0)
    gray_before_ms: float = Field(default=50.0, ge=0)
    on_ms: float = Field(default=100.0, gt=0)
    gray_after_ms: float = Field(default=450.0, ge=0)
    response_ms: tuple[float, float] = (150.0, 200.0)
    warm_up_ms: float = Field(default=500.0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _rates_are_the_nodes(cls, values: Any) -> Any:
        if isinstance(values, dict) and "background_rate" in values:
            raise ValueError(
                "remove 'background_rate': the background's nodes say how fast its units fire, in the "
                "column rate_Hz of their node types (recipe: background.rate_Hz)"
            )
        return values

    @model_validator(mode="after")
    def _response_within_trial(self) -> "_GratingSettings":
        start, end = self.response_ms
        duration = self.gray_before_ms + self.on_ms + self.gray_after_ms
        if not 0 <= start < end <= duration:
            raise ValueError(
                f"response_ms must be a start and a later end within the trial of {duration:g} ms"
            )
        return self

    def phases(self, shift: float) -> list[float]:
        """Evenly spaced phases, shifted by a part of their spacing."""
        return [360 * (i + shift) / self.n_phases for i in range(self.n_phases)]


class OrientationDiscrimination(_GratingSettings):
    """Is a static grating turned to more than 45 degrees? Class 1 is yes.

    Orientations are 45 +- max_delta * k / n_deltas, k = 1..n_deltas (the published task has 2 degrees
    in steps of .1; 45 itself has no answer). Validation has k - 1/3 and test k - 2/3.

    With n_phases = 1 every grating has phase 0 and held-out stimuli are new in orientation alone: then
    a linear classifier of LGN spike counts is almost perfect, so accuracy says how well a network
    transmits and learns, not that only V1 could solve it. With more phases, held-out phases lie
    between those of training as well, and such a classifier does no better than chance.

    Attributes:
        max_delta: degrees; the larger, the easier.
        n_deltas: number of differences on each side.
    """

    name: Literal["orientation_discrimination"] = "orientation_discrimination"
    n_phases: int = Field(default=1, gt=0)
    max_delta: float = Field(default=2.0, gt=0, lt=45)
    n_deltas: int = Field(default=20, gt=0)

    def stimuli(self, split: Split) -> list[tuple[Grating, int]]:
        """The gratings of a split and their classes."""
        shift = _SHIFT[split]
        phases = self.phases(shift) if self.n_phases > 1 else [0.0]
        return [
            (
                Grating(
                    direction=45 + side * self.max_delta * (k - shift) / self.n_deltas,
                    spatial_frequency=self.spatial_frequency,
                    phase=phase,
                    contrast=self.contrast,
                ),
                int(side > 0),
            )
            for side in (-1, 1)
            for k in range(1, self.n_deltas + 1)
            for phase in phases
        ]


class DirectionClassification(_GratingSettings):
    """In which of n_directions does a grating drift?

    Held-out gratings start at phases between those of training.

    Attributes:
        n_directions: evenly spaced over 360 degrees; class i is direction 360 i / n_directions.
        temporal_frequency: Hz.
    """

    name: Literal["direction_classification"] = "direction_classification"
    n_directions: int = Field(default=8, gt=1)
    spatial_frequency: float = Field(default=0.04, gt=0)
    temporal_frequency: float = Field(default=2.0, gt=0)
    on_ms: float = Field(default=500.0, gt=0)
    gray_after_ms: float = Field(default=0.0, ge=0)
    response_ms: tuple[float, float] = (150.0, 550.0)

    def stimuli(self, split: Split) -> list[tuple[Grating, int]]:
        """The gratings of a split and their classes."""
        return [
            (
                Grating(
                    direction=360 * i / self.n_directions,
                    spatial_frequency=self.spatial_frequency,
                    temporal_frequency=self.temporal_frequency,
                    phase=phase,
                    contrast=self.contrast,
                ),
                i,
            )
            for i in range(self.n_directions)
            for phase in self.phases(_SHIFT[split])
        ]


class GratingTuning(_GratingSettings):
    """Gratings for tuning curves: every direction, drifting, or every orientation, static.

    Nothing is to be learned, so the splits share their stimuli; class i is direction
    360 i / n_directions, or 180 i / n_directions when temporal_frequency is 0.

    Attributes:
        n_directions: evenly spaced.
        temporal_frequency: Hz; 0 for static gratings.
    """

    name: Literal["grating_tuning"] = "grating_tuning"
    n_directions: int = Field(default=8, gt=1)
    spatial_frequency: float = Field(default=0.04, gt=0)
    temporal_frequency: float = Field(default=2.0, ge=0)
    n_phases: int = Field(default=1, gt=0)
    gray_before_ms: float = Field(default=500.0, ge=0)
    on_ms: float = Field(default=2000.0, gt=0)
    gray_after_ms: float = Field(default=0.0, ge=0)
    response_ms: tuple[float, float] = (500.0, 2500.0)

    def stimuli(self, _split: Split) -> list[tuple[Grating, int]]:
        """The gratings and their directions' numbers; the same for every split."""
        circle = 360 if self.temporal_frequency else 180
        return [
            (
                Grating(
                    direction=circle * i / self.n_directions,
                    spatial_frequency=self.spatial_frequency,
                    temporal_frequency=self.temporal_frequency,
                    phase=phase,
                    contrast=self.contrast,
                ),
                i,
            )
            for i in range(self.n_directions)
            for phase in self.phases(_SHIFT["train"])
        ]


GratingSettings = OrientationDiscrimination | DirectionClassification | GratingTuning
TASK_NAMES: tuple[str, ...] = tuple(
    kind.model_fields["name"].default for kind in get_args(GratingSettings)
)


def _known_name(value: Any) -> Any:
    """Say which task a misspelt name may mean; everything else is pydantic's to judge."""
    if not isinstance(value, dict):
        return value
    name = value.get("name")
    if name is None:
        raise ValueError(f"add 'name', one of: {', '.join(TASK_NAMES)}")
    if name not in TASK_NAMES:
        problem = unknown_name("task", str(name), TASK_NAMES, "task")
        raise ValueError(f"{problem.what}; {problem.fix}")
    return value


#: The [task] table: `name` selects the task.
TaskSettings = Annotated[GratingSettings, Field(discriminator="name"), BeforeValidator(_known_name)]


def make_task(
    settings: GratingSettings, sources: Mapping[str, Source], *, dt: float
) -> GratingTask:
    """The task of these settings for a network.

    Args:
        settings: of the task.
        sources: of the network's inputs, see `inputs.input_sources`. Gratings are seen by those that
            see; without any the task still runs, and its `notes` say so.
        dt: ms, time step of the network; the sources must have the same.

    Raises:
        ConfigError: there are no sources, one has another dt, or the response window is shorter than a step.
    """
    where = f"task {settings.name}"
    if not sources:
        raise ConfigError.of(
            "no spikes reach the network: it has no inputs", where, "0 input populations",
            "give it an edge population from virtual nodes",
        )  # fmt: skip
    for name, source in sources.items():
        if source.dt != dt:
            raise ConfigError.of(
                "input and network have different time steps",
                f"{where}, input '{name}'",
                f"{source.dt} and {dt} ms",
                "make the input with the network's dt",
            )
    parts = (settings.gray_before_ms, settings.on_ms, settings.gray_after_ms)
    response = slice(*(round(time / dt) for time in settings.response_ms))
    if response.stop <= response.start:
        raise ConfigError.of(
            "the response window is shorter than one time step",
            f"{where}, key response_ms",
            settings.response_ms,
            "make the window longer, or dt smaller",
        )
    sets: dict[Split, StimulusSet] = {}
    for split in SPLITS:
        gratings, target = zip(*settings.stimuli(split), strict=True)
        sets[split] = StimulusSet(gratings, torch.tensor(target))
    return GratingTask(
        name=settings.name,
        stimuli=sets,
        sources=sources,
        presentation=Presentation(*(round(time / dt) for time in parts)),
        response=response,
        dt=dt,
        warm_up_steps=round(settings.warm_up_ms / dt),
    )
