"""Direction selectivity distributed as that of recorded units, see `objectives.selectivity`."""

from typing import ClassVar, Literal

from v1builder.objectives.selectivity import SelectivitySettings


class DSISettings(SelectivitySettings):
    """Direction selectivity (`analysis.tuning.dsi_vector`) by population as recorded, see `selectivity`."""

    kind: Literal["dsi"] = "dsi"
    metric: ClassVar[str] = "dsi"
    harmonic: ClassVar[int] = 1
