"""How fast nearby trajectories part: the largest Lyapunov exponents of anything that steps.

Two ways. Of a smooth map the derivative is pushed along and kept orthogonal (QR, Benettin et al. 1980,
Meccanica 15:9). Of a network of spiking cells that says nothing, as between spikes the cells contract; there
two runs that differ by one spike are followed until they differ as much as they can (Monteforte & Wolf 2010,
Phys. Rev. Lett. 105:268104; London et al. 2010, Nature 466:123).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Steps that a slope rests on at least.
_STEPS_MIN: Final = 10
#: A plateau lies where a distance of runs that part ends: its mean over this share of the steps.
_TAIL: Final = 0.2


@dataclass(frozen=True)
class Growth:
    """Growth of the distance of twins.

    Attributes:
        rate: 1/s, slope of the mean of ln D; NaN where there is none.
        start, stop: steps that it was fitted in.
        reason: why there is none; empty where there is one.
    """

    rate: float
    start: int
    stop: int
    reason: str = ""


def growth_rate(
    distance: NDArray[np.float64], dt: float, *, start: int = 0, resolution: float = 1e-6
) -> Growth:
    """Slope of ln D(t), from some steps after the twins were parted until D no longer grows (or is rounding).

    A D that ends above its value at `start` is taken to grow, and fitted up to where it is within a factor e
    of its mean over the last fifth of the steps. One that does not is fitted down to `resolution`.

    Args:
        distance: [pair, step].
        dt: ms.
        start: first step of the fit: what a spike does to the cells takes a few ms.
        resolution: distances below are rounding, and count as this.
    """
    mean = np.log(np.maximum(distance, resolution)).mean(axis=0)
    n = mean.shape[0]
    if n - start < _STEPS_MIN:
        return Growth(np.nan, start, n, f"fewer than {_STEPS_MIN} steps after the first {start}")
    if mean[start] <= np.log(resolution):
        return Growth(np.nan, start, n, "the twins do not differ")
    plateau = mean[-max(1, round(_TAIL * n)) :].mean()
    beyond = mean >= plateau - 1 if plateau > mean[start] else mean <= np.log(resolution) + 1
    reached = np.flatnonzero(beyond[start:])
    stop = start + int(reached[0]) if len(reached) else n
    if stop - start < _STEPS_MIN:
        return Growth(
            np.nan,
            start,
            stop,
            f"the twins differ as much as they ever do within {stop * dt:g} ms: no time to grow",
        )
    time = np.arange(start, stop) * dt / 1000
    return Growth(float(np.polyfit(time, mean[start:stop], 1)[0]), start, stop)


def pushed(step: Callable[[Tensor], Tensor], x: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
    """A point after a step, and what the derivative of the step makes of tangents.

    The product with the derivative is had by differentiating twice backwards, which every torch function can
    that can be differentiated backwards.

    Args:
        step: from [d] to [d].
        x: [d] the point.
        tangents: [d, k].

    Returns:
        [d] and [d, k].
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        after = step(x)
        back = torch.zeros_like(after, requires_grad=True)
        (pulled,) = torch.autograd.grad(after, x, back, create_graph=True)
        columns = [
            torch.autograd.grad(pulled, back, tangent, retain_graph=True)[0]
            for tangent in tangents.T
        ]
    return after.detach(), torch.stack(columns, dim=1)


def lyapunov_exponents(
    step: Callable[[Tensor, int], Tensor],
    x: Tensor,
    n_steps: int,
    *,
    n_exponents: int = 1,
    transient: int = 0,
    generator: torch.Generator,
) -> Tensor:
    """The largest Lyapunov exponents of a map, per step.

    Args:
        step: the point [d] after step number k (a map may be driven) from the one before it.
        x: [d] where to start.
        n_steps: steps whose growth counts.
        n_exponents: how many, from the largest.
        transient: steps before them, in which tangents turn into the directions that grow most.
        generator: of the first tangents, on the CPU.

    Returns:
        [n_exponents] natural logarithms per step.
    """
    start = torch.randn(len(x), n_exponents, generator=generator, dtype=x.dtype).to(x.device)
    tangents = torch.linalg.qr(start)[0]
    total = torch.zeros(n_exponents, dtype=x.dtype, device=x.device)
    for k in range(transient + n_steps):
        x, grown = pushed(lambda point, k=k: step(point, k), x, tangents)
        tangents, stretch = torch.linalg.qr(grown)
        if k >= transient:
            total += torch.diagonal(stretch).abs().clamp(min=torch.finfo(x.dtype).tiny).log()
    return total / n_steps
