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
from v1builder.lgn import LGN, LGN_CLASSES, add_events, poisson_events
from v1builder.load.network import NodePopulation
from v1builder.stimuli import Movie, Stimulus
from v1builder.stimuli.stimulus import embedded

#: Bytes of what is kept of stimuli and of courses: a stimulus takes 70 kB per frame in a column of 17 400 LGN
#: units, a course 40 MB per frame and 600 steps.
_KEPT_DRIVES, _KEPT_RESPONSES = 1 << 28, 1 << 30
#: Stimuli whose frames are held at once.
_AT_ONCE: Final = 64
#: Steps whose rates are evaluated at a time: those of a whole trial would leave the cache, which
#: costs five times as much.
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
        stimulus and the second for every course, so a trial costs one multiplication per frame and no
        trial's rates are stored. Only the spikes are random.
        """
        lgn = self.lgn
        shape = len(movies), n_steps, self.n_units
        counts = torch.zeros(shape, dtype=torch.uint8, device=lgn.device)
        drives = self._drives_of(movies)
        for trial, movie in zip(counts, movies, strict=True):
            seen = self._seen(movie, n_steps, drives)
            for first in range(0, n_steps, _BLOCK_STEPS):
                last = min(first + _BLOCK_STEPS, n_steps)
                bins = poisson_events(self._rates(seen, first, last), lgn.dt, generator)
                step, unit = bins // len(lgn.active), lgn.active[bins % len(lgn.active)]
                add_events(trial[first:last], step * self.n_units + unit)
        return counts

    def rates(self, movie: Movie, n_steps: int) -> Tensor:
        """Rates in Hz of the active units while a movie is shown, [step, active]."""
        return self._rates(self._seen(movie, n_steps, self._drives_of([movie])), 0, n_steps)

    def _rates(self, seen: Sequence["_Seen"], first: int, last: int) -> Tensor:
        """Rates in Hz of the active units in some steps, [step, active]."""
        acting = [shown for shown in seen if shown.delay < last]
        drives = [frame for shown in acting for frame in shown.drive]
        responses = [frame for shown in acting for frame in shown.part(first, last)]
        if not acting:
            drives = [self.lgn.drive_of_gray]
            responses = [drives[0].expand(last - first, -1)]
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
            seen.append(_Seen(drives[shown.stimulus], self._responses[key], start - first))
        return seen


@dataclass(frozen=True)
class _Seen:
    """What the filters make of a stimulus in a movie.

    Attributes:
        drive: [frame, subunit] see `LGN.frame_drive`.
        response: [frame, step, subunit] see `LGN.course_response`.
        delay: steps by which the response is late.
    """

    drive: Tensor
    response: Tensor
    delay: int

    def part(self, first: int, last: int) -> Tensor:
        """The response in some steps, [frame, last - first, subunit]."""
        missing = max(0, self.delay - first)
        found = self.response[:, max(0, first - self.delay) : last - self.delay]
        return torch.nn.functional.pad(found, (0, 0, missing, 0)) if missing else found
