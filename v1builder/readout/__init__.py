"""Readouts: from the spikes of some cells to the answer of a task.

A readout is one file of this package with a subclass of `ReadoutSettings`: the [readout] table of an
experiment and what it means. It registers itself.
"""

from v1builder.readout.readout import Asked, Readout, ReadoutSettings
from v1builder.readout.selection import LAYER_5_EXCITATORY, readable_cells

# Last: members, also those of other packages, use what is above.
# isort: split
from v1builder.readout.register import READOUTS, AnyReadout

__all__ = [
    "LAYER_5_EXCITATORY",
    "READOUTS",
    "AnyReadout",
    "Asked",
    "Readout",
    "ReadoutSettings",
    "readable_cells",
]
