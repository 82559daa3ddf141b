"""Spikes of a network's inputs: one source per input population, chosen by what its nodes say.

A kind of source is one file of this package; it registers itself.
"""

from v1builder.inputs.filters import FilterSource
from v1builder.inputs.poisson import PoissonSource
from v1builder.inputs.recorded import RecordedSource
from v1builder.inputs.source import Source

# Last: members, also those of other packages, use what is above.
# isort: split
from v1builder.inputs.network import input_sources

__all__ = ["FilterSource", "PoissonSource", "RecordedSource", "Source", "input_sources"]
