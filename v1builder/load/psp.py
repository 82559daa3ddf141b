"""PSP per unit of weight of every simulated cell and port: what connects weights in pA with mV."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from v1builder.load.coordinates import require_glif
from v1builder.load.network import EdgePopulation, GroupedValues, Network
from v1builder.schema.errors import NetworkError
from v1builder.schema.names import PSC_ALPHA, PSC_EXPONENTIAL
from v1builder.schema.psp import exponential_psp_peak, unit_psp_peak


@dataclass(frozen=True)
class UnitPSP:
    """A: peak PSP of a weight of 1, by kind of cell (membrane and receptors) and port.

    Attributes:
        values: [n_kinds, n_ports] mV/pA (mV/mV, 1, at a port of shape delta).
        kind_of: [n_cells] kind of each cell.
    """

    values: NDArray[np.float64]
    kind_of: NDArray[np.int64]

    def of(self, edges: EdgePopulation) -> NDArray[np.float64]:
        """[e] A of the port of the target of every edge onto simulated cells."""
        return self.values[self.kind_of[edges.target_index], edges.receptor]


def unit_psp(network: Network, membrane: GroupedValues | None = None) -> UnitPSP:
    """A of every cell of `network`, or of its cells with another `membrane`.

    Raises:
        NetworkError: a port that edges reach has no PSP, because its current or the membrane's leak has
            no time constant; or the cells are not GLIF cells.
    """
    membrane = membrane or network.membrane
    require_glif(membrane)
    receptors = network.receptors
    n_rows = len(receptors.labels)
    key = membrane.group_of.astype(np.int64) * n_rows + receptors.group_of
    kinds, kind_of = np.unique(key, return_inverse=True)
    row, receptor_row = np.divmod(kinds, max(n_rows, 1))
    C_m, g = (membrane.values[name][row][:, None] for name in ("C_m", "g"))
    fast, slow, amp, shape = (
        receptors.values[name][receptor_row]
        for name in ("tau_syn_fast", "tau_syn_slow", "amp_slow", "psc_shape")
    )
    values = np.ones_like(fast)  # a delta synapse's weight is its PSP
    C_m, g = (np.broadcast_to(array, fast.shape) for array in (C_m, g))
    with np.errstate(divide="ignore", invalid="ignore"):
        at = shape == PSC_ALPHA
        values[at] = unit_psp_peak(fast[at], slow[at], amp[at], C_m[at], g[at])
        at = shape == PSC_EXPONENTIAL
        values[at] = exponential_psp_peak(fast[at], C_m[at], g[at])
    found = UnitPSP(values, kind_of)
    _check(network, found, membrane)
    return found


def _check(network: Network, found: UnitPSP, membrane: GroupedValues) -> None:
    wrong = ~(np.isfinite(found.values) & (found.values > 0))
    if not wrong.any():
        return
    for name, edges in network.edges.items():
        if edges.target != network.simulated:
            continue
        hit = np.flatnonzero(wrong[found.kind_of[edges.target_index], edges.receptor])
        if len(hit):
            cell, port = edges.target_index[hit[0]], edges.receptor[hit[0]]
            row = membrane.group_of[cell]
            raise NetworkError.of(
                "a port has no PSP, so weights onto it cannot be carried to another membrane",
                f"edges {name}, port {port + 1} of cell model {membrane.labels[row]}",
                f"C_m {membrane.values['C_m'][row]:g} pF, g {membrane.values['g'][row]:g} nS, tau_syn "
                f"{network.receptors.per_cell('tau_syn_fast')[cell, port]:g} ms",
                'correct the cell model, or leave the weights as they are with carry = "none"',
            )
