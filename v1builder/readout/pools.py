"""Pools of cells, one per class, of layer 5 unless said otherwise.

Each class has a pool of excitatory layer 5 cells near the column's axis, drawn at random, no cell in
two pools (30 cells within 55 um: Chen et al. 2022, Science Advances 8:eabq7592). With c_k the mean
number of spikes of pool k's cells in a window,

    logit_k = exp(log_scale) * c_k + bias_k.
"""

import math
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from v1builder.load.network import Network
from v1builder.readout.readout import Asked, Readout, ReadoutSettings
from v1builder.schema.errors import ConfigError

#: At some ten spikes per second, two pools of 30 cells differ by chance by about .2 spikes per cell
#: in 50 ms; this makes that a logit of 1, so that the first guesses are unsure but not equal.
_INITIAL_SCALE: Final = 5.0


class Pools(Readout):
    """Logits from the spike counts of pools of cells.

    Attributes:
        pools: [class, cell] positions of the pools' cells in the simulated population.
        windows: steps whose spikes count.
    """

    pools: Tensor

    def __init__(self, pools: Tensor, windows: Sequence[slice]):
        super().__init__()
        self.register_buffer("pools", pools)
        self.windows = tuple(windows)
        self.log_scale = nn.Parameter(torch.tensor(math.log(_INITIAL_SCALE)))
        self.bias = nn.Parameter(torch.zeros(len(pools)))

    def forward(self, spikes: Tensor) -> Tensor:
        """Logits [trial, window, class] of spikes [trial, step, cell]."""
        cells = self.pools.flatten()
        counts = [spikes[:, window][:, :, cells].sum(dim=1) for window in self.windows]
        mean = torch.stack(counts, dim=1).unflatten(2, self.pools.shape).mean(dim=3)
        return self.log_scale.exp() * mean + self.bias


class PoolsSettings(ReadoutSettings):
    """Pools of cells whose spike counts are the answer, see `Pools`.

    Attributes:
        pool_size: cells per pool.
    """

    kind: Literal["pools"] = "pools"
    pool_size: int = Field(default=30, gt=0)

    def make(self, network: Network, asked: Asked, seed: int) -> Pools:
        """Draw the pools.

        Raises:
            ConfigError: a population is unknown, there are too few cells for the pools, or values over time
                are asked for.
            NetworkError: cells lack pop_name, or x or z for a radius.
        """
        if asked.per_step:
            raise ConfigError.of(
                "pools count spikes over a window, and the task asks for values in every step",
                "readout.kind",
                self.kind,
                'set readout.kind = "linear"',
            )
        candidates = self.candidates(network)
        needed = asked.n_outputs * self.pool_size
        if len(candidates) < needed:
            largest = len(candidates) // asked.n_outputs
            smaller = f"set pool_size to at most {largest}, " if largest else ""
            within = "anywhere" if self._radius is None else f"within {self._radius:g} um"
            raise ConfigError.of(
                "there are too few cells for the readout's pools",
                f"{asked.n_outputs} pools of {self.pool_size} cells of {self.named} {within}",
                f"{len(candidates)} cells",
                f"{smaller}choose a larger radius_um or more populations, or build a larger network",
            )
        drawn = np.random.default_rng(seed).choice(candidates, needed, replace=False)
        pools = torch.from_numpy(drawn.reshape(asked.n_outputs, self.pool_size))
        return Pools(pools, asked.windows)
