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
