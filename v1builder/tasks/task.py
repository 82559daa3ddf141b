"""A task: what is shown, what is to be answered, and when the answer is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self, cast, get_args

import torch
from torch import Tensor

from v1builder.inputs import FilterSource, Source
from v1builder.lgn import LGN
from v1builder.schema.errors import ConfigError, unknown_name
from v1builder.tasks.stimuli import Grating, Presentation

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


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
    #: Steps in which the network does what it does on a gray screen; empty where there are none.
    spontaneous: slice
    #: Steps in which it answers to what is shown.
    evoked: slice
    #: What one should know of results of this task, for people.
    notes: tuple[str, ...]
    #: What the input populations of the network do.
    sources: Mapping[str, Source]

    def draw(self, n_trials: int, split: str, generator: torch.Generator) -> Trials:
        """Trials with as equal numbers of every class as possible, in random order."""
        ...

    def inputs(self, trials: Trials, generator: torch.Generator) -> dict[str, Tensor]:
        """Spike counts [trial, step, unit], uint8, of each input population."""
        ...

    def blank(self, n_trials: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The inputs of trials in which the screen stays gray."""
        ...

    def warm_up(self, n_trials: int, generator: torch.Generator) -> dict[str, Tensor] | None:
        """The inputs of the gray screen that precedes every trial; None when nothing does."""
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


class GratingTask:
    """Classify gratings that all appear at the same time for the same duration.

    Before every trial the screen is gray for a warm-up, in which the network comes from rest to what it does
    spontaneously; nothing is learned from it. Inputs that do not see fire on whatever is shown.
    """

    def __init__(
        self,
        name: str,
        stimuli: Mapping[Split, StimulusSet],
        sources: Mapping[str, Source],
        presentation: Presentation,
        response: slice,
        *,
        dt: float,
        warm_up_steps: int = 0,
    ):
        self.name = name
        self.stimuli = stimuli
        self.n_classes = int(stimuli["train"].target.max()) + 1
        self.n_steps = presentation.n_steps
        self.response = response
        first, last = presentation.before, presentation.before + presentation.on
        self.stimulus_ms = (first * dt, last * dt)
        # From rest the gray part of a trial would say nothing of spontaneous activity.
        self.spontaneous = slice(0, first if warm_up_steps else 0)
        self.evoked = slice(first, max(last, response.stop))
        self.sources = sources
        self._warm_up_steps = warm_up_steps
        self._seen = {
            name: _Seen(source.lgn, presentation, stimuli)
            for name, source in sources.items()
            if isinstance(source, FilterSource)
        }
        self.notes = _notes(name, sources)

    def draw(self, n_trials: int, split: str, generator: torch.Generator) -> Trials:
        """Trials with as equal numbers of every class as possible, in random order.

        Raises:
            ConfigError: unknown split.
        """
        stimuli = self.stimuli[self._split(split)]
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
        """Spike counts [trial, step, unit], uint8, of every input."""
        split = self._split(trials.split)
        return self._spikes([(split, int(i)) for i in trials.stimulus], generator)

    def blank(self, n_trials: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The inputs of trials in which the screen stays gray."""
        return self._spikes([None] * n_trials, generator)

    def warm_up(self, n_trials: int, generator: torch.Generator) -> dict[str, Tensor] | None:
        """The inputs of the gray screen that precedes every trial; None when nothing does."""
        if not self._warm_up_steps:
            return None
        return {
            name: source.gray(n_trials, self._warm_up_steps, generator)
            for name, source in self.sources.items()
        }

    def lgn_rates(self, split: str, stimulus: int) -> Tensor:
        """Rates in Hz of the LGN's active units for one stimulus, [step, active]."""
        (seen,) = self._seen.values()
        return seen.lgn.rates_of(*seen.shown((self._split(split), stimulus)))

    def _split(self, split: str) -> Split:
        if split not in SPLITS:
            raise ConfigError([unknown_name("split", split, SPLITS, f"task {self.name}")])
        return cast(Split, split)

    def _spikes(
        self, shown: Sequence[tuple[Split, int] | None], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Spike counts of trials, each of a stimulus by its split and number, or gray."""
        found = {}
        for name, source in self.sources.items():
            if isinstance(source, FilterSource):
                seen = [self._seen[name].shown(stimulus) for stimulus in shown]
                found[name] = source.spikes(seen, self.n_steps, generator)
            else:
                found[name] = source.gray(len(shown), self.n_steps, generator)
        return found


class _Seen:
    """What the filters of one LGN make of the stimuli of a task.

    An LGN rate is a sum over a stimulus' one or two frames of what the unit's receptive field sees of
    the frame times what its temporal kernel makes of the frame's time course. The first is kept for
    every stimulus and the second for every temporal frequency, so a trial costs one multiplication
    per frame and no trial's rates are stored. Only the spikes are random.
    """

    def __init__(self, lgn: LGN, presentation: Presentation, stimuli: Mapping[Split, StimulusSet]):
        self.lgn = lgn
        self._presentation = presentation
        self._stimuli = stimuli
        self._drives: dict[Split, list[Tensor]] = {}
        self._responses: dict[float, Tensor] = {}

    def shown(self, stimulus: tuple[Split, int] | None) -> tuple[Tensor, Tensor]:
        """Drive [frame, subunit] and response [frame, step, subunit] of a stimulus, or of gray."""
        split, number = stimulus or ("train", 0)
        drive = self._drive(split)[number]
        response = self._response(self._stimuli[split].gratings[number])
        return (drive, response) if stimulus else (torch.zeros_like(drive), response)

    def _drive(self, split: Split) -> list[Tensor]:
        """What the receptive fields see of each stimulus of a split, [frame, subunit] each."""
        if split not in self._drives:
            gratings = self._stimuli[split].gratings
            stills = [grating.frames(self.lgn.raster) for grating in gratings]
            drive = self.lgn.frame_drive(torch.cat(stills))
            self._drives[split] = list(drive.split([len(still) for still in stills]))
        return self._drives[split]

    def _response(self, grating: Grating) -> Tensor:
        """What the temporal kernels make of a grating's course, [frame, step, subunit]."""
        key = grating.temporal_frequency
        if key not in self._responses:
            course = grating.course(self._presentation.on, self.lgn.dt)
            self._responses[key] = self.lgn.course_response(self._presentation.embed(course))
        return self._responses[key]


def _notes(name: str, sources: Mapping[str, Source]) -> tuple[str, ...]:
    if any(source.sees for source in sources.values()):
        return ()
    kinds = "; ".join(f"'{population}' is {source.kind}" for population, source in sources.items())
    return (
        f"no input sees the stimuli of task {name} ({kinds}): no answer can be better than chance",
    )
