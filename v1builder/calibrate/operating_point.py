"""The tuned network with recurrence on: spontaneous rates, and responses to drifting gratings.

The gratings are those of task grating_tuning: 8 directions, 2 Hz, 0.04 cycles/degree, contrast 0.8,
0.5 s of gray and 2 s of grating, of which the 2 s count. Preferred rate, OSI and DSI are of each
cell's mean over trials; with few trials a cell that hardly fires looks selective by chance.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from v1builder.analysis.tuning import dsi_vector, osi_vector
from v1builder.calibrate.spontaneous import (
    N_TRIALS,
    WARM_UP_MS,
    gray_rates,
    poisson_trains,
)
from v1builder.inputs import input_sources
from v1builder.load import Network
from v1builder.model import V1Network
from v1builder.model.device import device_of
from v1builder.model.observation import SpikeCounts, observe, segment_steps
from v1builder.tasks import GratingTuning, make_task

Array = NDArray[np.float64]
Progress = Callable[[str, int, int], None]

#: Seconds of gray screen per cell, all trials together.
GRAY_SECONDS: Final = 40.0


@dataclass(frozen=True)
class TunedPoint:
    """What the recurrent network does.

    Attributes:
        spontaneous: [n_cells] Hz on a gray screen.
        directions: [d] degrees.
        evoked: [d, n_cells] Hz, mean over trials; None for a network without LGN.
    """

    spontaneous: Array
    directions: Array
    evoked: Array | None

    def measured(self) -> dict[str, Array]:
        """[n_cells] by metric of the recordings, see `analysis.invivo.compare_with_recordings`."""
        found = {"spontaneous_rate_Hz": self.spontaneous}
        if self.evoked is not None:
            found["mean_rate_Hz"] = self.evoked.mean(axis=0)
            found["preferred_rate_Hz"] = self.evoked.max(axis=0)
            found["osi"] = osi_vector(self.evoked, self.directions)
            found["dsi"] = dsi_vector(self.evoked, self.directions)
        return found


def operating_point(
    network: Network,
    *,
    seed: int,
    trials: int = 10,
    dt: float = 1.0,
    backend: str = "auto",
    accelerator: str = "cpu",
    progress: Progress | None = None,
) -> TunedPoint:
    """Run the whole network, recurrence included.

    Args:
        network: with LGN and background.
        seed: of the spike trains.
        trials: of every direction.
        dt: ms.
        backend: of the model.
        accelerator: where it computes, see `model.device`.
        progress: told of every run.
    """
    report = progress or (lambda _stage, _done, _total: None)
    model = V1Network(network, dt=dt, trainable=(), backend=backend).to(device_of(accelerator))
    rates = gray_rates(network, dt)
    streams = np.random.SeedSequence([seed, 0]).generate_state(2)
    warm_up = round(WARM_UP_MS / dt)
    report("gray screen, recurrent", 0, 1)
    spikes = SpikeCounts(warm_up)
    observe(
        model,
        poisson_trains(rates, N_TRIALS, dt, int(streams[0])),
        [spikes],
        n_steps=warm_up + round(GRAY_SECONDS * 1000 / dt / N_TRIALS),
        steps=segment_steps(N_TRIALS, network.n_cells),
    )
    spontaneous = spikes.counts.sum(axis=0) / GRAY_SECONDS
    report("gray screen, recurrent", 1, 1)
    sources = input_sources(network, dt=dt)
    if not any(source.sees for source in sources.values()):
        return TunedPoint(spontaneous, np.empty(0), None)
    tuning = GratingTuning()
    task = make_task(tuning, sources, dt=dt)
    (response,) = task.windows
    generator = torch.Generator().manual_seed(int(streams[1]))
    n = tuning.n_classes
    each = tuning.trials(torch.arange(n), "test")
    total = np.zeros((n, network.n_cells))
    for done in range(trials):
        report("gratings, recurrent", done, trials)
        spikes = SpikeCounts(response.start)
        observe(model, task.inputs(each, generator), [spikes])
        total += spikes.counts
    report("gratings, recurrent", trials, trials)
    seconds = trials * (response.stop - response.start) * dt / 1000
    directions = np.array([grating.direction for grating, _ in tuning.stimuli("test")])
    return TunedPoint(spontaneous, directions, total / seconds)
