"""Every parameter of cells and synapses once: unit, range, how it is averaged, what it belongs to.

Modules, ablations, readers and the reference page of the documentation derive from this table.
Names are NEST's. Means are taken in the coordinates of `load.coordinates`, in which a few parameters
are expressed by others (tau_m instead of C_m, the charge of an after-spike current instead of its
amplitude); `mean` says how the parameter is averaged where it stands for itself.
"""

from dataclasses import dataclass
from typing import Final, Literal

Per = Literal["cell", "current", "port", "synapse"]
#: positive: > 0; not negative: >= 0; any: every finite number; fraction: from 0 to 1.
Range = Literal["positive", "not negative", "any", "fraction"]


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Attributes:
        name: NEST's name.
        unit: as in files, `1` for pure numbers.
        per: what has one value: a cell, an after-spike current, a receptor port, a synapse model.
        range: of its values; V_th and V_reset relative to E_L.
        mean: "log" for positive, skewed quantities, else "linear".
        aspect: what an ablation of one aspect changes it with (`experiments.ablations`), or None.
        absent: value of a cell or port that lacks the mechanism or whose file says nothing, or None where it
            must be given.
        trainable: whether `model.V1Network` can learn it, and why not in `about`.
        relative: whether the model has it relative to E_L.
        about: meaning in a few words.
    """

    name: str
    unit: str
    per: Per
    range: Range
    mean: Literal["log", "linear"]
    about: str
    aspect: str | None = None
    absent: float | None = None
    trainable: bool = True
    relative: bool = False


_TABLE: Final = (
    Parameter("C_m", "pF", "cell", "positive", "log", "capacitance; tau_m = C_m/g", "tau_m"),
    Parameter("g", "nS", "cell", "positive", "log", "leak conductance", "conductance"),
    Parameter(
        "E_L", "mV", "cell", "any", "linear", "zero of the voltage: no influence", trainable=False
    ),
    Parameter(
        "V_th", "mV", "cell", "positive", "log", "threshold above E_L", "threshold", relative=True
    ),
    Parameter(
        "V_reset",
        "mV",
        "cell",
        "any",
        "linear",
        "reset, a part of V_th - E_L",
        "reset",
        relative=True,
    ),
    Parameter(
        "t_ref",
        "ms",
        "cell",
        "not negative",
        "linear",
        "refractory period, counted in whole steps",
        "t_ref",
        trainable=False,
    ),
    Parameter("asc_amps", "pA", "current", "any", "linear", "jump a = q k", "asc_charge", 0.0),
    Parameter("asc_decay", "1/ms", "current", "positive", "log", "rate k", "asc_rate", 1.0),
    Parameter(
        "asc_r", "1", "current", "fraction", "linear", "part left at a spike", "asc_charge", 1.0
    ),
    Parameter(
        "th_spike_add", "mV", "cell", "any", "linear", "jump of the threshold", "threshold", 0.0
    ),
    Parameter(
        "th_spike_decay", "1/ms", "cell", "not negative", "linear", "its decay", "threshold", 0.0
    ),
    Parameter(
        "voltage_reset_fraction", "1", "cell", "any", "linear", "of U kept at a spike", "reset", 0.0
    ),
    Parameter(
        "th_voltage_index", "1/ms", "cell", "any", "linear", "threshold follows U", "threshold", 0.0
    ),
    Parameter(
        "th_voltage_decay", "1/ms", "cell", "not negative", "linear", "its decay", "threshold", 0.0
    ),
    Parameter("tau_syn_fast", "ms", "port", "positive", "log", "rise and fall", absent=1.0),
    Parameter("tau_syn_slow", "ms", "port", "positive", "log", "of the slow part", absent=1.0),
    Parameter("amp_slow", "1", "port", "not negative", "linear", "of the slow part", absent=0.0),
    Parameter(
        "psc_shape",
        "1",
        "port",
        "not negative",
        "linear",
        "code of the current's shape",
        absent=0.0,
        trainable=False,
    ),
    Parameter("U", "1", "synapse", "fraction", "linear", "release from rest"),
    Parameter("tau_rec", "ms", "synapse", "positive", "log", "recovery"),
    Parameter("tau_fac", "ms", "synapse", "not negative", "linear", "facilitation; 0: none"),
    Parameter("u", "1", "synapse", "fraction", "linear", "use at time 0", trainable=False),
    Parameter("x", "1", "synapse", "fraction", "linear", "resources at time 0", trainable=False),
)

#: Every parameter by name.
PARAMETERS: Final[dict[str, Parameter]] = {parameter.name: parameter for parameter in _TABLE}


def _units(*per: Per) -> dict[str, str]:
    return {p.name: p.unit for p in _TABLE if p.per in per}


def _absent(*per: Per) -> dict[str, float]:
    return {p.name: p.absent for p in _TABLE if p.per in per and p.absent is not None}


#: Units of the parameters of a GLIF cell of any level. A mechanism that a level lacks has zeros. asc_* have
#: one value per after-spike current. *_decay and th_voltage_index are RATES. After a spike
#: U = voltage_reset_fraction * (U before) + V_reset, both relative to E_L: a file's voltage_reset_add is
#: V_reset - E_L here.
GLIF_UNITS: Final = _units("cell", "current")

#: Those of `GLIF_UNITS` that levels 1 and 3 lack.
THRESHOLD_PARAMETERS: Final[tuple[str, ...]] = (
    "th_spike_add",
    "th_spike_decay",
    "voltage_reset_fraction",
    "th_voltage_index",
    "th_voltage_decay",
)

#: Units of the parameters of a cell's receptors, one value per port. psc_shape is one of
#: `schema.names.PSC_*`; tau_syn_slow and amp_slow mean something for alpha currents only.
RECEPTOR_UNITS: Final = _units("port")

#: Units of the parameters of Tsodyks-Markram synapses. u and x are what the first spike releases: u = U
#: and x = 1 at rest.
PLASTICITY_UNITS: Final = _units("synapse")

#: Values of an after-spike current that a cell lacks, and of a port that nothing ever reaches.
ASC_FILL: Final = _absent("current")
PORT_FILL: Final = _absent("port")


def table() -> str:
    """All parameters as a table for people."""
    rows = [
        f"| `{p.name}` | {p.unit} | {p.per} | {p.range} | {p.mean} | {p.aspect or ''} | {p.about} |"
        for p in _TABLE
    ]
    head = "| parameter | unit | per | range | averaged | aspect | meaning |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *rows]) + "\n"
