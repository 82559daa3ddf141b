"""Voltages out of range: beyond [-1, 1] in units of V_th - E_L."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from v1builder.objectives.objective import Objective, ObjectiveSettings, Seen, Setting


def voltage_loss(drive: Tensor, threshold: Tensor) -> Tensor:
    """Mean squared excess of voltages beyond [-1, 1] in units of V_th - E_L.

    Args:
        drive: [batch, time, cell] mV above E_L, before the reset.
        threshold: [cell] V_th - E_L, mV.
    """
    excess = torch.nn.functional.softshrink(drive / threshold, 1.0).square()
    # Row by row: a mean of all at once is divided among threads, and its last digits depend on their number.
    return excess.mean(dim=2).mean(dim=1).mean()


class Voltage(Objective):
    """`voltage_loss` of the cells that are judged."""

    name = "voltage_loss"
    needs_drive = True

    def __init__(self, setting: Setting):
        judged = setting.judged
        self._cells = None if judged.all() else torch.from_numpy(judged.nonzero()[0])

    def __call__(self, seen: Seen) -> Tensor:
        """Mean over this process's trials, by their share; 0 for neurons that have no drive."""
        if seen.drive is None:
            return seen.spikes.new_zeros(())
        drive, threshold = seen.drive, seen.threshold()
        if self._cells is not None:
            drive, threshold = drive[:, :, self._cells], threshold[self._cells]
        return voltage_loss(drive, threshold) * seen.part


class VoltageSettings(ObjectiveSettings):
    """Voltages between the inhibited and the threshold, so that surrogate gradients pass."""

    kind: Literal["voltage"] = "voltage"
    weight: float = Field(default=0.1, ge=0, allow_inf_nan=False)

    def make(self, setting: Setting) -> Voltage:
        """Of a network."""
        return Voltage(setting)
