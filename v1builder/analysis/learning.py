"""What gradients say of learning: how much of them is signal, and whether what they move is what is asked.

The tangent kernel K(i, j) = sum over outputs and parameters of df_o(x_i)/dw df_o(x_j)/dw says how an answer
to one trial moves with learning from another. Learning is fast along its leading directions, so it is fast
where these are those of the answers: alignment <K, Y Y'> / (|K| |Y Y'|), both centred (Cortes, Mohri &
Rostamizadeh 2012, J. Mach. Learn. Res. 13:795). A kernel that stays is lazy learning, one that turns
towards the answers rich (Chizat, Oyallon & Bach 2019; Fort et al. 2020).
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

#: Gradients that a ratio of signal and noise needs at least.
GRADIENTS_MIN: Final = 8


def gradient_of(value: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """[p] derivative of a number by all parameters, one after the other; 0 by those it does not know."""
    found = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    pairs = zip(found, parameters, strict=True)
    return torch.cat(
        [(torch.zeros_like(p) if own is None else own).flatten() for own, p in pairs]
    ).detach()


def gradient_signal_to_noise(gradients: Tensor) -> tuple[float, str]:
    """|E g|^2 over the variance of g, E |g - E g|^2, of independent gradients; and why there is none.

    The square of a mean of k gradients is too large by a k-th of their variance, which is taken off: around
    0 it is as often below it. A batch of b has b times the ratio.

    Args:
        gradients: [trial, p].
    """
    k = len(gradients)
    if k < GRADIENTS_MIN:
        return float("nan"), f"fewer than {GRADIENTS_MIN} trials"
    exact = gradients.double()
    noise = exact.var(dim=0).sum()
    if not noise > 0:
        return float("nan"), "the gradient does not vary"
    signal = exact.mean(dim=0).square().sum() - noise / k
    return float(signal / noise), ""


def tangent_kernel(gradients: Sequence[Tensor]) -> Tensor:
    """[trial, trial] of the gradients [trial, p] of every output."""
    return sum((own @ own.T for own in gradients), torch.zeros((), dtype=gradients[0].dtype))


def kernel_alignment(one: Tensor, other: Tensor) -> float:
    """Cosine of two centred kernels [trial, trial], from 0 to 1; NaN of one that is constant."""
    a, b = (_centred(kernel.double()) for kernel in (one, other))
    norm = a.norm() * b.norm()
    tiny = 1e-12 * one.double().norm() * other.double().norm()
    return float((a * b).sum() / norm) if norm > tiny else float("nan")


def _centred(kernel: Tensor) -> Tensor:
    rows = kernel - kernel.mean(dim=0, keepdim=True)
    return rows - rows.mean(dim=1, keepdim=True)
