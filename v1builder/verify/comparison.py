"""Run our model, and say how many spikes of two runs are the same."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from v1builder.load.network import Network
from v1builder.model import V1Network
from v1builder.verify.agreement import Measured
from v1builder.verify.nest_process import NestInput

#: mV. Two float64 implementations of the same exact integration differ by rounding alone, which
#: grows along a second of simulated time to about 1e-11.
VOLTAGE_LIMIT = 1e-9


@dataclass(frozen=True)
class Traces:
    """Spikes [steps, n] bool and voltages [steps, n] in mV."""

    spikes: NDArray[np.bool_]
    voltage: NDArray[np.float64]


def run_ours(network: Network, stimulus: NestInput, backend: str = "reference") -> Traces:
    """The network in torch, in float64; its input population is "lgn"."""
    model = V1Network(network, dt=stimulus.dt, dtype=torch.float64, trainable=(), backend=backend)
    current = None
    if len(stimulus.current_times):
        current = torch.tensor(stimulus.current_per_step())[None]
    with torch.no_grad():
        inputs = {"lgn": torch.tensor(stimulus.spikes.astype(np.uint8))[None]}
        rollout = model(inputs, current=current, record_voltage=True)
    assert rollout.voltage is not None
    voltage = rollout.voltage[0].numpy() + network.membrane.per_cell("E_L")
    return Traces(rollout.spikes[0].numpy() > 0, voltage)


def identical_fraction(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Spikes found in both at the same step, over spikes found in either."""
    either = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / either if either else float("nan")


def same_spikes(
    theirs: NDArray[Any],
    ours: NDArray[Any],
    least: int,
    more: str = "",
    voltage_difference: float = 0.0,
) -> Measured:
    """The fraction of identical spikes, which must be 1.

    Args:
        theirs: [steps, n] bool, of the reference.
        ours: [steps, n] bool.
        least: a smaller number of spikes proves nothing and does not pass.
        more: added to the text.
        voltage_difference: mV, largest one found; above `VOLTAGE_LIMIT` the case does not pass.
    """
    fraction = identical_fraction(theirs, ours)
    both, either = np.count_nonzero(theirs & ours), np.count_nonzero(theirs | ours)
    text = f"{both} of {either} spikes at the same step ({100 * fraction:.6g} %){more}"
    if voltage_difference:
        text += f"; voltages within {voltage_difference:.1g} mV"
    if not voltage_difference <= VOLTAGE_LIMIT:
        return Measured(f"{text} (limit {VOLTAGE_LIMIT:g})", float("nan"), 1.0, at_least=True)
    if np.count_nonzero(theirs) < least:
        return Measured(f"{text}; too few spikes to compare", float("nan"), 1.0, at_least=True)
    return Measured(text, fraction, 1.0, at_least=True)
