"""Names and units that files and code share. One place, so that they cannot drift apart."""

from typing import Final

V1: Final = "v1"
LGN: Final = "lgn"
BKG: Final = "bkg"

GLIF_TEMPLATE: Final = "nest:glif_psc_double_alpha"

#: Membrane and after-spike parameters of a GLIF3 cell, NEST's names, and their units.
#: asc_* have one value per after-spike current. asc_decay is a RATE.
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
}

#: Parameters of a cell's receptors (one value per receptor port) and their units.
RECEPTOR_UNITS: Final[dict[str, str]] = {
    "tau_syn_fast": "ms",
    "tau_syn_slow": "ms",
    "amp_slow": "1",
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
