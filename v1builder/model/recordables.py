"""What can be recorded of cells besides their spikes, under NEST's names and as NEST's multimeter gives it.

| name | unit | value at the end of a step |
|---|---|---|
| V_m | mV | membrane potential, after a reset |
| I | pA | injected current (that of the bias is in E_L, in NEST as well) |
| I_syn | pA | sum of the synaptic currents at the step's begin: what acted in the step |
| I_syn_1, I_syn_2, ... | pA | the same of one port; ports count from 1, as in files |
| I_syn_ex, I_syn_in | pA | synaptic currents of integrate-and-fire cells at the end of the step |
| I_syn_by_port | pA | [..., port] synaptic current of every port at the end of the step |

A neuron has others of its own (`Neuron.recordables` in `model.neurons`). While a cell is refractory I_syn and
its ports stay what they were in the step of the spike (NEST computes them only where it integrates); a run
that begins in a refractory period has them from its first step on. I_syn_1 ... and I_syn_by_port are ours:
NEST's GLIF cells do not give the current of a port.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from torch import Tensor

from v1builder.schema.errors import ConfigError, unknown_name

#: Recorded along with the spikes, segment by segment; everything else costs a run step by step.
V_M: Final = "V_m"


class Step(NamedTuple):
    """One step of a run. b sample, n cell.

    Attributes:
        before, after: the states of the neuron around it.
        propagators: of the model.
        E_L: [n] mV.
        bias: [n] pA.
    """

    before: Any
    after: Any
    propagators: Any
    E_L: Tensor
    bias: Tensor


@dataclass(frozen=True)
class Recordable:
    """A quantity of every cell.

    Attributes:
        unit: mV or pA.
        value: [b, n] (or [b, n, port]) after a step.
        held: whether a refractory cell keeps the value of the step in which it spiked.
        by_port: whether every port has its own.
    """

    unit: str
    value: Callable[[Step], Tensor]
    held: bool = False
    by_port: bool = False


def _ports_before(step: Step) -> Tensor:
    return step.before.y2_fast + step.before.y2_slow


def _ports_after(step: Step) -> Tensor:
    return step.after.y2_fast + step.after.y2_slow


_NAMED: Final[dict[str, Recordable]] = {
    V_M: Recordable("mV", lambda step: step.after.U.double() + step.E_L),
    "I": Recordable("pA", lambda step: step.after.current - step.bias),
    "I_syn": Recordable("pA", lambda step: _ports_before(step).sum(-1), held=True),
    "I_syn_ex": Recordable("pA", lambda step: _ports_after(step)[..., 0]),
    "I_syn_in": Recordable("pA", lambda step: _ports_after(step)[..., 1]),
    "I_syn_by_port": Recordable("pA", _ports_after, by_port=True),
}
_PORT: Final = re.compile(r"I_syn_([1-9]\d*)")
#: What NEST's GLIF cells record. Cells with two ports have V_m, and with currents also `IAF_CURRENTS`.
GLIF_RECORDABLES: Final = (
    V_M,
    "threshold",
    "threshold_spike",
    "threshold_voltage",
    "I",
    "ASCurrents_sum",
    "I_syn",
)
IAF_CURRENTS: Final = ("I_syn_ex", "I_syn_in")


def port_names(n_ports: int) -> tuple[str, ...]:
    """Names of the currents of single ports."""
    return tuple(f"I_syn_{port}" for port in range(1, n_ports + 1))


def needs_ports(name: str) -> bool:
    """Whether it is of single ports, which a model must then keep apart (`V1Network`, keep_ports)."""
    return name in (*IAF_CURRENTS, "I_syn_by_port") or _PORT.fullmatch(name) is not None


def recordable(name: str, own: Mapping[str, Recordable]) -> Recordable:
    """The quantity of that name.

    Args:
        name: as in the table above, or one of `own`.
        own: those of the neuron.

    Raises:
        ConfigError: there is none.
    """
    named = _NAMED | dict(own)
    if name in named:
        return named[name]
    port = _PORT.fullmatch(name)
    if port is None:
        names = [*named, "I_syn_1"]
        raise ConfigError([unknown_name("recordable", name, names, "observe")])
    index = int(port[1]) - 1
    return Recordable("pA", lambda step: _ports_before(step)[..., index], held=True)
