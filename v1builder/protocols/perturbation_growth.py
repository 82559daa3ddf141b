"""Do small differences grow? The largest Lyapunov exponent of a network at work, per second.

Of spiking cells: pairs of runs with the same inputs on a gray screen, of which one has one more spike of
one cell. Their distance D(t) is the root mean square over cells of the difference of V_m, in units of each
cell's V_th - E_L, and the exponent the slope of the mean of ln D (`analysis.divergence`). It is a growth
from one spike to as much as there can be: at the size of one spike, not of infinitesimal differences, which
die out between spikes (Monteforte & Wolf 2010).

Of smooth cells (GLIFR) there are infinitesimal ones: the derivative is pushed along a run (QR).
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v1builder.analysis.divergence import Growth, growth_rate, lyapunov_exponents
from v1builder.measures import MeasureRow
from v1builder.model.observation import Observer, Segment, observe
from v1builder.model.recordables import V_M
from v1builder.model.rollout import State
from v1builder.protocols.probes import sending, with_spike
from v1builder.protocols.protocol import Preparation, Protocol

WINDOW: Final = "gray screen"
#: Steps of a smooth network between two QR decompositions.
_BLOCK_STEPS: Final = 5
#: Distances below so many units of rounding are rounding.
_ROUNDINGS: Final = 10


@dataclass(frozen=True)
class PerturbationGrowth(Protocol):
    """Growth of the distance of twins one spike apart.

    Attributes:
        n_pairs: pairs of runs, each with inputs and a cell of its own.
        warm_up_ms: before the spike.
        duration_ms: after it.
        start_ms: left out of the fit: what the spike does to its targets rises meanwhile.
        transient_ms: of a smooth network, until the tangent lies along what grows most.
    """

    n_pairs: int = 8
    warm_up_ms: float = 200.0
    duration_ms: float = 400.0
    start_ms: float = 10.0
    transient_ms: float = 100.0

    name: ClassVar[str] = "perturbation_growth"
    gives: ClassVar[dict[str, str]] = {
        "perturbation_growth": "1/s",
        "perturbation_distance": "1",
        "perturbation_survival": "1",
    }

    def run(self, preparation: Preparation) -> Iterator[MeasureRow]:
        """Growth, distance at the end, and share of pairs that still differ then; of the network."""
        if preparation.model.neuron.spikes:
            distance = self._twins(preparation)
            values = self._of_twins(distance, preparation)
        else:
            no_twins = (np.nan, "of smooth cells the derivative is followed, there are no twins")
            # The largest exponent is found from gradients of gradients.
            with preparation.model.computed_with("reference"):
                values = [self._smooth(preparation), no_twins, no_twins]
        for (measure, unit), (value, reason) in zip(self.gives.items(), values, strict=True):
            n = 0 if reason else preparation.model.n_cells
            yield MeasureRow(measure, unit, WINDOW, "network", "network", value, n, reason)

    def _of_twins(
        self, distance: NDArray[np.float64] | None, preparation: Preparation
    ) -> list[tuple[float, str]]:
        if distance is None:
            return [(np.nan, "no cell has targets among the cells")] * len(self.gives)
        dt, start = preparation.model.dt, preparation.steps(self.start_ms)
        resolution = _ROUNDINGS * torch.finfo(preparation.dtype).eps
        growth: Growth = growth_rate(distance, dt, start=start, resolution=resolution)
        last = distance[:, -max(1, distance.shape[1] // 5) :].mean(axis=1)
        return [
            (growth.rate, growth.reason),
            (float(last.mean()), ""),
            (float((last > resolution).mean()), ""),
        ]

    def _twins(self, preparation: Preparation) -> NDArray[np.float64] | None:
        """[pair, step] distance of twins; None where no cell can send a spike to others."""
        model, n = preparation.model, self.n_pairs
        able = sending(model).cpu()
        if not len(able):
            return None
        chosen = torch.randint(len(able), (n,), generator=preparation.draw(self.name, "cells"))
        warm_up = preparation.draw(self.name, "warm-up")
        state = preparation.settled(n, self.warm_up_ms, warm_up)
        spiked = with_spike(model, state, able[chosen].to(preparation.device))
        both = _rows_of(state, spiked)
        noise = preparation.draw(self.name, "inputs")

        def inputs(start: int, stop: int) -> dict[str, Tensor]:
            preparation.progress(start, n_steps)
            same = preparation.gray(n, stop - start, noise)
            return {name: torch.cat([spikes, spikes]) for name, spikes in same.items()}

        n_steps = preparation.steps(self.duration_ms)
        apart = _Distance(model.threshold().detach(), n)
        observe(model, inputs, [apart], n_steps=n_steps, state=both)
        return apart.distance

    def _smooth(self, preparation: Preparation) -> tuple[float, str]:
        """Largest exponent of a smooth network, 1/s."""
        model = preparation.model
        state = preparation.settled(1, self.warm_up_ms, preparation.draw(self.name, "warm-up"))
        probe = preparation.gray(1, _BLOCK_STEPS, preparation.draw(self.name, "probe"))
        with torch.no_grad():
            later = model(probe, n_steps=_BLOCK_STEPS, state=state).state
        # What is passed on as it is would be a direction that neither grows nor shrinks.
        names = [
            f.name
            for f in fields(state)
            if (value := getattr(state, f.name)).is_floating_point()
            and value.numel()
            and getattr(later, f.name) is not value
        ]
        shapes = [getattr(state, name).shape for name in names]
        sizes = [shape.numel() for shape in shapes]
        noise = preparation.draw(self.name, "inputs")
        n_blocks, n_before = (
            max(1, preparation.steps(ms) // _BLOCK_STEPS)
            for ms in (self.duration_ms, self.transient_ms)
        )

        def step(point: Tensor, number: int) -> Tensor:
            preparation.progress(number, n_before + n_blocks)
            parts = zip(names, point.split(sizes), shapes, strict=True)
            before = replace(state, **{name: part.view(shape) for name, part, shape in parts})
            inputs = preparation.gray(1, _BLOCK_STEPS, noise)
            after = model(inputs, n_steps=_BLOCK_STEPS, state=before).state
            return torch.cat([getattr(after, name).flatten() for name in names])

        exponents = lyapunov_exponents(
            step,
            torch.cat([getattr(state, name).flatten() for name in names]),
            n_blocks,
            transient=n_before,
            generator=preparation.draw(self.name, "tangent"),
        )
        seconds = _BLOCK_STEPS * model.dt / 1000
        value = exponents[0].item() / seconds
        return (value, "") if np.isfinite(value) else (np.nan, "the derivative is not finite")


def _rows_of(one: State, other: State) -> State:
    """The rows of both."""
    parts = {
        f.name: torch.cat(
            [getattr(one, f.name), getattr(other, f.name)], dim=1 if f.name == "pending" else 0
        )
        for f in fields(one)
    }
    return replace(one, **parts)


class _Distance(Observer):
    """Distance of the second half of the rows from the first.

    Attributes:
        distance: [pair, step], in units of V_th - E_L.
    """

    needs = (V_M,)

    def __init__(self, threshold: Tensor, n_pairs: int):
        self._threshold, self._n = threshold.double(), n_pairs
        self._parts: list[Tensor] = []

    @property
    def distance(self) -> NDArray[np.float64]:
        return torch.cat(self._parts, dim=1).cpu().numpy()

    def see(self, segment: Segment) -> None:
        voltage = segment.recorded[V_M]
        apart = (voltage[self._n :] - voltage[: self._n]) / self._threshold
        self._parts.append(apart.square().mean(dim=2).sqrt())
