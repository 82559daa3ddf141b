"""What training minimises besides the task: rates like in the living animal, voltages in range."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from v1builder.analysis.invivo import QUANTILES, reference_type
from v1builder.load import Network
from v1builder.schema.errors import DataError, Problem, raise_if_any

REFERENCE = "reference/in_vivo.csv"


@dataclass(frozen=True)
class RateTargets:
    """In vivo firing rates a network's cells are drawn towards, population by population.

    Attributes:
        population: [n] int64 index of every cell's population.
        sorted_rate: [n] Hz; populations one after another, inside each the in vivo rate at quantile
            (i + 1/2)/n_population, ascending.
    """

    population: Tensor
    sorted_rate: Tensor

    def to(self, like: Tensor) -> "RateTargets":
        """The same targets with the dtype and on the device of `like`."""
        return RateTargets(self.population.to(like.device), self.sorted_rate.to(like))


def rate_targets(network: Network, reference: pd.DataFrame) -> RateTargets:
    """Targets from the in vivo quantiles that travel with the network.

    Between the published quantiles (5, 25, 50, 75, 95 %) rates are interpolated linearly, beyond them held.

    Args:
        network: has `pop_name` for every cell.
        reference: columns cell_type, metric and the quantiles (rows with metric mean_rate_Hz are used).

    Raises:
        DataError: a population of the network has no in vivo rates.
    """
    rates = reference[reference["metric"] == "mean_rate_Hz"].set_index("cell_type")
    pop_name = network.cells.attributes["pop_name"].astype(str)
    names, population = np.unique(pop_name, return_inverse=True)
    types = {name: reference_type(name) for name in names}
    raise_if_any(
        [
            Problem(f"no in vivo rates for population {name}", REFERENCE, kind, "add its row")
            for name, kind in types.items()
            if kind not in rates.index
        ],
        DataError,
    )
    targets = []
    for index, name in enumerate(names):
        size = int((population == index).sum())
        published = rates.loc[types[name], list(QUANTILES)].to_numpy(dtype=float)
        targets.append(
            np.interp((np.arange(size) + 0.5) / size, list(QUANTILES.values()), published)
        )
    return RateTargets(torch.from_numpy(population), torch.from_numpy(np.concatenate(targets)))


def read_reference(folder: Path | str) -> pd.DataFrame:
    """The in vivo reference table of a network folder: quantiles of rates, OSI and DSI by cell type.

    Raises:
        DataError: the folder has none.
    """
    path = Path(folder) / REFERENCE
    if not path.is_file():
        raise DataError.of(
            "the network has no in vivo reference",
            path,
            "no such file",
            "build the network with this version, or set train.rate_weight = 0",
        )
    return pd.read_csv(path)


def rate_loss(mean: Tensor, targets: RateTargets, dt: float) -> Tensor:
    """Distance between the distribution of firing rates and the in vivo one.

    The mean Huber distance (Hz, quadratic below 1 Hz) of sorted rates: the 1-D optimal transport between
    the two distributions, inside every population.

    Args:
        mean: [cell] spikes per step, mean over trials and steps.
        targets: of the same cells.
        dt: ms.
    """
    rate = mean * (1000.0 / dt)
    by_rate = torch.argsort(rate.detach(), stable=True)
    order = by_rate[torch.argsort(targets.population[by_rate], stable=True)]
    return torch.nn.functional.huber_loss(rate[order], targets.sorted_rate)


def voltage_loss(drive: Tensor, threshold: Tensor) -> Tensor:
    """Mean squared excess of voltages beyond [-1, 1] in units of V_th - E_L.

    Args:
        drive: [batch, time, cell] mV above E_L, before the reset.
        threshold: [cell] V_th - E_L, mV.
    """
    return torch.nn.functional.softshrink(drive / threshold, 1.0).square().mean()
