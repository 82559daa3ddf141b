"""Units that filter what is on the screen: the LGN, see `v1builder.lgn`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v1builder.inputs.kept import Kept
from v1builder.inputs.source import Source
from v1builder.lgn import LGN, LGN_CLASSES, add_events
from v1builder.lgn.poisson import MEAN_OF_UINT8
from v1builder.load.network import NodePopulation
from v1builder.schema.errors import NetworkError
from v1builder.stimuli import Movie, Stimulus
from v1builder.stimuli.stimulus import embedded

#: Bytes of what is kept of stimuli and of courses: a stimulus takes 70 kB per frame in a column of 17 400 LGN
#: units, a course 40 MB per frame and 600 steps.
_KEPT_DRIVES, _KEPT_RESPONSES = 1 << 28, 1 << 30
#: Stimuli whose frames are held at once.
_AT_ONCE: Final = 64
#: Steps that share a bound of their rates: with fewer there are more bounds, with more they are less tight.
_BLOCK_STEPS: Final = 32


class FilterSource(Source):
    """Poisson spikes at the rates that the filters of an LGN give.

    Attributes:
        lgn: the filters.
    """

    kind = "filters of a movie"
    needs: ClassVar[str] = (
        "model_template (such as 'lgnmodel:sON_TF1') and the attributes of BMTK FilterNet, for LGN units"
    )
    sees: ClassVar[bool] = True

    def __init__(self, lgn: LGN):
        self.lgn = lgn
        self.n_units, self.dt = lgn.n_units, lgn.dt
        self._drives = Kept(_KEPT_DRIVES)
        self._responses = Kept(_KEPT_RESPONSES)
        self._extremes = Kept(_KEPT_DRIVES)

    @classmethod
    def serves(cls, nodes: NodePopulation) -> bool:
        """Whether some node is of an LGN class, by model_template or else by pop_name."""
        names = nodes.attributes.get("model_template", nodes.attributes.get("pop_name"))
        if names is None:
            return False
        classes = {str(name).removeprefix("lgnmodel:") for name in np.unique(names.astype(str))}
        return not classes.isdisjoint(LGN_CLASSES)

    @classmethod
    def of(
        cls, nodes: NodePopulation, projecting: NDArray[np.int64], *, dt: float, dtype: torch.dtype
    ) -> Self:
        """The filters of the units that have targets; the others stay silent.

        In a small column half of the LGN's units project nowhere.
        """
        return cls(LGN(nodes, dt=dt, active=projecting, dtype=dtype))

    @cached_property
    def _gray(self) -> Tensor:
        blank = torch.zeros(1, *self.lgn.raster.shape, dtype=self.lgn.dtype)
        return self.lgn.rates(blank)[0]  # nothing changes on a gray screen: one step says it all

    def gray_rates(self) -> Tensor:
        """[n_units] Hz, 0 for units that are not evaluated. Evaluated once."""
        return self._gray

    def spikes(self, movies: Sequence[Movie], n_steps: int, generator: torch.Generator) -> Tensor:
        """Spike counts [trial, step, unit], uint8, of trials that show these movies.

        A rate is a sum over the frames of what is shown of what the unit's receptive field sees of a frame
        times what its temporal kernel makes of the frame's course. Both are kept, the first for every
        stimulus and the second for every course. Rates are evaluated where spikes may be, not everywhere
        (thinning, Lewis and Shedler 1979): candidates come at a rate that no step of a block of steps
        exceeds, and each becomes a spike with the probability of its own step's rate over that bound. LGN
        units fire in a few per cent of the steps, so that is some ten times less work, and exact.
        """
        shape = len(movies), n_steps, self.n_units
        counts = torch.zeros(shape, dtype=torch.uint8, device=self.lgn.device)
        drives = self._drives_of(movies)
        for trial, movie in zip(counts, movies, strict=True):
            step, subunit = self._events(self._seen(movie, n_steps, drives), n_steps, generator)
            add_events(trial, step * self.n_units + self.lgn.unit[subunit])
        return counts

    def _events(
        self, seen: Sequence["_Seen"], n_steps: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Step and subunit of every spike of a trial; the spikes of a unit are those of its subunits."""
        lgn = self.lgn
        bound = lgn.offset.expand(-(-n_steps // _BLOCK_STEPS), -1)
        for shown in seen:
            bound = bound + shown.bound()
        bound = bound.clamp(min=0)
        most = float(bound.max()) * lgn.dt / 1000 if bound.numel() else 0.0
        if most > MEAN_OF_UINT8:
            raise NetworkError.of(
                "a unit of the LGN would have more spikes in a step than can be counted",
                "FilterSource",
                f"{most:.3g} in a step of {lgn.dt:g} ms",
                "correct the rates of the filters, or take a shorter step",
            )
        candidates = torch.poisson(bound * (_BLOCK_STEPS * lgn.dt / 1000), generator=generator)
        at = torch.repeat_interleave(candidates.flatten().long())
        # One number says in which step of the block, and its remainder whether it is a spike.
        place = _BLOCK_STEPS * torch.rand(
            len(at), dtype=torch.float64, generator=generator, device=at.device
        )
        within = place.floor()
        step = torch.div(at, len(lgn.offset), rounding_mode="floor") * _BLOCK_STEPS + within.long()
        subunit = at % len(lgn.offset)
        inside = step < n_steps  # the last block may be longer than the trial
        rate = lgn.offset[subunit]
        for shown in seen:
            rate = rate + shown.at(step, subunit)
        spike = inside & ((place - within) * bound.flatten()[at] < rate)
        return step[spike], subunit[spike]

    def rates(self, movie: Movie, n_steps: int) -> Tensor:
        """Rates in Hz of the active units while a movie is shown, [step, active]."""
        seen = self._seen(movie, n_steps, self._drives_of([movie]))
        if not seen:
            return self.gray_rates()[self.lgn.active].expand(n_steps, -1)
        drives = [frame for shown in seen for frame in shown.drive]
        responses = [frame for shown in seen for frame in shown.delayed()]
        return self.lgn.rates_of(drives, responses)

    def _drives_of(self, movies: Sequence[Movie]) -> dict[Stimulus, Tensor]:
        """What the receptive fields see of everything that is shown, [frame, subunit] each."""
        shown = dict.fromkeys(each.stimulus for movie in movies for each in movie)
        unknown = [stimulus for stimulus in shown if stimulus not in self._drives]
        found = {stimulus: self._drives[stimulus] for stimulus in shown if stimulus in self._drives}
        for first in range(0, len(unknown), _AT_ONCE):
            part = unknown[first : first + _AT_ONCE]
            stills = [stimulus.frames(self.lgn.raster) for stimulus in part]
            drives = self.lgn.frame_drive(torch.cat(stills)).split([len(still) for still in stills])
            for stimulus, drive in zip(part, drives, strict=True):
                # A copy, so that what is forgotten is freed and not held by its neighbours.
                found[stimulus] = self._drives[stimulus] = drive.clone()
        return found

    def _seen(self, movie: Movie, n_steps: int, drives: Mapping[Stimulus, Tensor]) -> list["_Seen"]:
        """What the filters make of each stimulus of a movie."""
        dt = self.lgn.dt
        first = min((shown.steps(dt)[0] for shown in movie), default=0)
        seen = []
        for shown in movie:
            start, stop = shown.steps(dt)
            key = (type(shown.stimulus), shown.stimulus.rhythm, stop - start, first, n_steps)
            if key not in self._responses:
                # Filters are the same at all times: one response, moved in time, serves all onsets.
                course = shown.stimulus.course(stop - start, dt)[: max(0, n_steps - first)]
                self._responses[key] = self.lgn.course_response(embedded(course, first, n_steps))
            response = self._responses[key]
            if key not in self._extremes:
                self._extremes[key] = _extremes(response)
            lowest, highest = self._extremes[key]
            seen.append(_Seen(drives[shown.stimulus], response, start - first, lowest, highest))
        return seen


@dataclass(frozen=True)
class _Seen:
    """What the filters make of a stimulus in a movie.

    Attributes:
        drive: [frame, subunit] see `LGN.frame_drive`.
        response: [frame, step, subunit] see `LGN.course_response`.
        delay: steps by which the response is late.
        lowest, highest: [frame, block, subunit] of the response in each block of steps.
    """

    drive: Tensor
    response: Tensor
    delay: int
    lowest: Tensor
    highest: Tensor

    def delayed(self) -> Tensor:
        """The response in the steps of the trial, [frame, step, subunit]."""
        return _later(self.response, self.delay, dim=1)

    def bound(self) -> Tensor:
        """What it adds to a rate at most in each block of steps of the trial, [block, subunit] Hz."""
        drive = self.drive[:, None]
        most = torch.maximum(drive * self.lowest, drive * self.highest).sum(dim=0)
        blocks, steps = divmod(self.delay, _BLOCK_STEPS)
        bound = _later(most, blocks, dim=0)
        # Unless it is late by whole blocks, what is in a block of the trial comes from two of the response.
        return torch.maximum(bound, _later(most, blocks + 1, dim=0)) if steps else bound

    def at(self, step: Tensor, subunit: Tensor) -> Tensor:
        """What it adds to the rates of some subunits in some steps, [n] Hz."""
        since = step - self.delay
        begun = since >= 0
        since = since.clamp(min=0, max=self.response.shape[1] - 1)
        values = zip(self.drive, self.response, strict=True)
        return sum(drive[subunit] * response[since, subunit] for drive, response in values) * begun


def _later(values: Tensor, n: int, dim: int) -> Tensor:
    """`values`, later by n along `dim`, with zeros before it and of the same length."""
    n = min(n, values.shape[dim])
    shape = list(values.shape)
    shape[dim] = n
    return torch.cat([values.new_zeros(shape), values.narrow(dim, 0, values.shape[dim] - n)], dim)


def _extremes(response: Tensor) -> Tensor:
    """Lowest and highest value in each block of steps, [2, frame, block, subunit]."""
    blocks = response.split(_BLOCK_STEPS, dim=1)
    lowest = torch.stack([block.amin(dim=1) for block in blocks], dim=1)
    return torch.stack([lowest, torch.stack([block.amax(dim=1) for block in blocks], dim=1)])
