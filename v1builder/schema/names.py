"""Names and units that files and code share. One place, so that they cannot drift apart."""

from typing import Final

V1: Final = "v1"
LGN: Final = "lgn"
BKG: Final = "bkg"
#: Virtual V1 cells around a small column, which fire at recorded rates.
BOUNDARY: Final = "boundary"

GLIF_TEMPLATE: Final = "nest:glif_psc_double_alpha"

#: Parameters of a GLIF cell of any level, NEST's names, and their units. A mechanism that a level lacks
#: has zeros. asc_* have one value per after-spike current. *_decay and th_voltage_index are RATES.
#: After a spike U = voltage_reset_fraction * (U before) + V_reset, both relative to E_L: a file's
#: voltage_reset_add is V_reset - E_L here.
GLIF_UNITS: Final[dict[str, str]] = {
    "C_m": "pF",
    "g": "nS",
    "E_L": "mV",
    "V_th": "mV",
    "V_reset": "mV",
    "t_ref": "ms",
    "asc_amps": "pA",
    "asc_decay": "1/ms",
    "asc_r": "1",
    "th_spike_add": "mV",
    "th_spike_decay": "1/ms",
    "voltage_reset_fraction": "1",
    "th_voltage_index": "1/ms",
    "th_voltage_decay": "1/ms",
}

#: Those of `GLIF_UNITS` that levels 1 and 3 lack.
THRESHOLD_PARAMETERS: Final[tuple[str, ...]] = (
    "th_spike_add",
    "th_spike_decay",
    "voltage_reset_fraction",
    "th_voltage_index",
    "th_voltage_decay",
)

#: Parameters of a cell's receptors (one value per receptor port) and their units. psc_shape is one of
#: the codes below; tau_syn_slow and amp_slow mean something for alpha currents only.
RECEPTOR_UNITS: Final[dict[str, str]] = {
    "tau_syn_fast": "ms",
    "tau_syn_slow": "ms",
    "amp_slow": "1",
    "psc_shape": "1",
}

#: What a spike of weight w does at a port: a (double-)alpha current of peak w pA, an exponential current
#: that jumps by w pA, or a jump of the voltage by w mV.
PSC_ALPHA: Final = 0
PSC_EXPONENTIAL: Final = 1
PSC_DELTA: Final = 2

#: Parameters of Tsodyks-Markram synapses, NEST's names, and their units. u and x are what the
#: first spike releases: u = U and x = 1 at rest.
PLASTICITY_UNITS: Final[dict[str, str]] = {
    "U": "1",
    "tau_rec": "ms",
    "tau_fac": "ms",
    "u": "1",
    "x": "1",
}

#: Receptor ports of a V1 cell, in order, by presynaptic synapse class. NEST port = index + 1.
#: "exc" is the class of LGN and background sources.
SYNAPSE_CLASSES: Final[tuple[str, ...]] = (
    "e23",
    "e4",
    "e5et",
    "e5it",
    "e5np",
    "e6",
    "pv",
    "sst",
    "vip",
    "exc",
)

#: Cell class of each V1 population: the level between population and excitatory/inhibitory. A network
#: with other population names has no classes.
CELL_CLASSES: Final[dict[str, str]] = {
    "i1Htr3a": "Htr3a",
    "e23Cux2": "Exc",
    "i23Vip": "Vip",
    "i23Pvalb": "Pvalb",
    "i23Sst": "Sst",
    "e4Nr5a1": "Exc",
    "e4Rorb": "Exc",
    "e4Scnn1a": "Exc",
    "e4other": "Exc",
    "i4Vip": "Vip",
    "i4Pvalb": "Pvalb",
    "i4Sst": "Sst",
    "e5IT": "Exc",
    "e5ET": "Exc",
    "e5NP": "Exc",
    "i5Vip": "Vip",
    "i5Pvalb": "Pvalb",
    "i5Sst": "Sst",
    "e6Ntsr1": "Exc",
    "i6Vip": "Vip",
    "i6Pvalb": "Pvalb",
    "i6Sst": "Sst",
}
