"""Units that filter what is on the screen: the LGN, see `v1builder.lgn`."""

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v1builder.inputs.source import Source
from v1builder.lgn import LGN, LGN_CLASSES, add_events, poisson_events
from v1builder.load.network import NodePopulation

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

    def spikes(
        self, shown: Sequence[tuple[Tensor, Tensor]], n_steps: int, generator: torch.Generator
    ) -> Tensor:
        """Spike counts [trial, step, unit], uint8, of trials.

        Args:
            shown: of every trial, the drive (`LGN.frame_drive`) and the response over `n_steps` steps
                (`LGN.course_response`).
            n_steps: of a trial.
            generator: of the spikes.
        """
        lgn = self.lgn
        shape = len(shown), n_steps, self.n_units
        counts = torch.zeros(shape, dtype=torch.uint8, device=lgn.device)
        for trial, (drive, response) in zip(counts, shown, strict=True):
            blocks = zip(
                trial.split(_BLOCK_STEPS), response.split(_BLOCK_STEPS, dim=1), strict=True
            )
            for block, part in blocks:
                bins = poisson_events(lgn.rates_of(drive, part), lgn.dt, generator)
                step, unit = bins // len(lgn.active), lgn.active[bins % len(lgn.active)]
                add_events(block, step * self.n_units + unit)
        return counts
