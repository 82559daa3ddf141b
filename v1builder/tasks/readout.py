"""Reading an answer from the spikes of layer 5.

Each class has a pool of excitatory layer 5 cells near the column's axis, drawn at random, no cell in
two pools (30 cells within 55 um: Chen et al. 2022, Science Advances 8:eabq7592). With c_k the mean
number of spikes of pool k's cells in the response window,

    logit_k = exp(log_scale) * c_k + bias_k.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from v1builder.load.network import Network
from v1builder.schema.errors import ConfigError, NetworkError

LAYER_5_EXCITATORY: tuple[str, ...] = ("e5IT", "e5ET", "e5NP")
#: At some ten spikes per second, two pools of 30 cells differ by chance by about .2 spikes per cell
#: in 50 ms; this makes that a logit of 1, so that the first guesses are unsure but not equal.
_INITIAL_SCALE = 5.0


class Readout(nn.Module):
    """Logits from the spike counts of pools of layer 5 excitatory cells.

    Attributes:
        pools: [class, cell] positions of the pools' cells in the simulated population.
        response: steps whose spikes count.
    """

    pools: Tensor

    def __init__(
        self,
        network: Network,
        *,
        n_classes: int,
        response: slice,
        pool_size: int = 30,
        radius_um: float = 55.0,
        seed: int = 0,
        train_scale: bool = True,
        train_bias: bool = True,
    ):
        """Draw the pools.

        Args:
            network: cells with pop_name, x and z (um).
            n_classes: number of pools.
            response: steps of a trial whose spikes count.
            pool_size: cells per pool.
            radius_um: largest distance from the column's axis.
            seed: of the draw.
            train_scale: whether the common scale is trained.
            train_bias: whether the biases are trained.

        Raises:
            ConfigError: there are too few cells for the pools.
            NetworkError: cells lack pop_name, x or z.
        """
        super().__init__()
        candidates = layer_5_cells(network, radius_um)
        needed = n_classes * pool_size
        if len(candidates) < needed:
            largest = len(candidates) // n_classes
            smaller = f"set pool_size to at most {largest}, " if largest else ""
            raise ConfigError.of(
                "there are too few excitatory layer 5 cells for the readout's pools",
                f"{n_classes} pools of {pool_size} cells within {radius_um:g} um",
                f"{len(candidates)} cells",
                f"{smaller}choose a larger radius_um, or build a larger network",
            )
        drawn = np.random.default_rng(seed).choice(candidates, needed, replace=False)
        self.register_buffer("pools", torch.from_numpy(drawn.reshape(n_classes, pool_size)))
        self.response = response
        self.log_scale = nn.Parameter(torch.tensor(math.log(_INITIAL_SCALE)), train_scale)
        self.bias = nn.Parameter(torch.zeros(n_classes), train_bias)

    def forward(self, spikes: Tensor) -> Tensor:
        """Logits [trial, class] of spikes [trial, step, cell]."""
        window = spikes[:, self.response]
        counts = window[:, :, self.pools.flatten()].sum(dim=1).unflatten(1, self.pools.shape)
        return self.log_scale.exp() * counts.mean(dim=2) + self.bias


def layer_5_cells(network: Network, radius_um: float) -> np.ndarray:
    """Positions of the excitatory layer 5 cells within `radius_um` of the column's axis.

    Raises:
        NetworkError: cells lack pop_name, x or z.
    """
    attributes = network.cells.attributes
    missing = [name for name in ("pop_name", "x", "z") if name not in attributes]
    if missing:
        raise NetworkError.of(
            "cells lack the attributes by which the readout finds its pools",
            f"nodes of '{network.simulated}'",
            f"no {', '.join(missing)}",
            "give every cell pop_name, x and z",
        )
    chosen = np.isin(attributes["pop_name"].astype(str), LAYER_5_EXCITATORY)
    chosen &= np.hypot(attributes["x"], attributes["z"]) <= radius_um
    return np.flatnonzero(chosen)
