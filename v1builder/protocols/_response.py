"""Gain and phase of groups of cells, what `cell_transfer` and `input_transfer` have in common."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from torch import Tensor

from v1builder.analysis.transfer import Estimate
from v1builder.load.groups import Groups
from v1builder.measures import ByGroup, MeasureRow

#: A gain counts when it is so many standard errors from 0.
_ERRORS: Final = 2.0


class GroupMeans:
    """Means over the cells of groups, on the device of what is averaged."""

    def __init__(self, groups: Groups, device: torch.device):
        self._n_groups = len(groups)
        self._of_cell = torch.from_numpy(groups.of_cell).to(device)
        self._sizes = torch.as_tensor(groups.sizes, device=device).clamp(min=1)

    def __call__(self, values: Tensor) -> Tensor:
        """[b, n, f] of cells -> [b, group, f]."""
        total = values.new_zeros(len(values), self._n_groups, values.shape[2])
        return total.index_add_(1, self._of_cell, values) / self._sizes[:, None]


def response_rows(
    estimate: Estimate,
    frequencies: tuple[float, ...],
    groups: Groups,
    level: str,
    *,
    gain: tuple[str, str],
    phase: tuple[str, str],
    seconds: float,
    where: str = "",
) -> Iterator[MeasureRow]:
    """Rows of modulus and phase of every group at every frequency.

    Args:
        estimate: [group, frequency].
        frequencies: Hz.
        groups: of the level.
        level: its name.
        gain: name of the measure of the modulus, and its unit.
        phase: likewise, of the phase.
        seconds: that were run.
        where: what stands before the frequency in the window.
    """
    for column, frequency in enumerate(frequencies):
        response, error = estimate.response[:, column], estimate.error[:, column]
        known = np.abs(response) > _ERRORS * error
        values = (gain, np.abs(response)), (phase, np.angle(response, deg=True))
        for (measure, unit), value in values:
            reason = f"no response beyond noise in {seconds:g} s"
            found = ByGroup.where(known, value, groups.sizes, reason)
            for at, group in enumerate(groups.labels):
                yield MeasureRow(
                    measure, unit, f"{where}{frequency:g} Hz", level, group,
                    float(found.value[at]), int(found.n[at]), found.reason[at],
                )  # fmt: skip
