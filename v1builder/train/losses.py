"""What training minimises besides the task and the rates (`train.rates`): voltages out of range."""

import torch
from torch import Tensor


def voltage_loss(drive: Tensor, threshold: Tensor) -> Tensor:
    """Mean squared excess of voltages beyond [-1, 1] in units of V_th - E_L.

    Args:
        drive: [batch, time, cell] mV above E_L, before the reset.
        threshold: [cell] V_th - E_L, mV.
    """
    return torch.nn.functional.softshrink(drive / threshold, 1.0).square().mean()
