"""Units that fire at a constant rate of their own: a background, cells around a column, others' inputs."""

from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v1builder.inputs.source import Source
from v1builder.load.network import NodePopulation
from v1builder.schema.errors import NetworkError


class PoissonSource(Source):
    """Independent Poisson units with one rate each, whatever is on the screen."""

    kind = "Poisson units"
    needs: ClassVar[str] = "rate_Hz, the rate of every unit (a column of nodes or node types)"

    def __init__(self, rates: Tensor, dt: float):
        """Units with these rates.

        Args:
            rates: [unit] Hz, not negative.
            dt: ms per step.
        """
        self._rates, self.dt, self.n_units = rates, dt, len(rates)

    @classmethod
    def serves(cls, nodes: NodePopulation) -> bool:
        """Whether the nodes have `rate_Hz`."""
        return "rate_Hz" in nodes.attributes

    @classmethod
    def of(
        cls, nodes: NodePopulation, projecting: NDArray[np.int64], *, dt: float, dtype: torch.dtype
    ) -> Self:
        """All units: the spikes of a unit without targets cost one number each.

        Raises:
            NetworkError: a rate is negative or not a number.
        """
        del projecting
        found = nodes.attributes["rate_Hz"]
        try:
            rates = found.astype(np.float64)
        except (TypeError, ValueError):
            rates = np.full(len(nodes), np.nan)
        wrong = np.flatnonzero(~(np.isfinite(rates) & (rates >= 0)))
        if len(wrong):
            raise NetworkError.of(
                "the rate of an input is not a rate",
                f"nodes of '{nodes.name}', node_id {nodes.node_id[wrong[0]]}, column rate_Hz "
                f"({len(wrong)} of {len(nodes)} nodes)",
                found[wrong[0]],
                "give every unit a rate in Hz that is not negative",
            )
        return cls(torch.from_numpy(rates).to(dtype), dt)

    def gray_rates(self) -> Tensor:
        """[n_units] Hz."""
        return self._rates
