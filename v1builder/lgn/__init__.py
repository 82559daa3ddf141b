"""Movies to LGN firing rates to spikes."""

from v1builder.lgn.classes import LGN_CLASSES
from v1builder.lgn.movie import FactoredMovie
from v1builder.lgn.poisson import (
    add_events,
    modulated_poisson_spikes,
    poisson_events,
    poisson_spikes,
)
from v1builder.lgn.response import LGN
from v1builder.lgn.spatial import Raster

__all__ = [
    "LGN",
    "LGN_CLASSES",
    "FactoredMovie",
    "Raster",
    "add_events",
    "modulated_poisson_spikes",
    "poisson_events",
    "poisson_spikes",
]
