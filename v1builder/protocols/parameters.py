"""What the parameters of a network say of its cells before anything is run."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from v1builder.load.coordinates import rheobase
from v1builder.load.groups import Groups, group_cells
from v1builder.load.network import GroupedValues, Network
from v1builder.measures import ByGroup, MeasureRow
from v1builder.measures.groups import group_mean
from v1builder.protocols.protocol import Preparation, Protocol
from v1builder.schema.parameters import GLIF_UNITS

Array = NDArray[np.float64]

WINDOW: Final = "parameters"
_NOT_GLIF: Final = "the cells are not GLIF cells"
_NO_CURRENTS: Final = "no after-spike currents"


def matching_bias(network: Network) -> Array:
    """[n_cells] pA, the current that rate matching added to the cells of each population (its provenance)."""
    added = network.provenance.get("bias_currents_pA", [])
    if not added:
        return np.zeros(network.n_cells)
    groups = group_cells(network.cells, "population")
    current = np.array([sum(one.get(name, 0.0) for one in added) for name in groups.labels])
    return current[groups.of_cell]


def over_rheobase(current: Array, network: Network, groups: Groups) -> Array:
    """[n_groups] mean of a current [n_cells] over mean rheobase."""
    scale = rheobase(network.membrane)[network.membrane.group_of]
    return group_mean(groups, current) / group_mean(groups, scale)


def spike_charge(membrane: GroupedValues) -> Array:
    """[n_cells] pA ms per spike, sum over after-spike currents of a/k."""
    amps, rate = (membrane.per_cell(name) for name in ("asc_amps", "asc_decay"))
    return np.divide(amps, rate, out=np.zeros_like(amps), where=amps != 0).sum(axis=1)


def asc_corner(membrane: GroupedValues) -> Array:
    """[n_cells] Hz below which after-spike currents follow the rate of a cell; NaN of cells without them.

    k/2 pi of a single current; of several the one with their summed |a| and |charge|, k = sum |a| / sum
    |a/k|.
    """
    amps, rate = (np.abs(membrane.per_cell(name)) for name in ("asc_amps", "asc_decay"))
    charge = np.divide(amps, rate, out=np.zeros_like(amps), where=amps > 0).sum(axis=1)
    corner = np.full(len(charge), np.nan)
    np.divide(amps.sum(axis=1), charge, out=corner, where=charge > 0)
    return 1000 * corner / (2 * np.pi)


def _is_glif(membrane: GroupedValues) -> bool:
    return set(GLIF_UNITS) <= set(membrane.values)


@dataclass(frozen=True)
class CellParameters(Protocol):
    """The operating point's share of parameters.

    bias_over_rheobase is the current of rate matching over rheobase, asc_charge the charge that after-spike
    currents bring per spike, asc_corner the frequency up to which they follow the rate.
    """

    name: ClassVar[str] = "cell_parameters"
    gives: ClassVar[dict[str, str]] = {
        "bias_over_rheobase": "1",
        "asc_charge": "pA ms",
        "asc_corner": "Hz",
    }

    def run(self, preparation: Preparation) -> Iterator[MeasureRow]:
        """All three, of every group."""
        network = preparation.network
        bias = matching_bias(network)

        def values(measure: str, groups: Groups) -> ByGroup:
            if not _is_glif(network.membrane):
                return ByGroup.missing(groups, _NOT_GLIF)
            sizes = groups.sizes
            if measure == "bias_over_rheobase":
                value = over_rheobase(bias, network, groups)
                return ByGroup.where(sizes > 0, value, sizes, "no cells")
            if measure == "asc_charge":
                value = group_mean(groups, spike_charge(network.membrane))
                return ByGroup.where(sizes > 0, value, sizes, "no cells")
            of_cell = asc_corner(network.membrane)
            known = np.isfinite(of_cell)
            n = np.bincount(groups.of_cell[known], minlength=len(groups))
            total = np.bincount(groups.of_cell[known], of_cell[known], len(groups))
            return ByGroup.where(n > 0, total / np.maximum(n, 1), n, _NO_CURRENTS)

        for measure, unit in self.gives.items():
            yield from preparation.rows(
                measure, unit, WINDOW, lambda groups, name=measure: values(name, groups)
            )
