"""Orientation selectivity distributed as that of recorded units, see `objectives.selectivity`."""

from typing import ClassVar, Literal

from v1builder.objectives.selectivity import SelectivitySettings


class OSISettings(SelectivitySettings):
    """Orientation selectivity (`analysis.tuning.osi_vector`) by population as recorded, see `selectivity`."""

    kind: Literal["osi"] = "osi"
    metric: ClassVar[str] = "osi"
    harmonic: ClassVar[int] = 2
