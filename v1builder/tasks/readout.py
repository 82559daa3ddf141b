"""Reading an answer from the spikes of some cells, of layer 5 unless said otherwise.

Each class has a pool of excitatory layer 5 cells near the column's axis, drawn at random, no cell in
two pools (30 cells within 55 um: Chen et al. 2022, Science Advances 8:eabq7592). With c_k the mean
number of spikes of pool k's cells in the response window,

    logit_k = exp(log_scale) * c_k + bias_k.
"""

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from v1builder.load.groups import group_cells
from v1builder.load.network import Network
from v1builder.schema.errors import ConfigError, NetworkError, raise_if_any, unknown_name

LAYER_5_EXCITATORY: Final[tuple[str, ...]] = ("e5IT", "e5ET", "e5NP")
#: At some ten spikes per second, two pools of 30 cells differ by chance by about .2 spikes per cell
#: in 50 ms; this makes that a logit of 1, so that the first guesses are unsure but not equal.
_INITIAL_SCALE = 5.0


class Readout(nn.Module):
    """Logits from the spike counts of pools of cells.

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
        radius_um: float | None = 55.0,
        populations: Sequence[str] = LAYER_5_EXCITATORY,
        seed: int = 0,
        train_scale: bool = True,
        train_bias: bool = True,
    ):
        """Draw the pools.

        Args:
            network: cells with pop_name, and x and z (um) for a radius.
            n_classes: number of pools.
            response: steps of a trial whose spikes count.
            pool_size: cells per pool.
            radius_um: largest distance from the column's axis; None for cells from everywhere.
            populations: pop_name of the cells, or patterns such as "e5*".
            seed: of the draw.
            train_scale: whether the common scale is trained.
            train_bias: whether the biases are trained.

        Raises:
            ConfigError: a population is unknown, or there are too few cells for the pools.
            NetworkError: cells lack pop_name, or x or z for a radius.
        """
        super().__init__()
        candidates = readable_cells(network, populations, radius_um)
        needed = n_classes * pool_size
        if len(candidates) < needed:
            largest = len(candidates) // n_classes
            smaller = f"set pool_size to at most {largest}, " if largest else ""
            within = "anywhere" if radius_um is None else f"within {radius_um:g} um"
            raise ConfigError.of(
                "there are too few cells for the readout's pools",
                f"{n_classes} pools of {pool_size} cells of {', '.join(populations)} {within}",
                f"{len(candidates)} cells",
                f"{smaller}choose a larger radius_um or more populations, or build a larger network",
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


def readable_cells(
    network: Network, populations: Sequence[str], radius_um: float | None
) -> np.ndarray:
    """Positions of the cells of some populations within `radius_um` of the column's axis.

    Args:
        network: cells with pop_name.
        populations: names, or patterns such as "e5*".
        radius_um: None for cells from everywhere.

    Raises:
        ConfigError: a name or pattern is that of no population.
        NetworkError: cells lack pop_name, or x or z for a radius.
    """
    groups = group_cells(network.cells, "population")
    chosen = {
        pattern: [name for name in groups.labels if fnmatchcase(name, pattern)]
        for pattern in populations
    }
    # Small columns lack some of the default populations.
    if not any(chosen.values()) or (
        tuple(populations) != LAYER_5_EXCITATORY and not all(chosen.values())
    ):
        where = f"readout.populations, nodes of '{network.simulated}'"
        unknown = [pattern for pattern, names in chosen.items() if not names]
        raise_if_any(
            [unknown_name("population", name, groups.labels, where) for name in unknown],
            ConfigError,
        )
    wanted = {name for names in chosen.values() for name in names}
    inside = np.isin(np.array(groups.labels)[groups.of_cell], list(wanted))
    if radius_um is not None:
        attributes = network.cells.attributes
        missing = [name for name in ("x", "z") if name not in attributes]
        if missing:
            raise NetworkError.of(
                "cells lack the positions by which the readout finds its pools",
                f"nodes of '{network.simulated}'",
                f"no {', '.join(missing)}",
                'give every cell x and z, or set readout.radius_um = "all"',
            )
        inside &= np.hypot(attributes["x"], attributes["z"]) <= radius_um
    return np.flatnonzero(inside)
