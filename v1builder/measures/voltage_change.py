"""How much cells depolarise when what is shown changes."""

from typing import ClassVar

from v1builder.measures.activity import Array
from v1builder.measures.measure import OfCells
from v1builder.measures.voltage import OfVoltageChange


class VoltageChange(OfVoltageChange, OfCells):
    """Mean over cells of V_m after a change minus V_m before, spikes clipped out (`measures.voltage`)."""

    name: ClassVar[str] = "voltage_change"
    unit: ClassVar[str] = "mV"

    def of_cells(self) -> tuple[Array, str]:
        """The change of every cell."""
        return self.change()
