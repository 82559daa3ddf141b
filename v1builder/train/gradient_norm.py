"""The norm of a gradient, the same bytes whatever the number of threads.

torch divides the sum of a whole tensor among its threads, so that the order of the additions, and with it the
last digits, depend on how many there are. Sums of rows do not: one thread makes each.
"""

from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor, nn

#: Values of a row. As many rows, 2^24 values, are summed in two rounds; fewer than 2^15 values in one thread.
_ROW: Final = 4096


def sum_of_squares(values: Tensor) -> Tensor:
    """Scalar, the sum over all values of their squares."""
    summed = values.detach().reshape(-1).square()
    while len(summed) > _ROW:
        summed = nn.functional.pad(summed, (0, -len(summed) % _ROW)).view(-1, _ROW).sum(dim=1)
    return summed.sum()


def clip_gradient(parameters: Iterable[nn.Parameter], largest: float) -> Tensor:
    """Scale all gradients so that the norm of all together is at most `largest`, as torch does.

    Returns:
        Scalar, the norm before.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros(())
    norm = torch.stack([sum_of_squares(gradient) for gradient in gradients]).sum().sqrt()
    scale = (largest / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale.to(gradient))
    return norm
