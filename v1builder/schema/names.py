"""Names and units that files and code share. One place, so that they cannot drift apart."""

from typing import Final

V1: Final = "v1"
LGN: Final = "lgn"
BKG: Final = "bkg"
#: Virtual V1 cells around a small column, which fire at recorded rates.
BOUNDARY: Final = "boundary"

#: Where a network's provenance says how its learned delays were rounded, see `model.export`.
LEARNED_DELAYS: Final = "learned_delays"

GLIF_TEMPLATE: Final = "nest:glif_psc_double_alpha"

#: What a spike of weight w does at a port: a (double-)alpha current of peak w pA, an exponential current
#: that jumps by w pA, or a jump of the voltage by w mV.
PSC_ALPHA: Final = 0
PSC_EXPONENTIAL: Final = 1
PSC_DELTA: Final = 2

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
