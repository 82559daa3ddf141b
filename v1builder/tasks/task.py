"""A task: what is shown, what is to be answered, and when the answer is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, Self, cast, get_args

import torch
from torch import Tensor

from v1builder.lgn import LGN, add_events, poisson_background, poisson_events
from v1builder.schema.errors import ConfigError, unknown_name
from v1builder.schema.names import BKG
from v1builder.schema.names import LGN as LGN_POPULATION
from v1builder.tasks.stimuli import Grating, Presentation

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
#: Steps whose rates are evaluated at a time: those of a whole trial would leave the cache, which
#: costs five times as much.
_BLOCK_STEPS = 32


@dataclass(frozen=True)
class Trials:
    """Trials of one split; a slice of them is a batch.

    Attributes:
        split: "train", "validation" or "test".
        stimulus: [trial] number of the stimulus within its split.
        target: [trial] class of the right answer.
    """

    split: str
    stimulus: Tensor
    target: Tensor

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, part: slice) -> Self:
        return type(self)(self.split, self.stimulus[part], self.target[part])


class Task(Protocol):
    """What training, testing and comparing need to know of a task."""

    name: str
    n_classes: int
    n_steps: int
    #: Steps whose spikes are the answer.
    response: slice
    #: Start and end of what is shown, ms.
    stimulus_ms: tuple[float, float]

    def draw(self, n_trials: int, split: str, generator: torch.Generator) -> Trials:
        """Trials with as equal numbers of every class as possible, in random order."""
        ...

    def inputs(self, trials: Trials, generator: torch.Generator) -> dict[str, Tensor]:
        """Spike counts [trial, step, unit], uint8, of each input population."""
        ...

    def blank(self, n_trials: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The inputs of trials in which the screen stays gray."""
        ...


@dataclass(frozen=True)
class StimulusSet:
    """The distinct stimuli of a split.

    Attributes:
        gratings: the stimuli.
        target: [stimulus] class of the right answer.
    """

    gratings: tuple[Grating, ...]
    target: Tensor


@dataclass(frozen=True)
class Background:
    """Poisson units that fire at a constant rate (Hz) whatever is shown."""

    n_units: int = 100
    rate: float = 250.0


class GratingTask:
    """Classify gratings that all appear at the same time for the same duration.

    An LGN rate is a sum over a stimulus' one or two frames of what the unit's receptive field sees of
    the frame times what its temporal kernel makes of the frame's time course. The first is kept for
    every stimulus and the second for every temporal frequency, so a trial costs one multiplication
    per frame and no trial's rates are stored. Only the spikes are random.
    """

    def __init__(
        self,
        name: str,
        stimuli: Mapping[Split, StimulusSet],
        lgn: LGN,
        presentation: Presentation,
        response: slice,
        background: Background,
    ):
        self.name = name
        self.stimuli = stimuli
        self.n_classes = int(stimuli["train"].target.max()) + 1
        self.n_steps = presentation.n_steps
        self.response = response
        first, last = presentation.before, presentation.before + presentation.on
        self.stimulus_ms = (first * lgn.dt, last * lgn.dt)
        self._lgn = lgn
        self._presentation = presentation
        self._background = background
        self._drives: dict[str, list[Tensor]] = {}
        self._responses: dict[float, Tensor] = {}

    def draw(self, n_trials: int, split: str, generator: torch.Generator) -> Trials:
        """Trials with as equal numbers of every class as possible, in random order.

        Raises:
            ConfigError: unknown split.
        """
        stimuli = self._stimuli(split)
        # Which classes get the odd trials is random too.
        order = torch.randperm(self.n_classes, generator=generator)
        target = order[torch.arange(n_trials) % self.n_classes]
        target = target[torch.randperm(n_trials, generator=generator)]
        stimulus = torch.empty(n_trials, dtype=torch.int64)
        for kind in range(self.n_classes):
            choices = torch.nonzero(stimuli.target == kind)[:, 0]
            trials = target == kind
            pick = torch.randint(len(choices), (int(trials.sum()),), generator=generator)
            stimulus[trials] = choices[pick]
        return Trials(split, stimulus, target)

    def inputs(self, trials: Trials, generator: torch.Generator) -> dict[str, Tensor]:
        """Spike counts [trial, step, unit], uint8, of LGN and background."""
        drives, gratings = self._drive(trials.split), self._stimuli(trials.split).gratings
        shown = [(drives[i], self._response(gratings[i])) for i in trials.stimulus.tolist()]
        return self._spikes(shown, generator)

    def blank(self, n_trials: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The inputs of trials in which the screen stays gray."""
        drive, grating = self._drive("train")[0], self.stimuli["train"].gratings[0]
        shown = (torch.zeros_like(drive), self._response(grating))
        return self._spikes([shown] * n_trials, generator)

    def lgn_rates(self, split: str, stimulus: int) -> Tensor:
        """Rates in Hz of the LGN's active units for one stimulus, [step, active]."""
        grating = self._stimuli(split).gratings[stimulus]
        return self._lgn.rates_of(self._drive(split)[stimulus], self._response(grating))

    def _stimuli(self, split: str) -> StimulusSet:
        if split not in SPLITS:
            raise ConfigError([unknown_name("split", split, SPLITS, f"task {self.name}")])
        return self.stimuli[cast(Split, split)]

    def _drive(self, split: str) -> list[Tensor]:
        """What the receptive fields see of each stimulus of a split, [frame, subunit] each."""
        if split not in self._drives:
            gratings = self._stimuli(split).gratings
            stills = [grating.frames(self._lgn.raster) for grating in gratings]
            drive = self._lgn.frame_drive(torch.cat(stills))
            self._drives[split] = list(drive.split([len(still) for still in stills]))
        return self._drives[split]

    def _response(self, grating: Grating) -> Tensor:
        """What the temporal kernels make of a grating's course, [frame, step, subunit]."""
        key = grating.temporal_frequency
        if key not in self._responses:
            course = grating.course(self._presentation.on, self._lgn.dt)
            self._responses[key] = self._lgn.course_response(self._presentation.embed(course))
        return self._responses[key]

    def _spikes(
        self, shown: list[tuple[Tensor, Tensor]], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Spike counts of trials, each given by its drive and response."""
        lgn, background = self._lgn, self._background
        counts = torch.zeros(
            len(shown), self.n_steps, lgn.n_units, dtype=torch.uint8, device=lgn.device
        )
        for trial, (drive, response) in zip(counts, shown, strict=True):
            blocks = zip(
                trial.split(_BLOCK_STEPS), response.split(_BLOCK_STEPS, dim=1), strict=True
            )
            for block, part in blocks:
                bins = poisson_events(lgn.rates_of(drive, part), lgn.dt, generator)
                step, unit = bins // len(lgn.active), lgn.active[bins % len(lgn.active)]
                add_events(block, step * lgn.n_units + unit)
        shape = len(shown), self.n_steps, background.n_units
        noise = poisson_background(shape, background.rate, lgn.dt, generator)
        return {LGN_POPULATION: counts, BKG: noise}
