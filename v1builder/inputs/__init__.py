"""Inputs of a network, spikes and injected currents: one source per population, chosen by what its nodes say.

A kind of source is one file of this package; it registers itself.
"""

from v1builder.inputs.filters import FilterSource
from v1builder.inputs.injected import InjectedCurrent
from v1builder.inputs.poisson import PoissonSource
from v1builder.inputs.recorded import RecordedSource
from v1builder.inputs.source import Source

# Last: members, also those of other packages, use what is above.
# isort: split
from v1builder.inputs.network import input_sources

__all__ = [
    "FilterSource",
    "InjectedCurrent",
    "PoissonSource",
    "RecordedSource",
    "Source",
    "input_sources",
]
