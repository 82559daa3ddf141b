"""Names of metrics that are to explain an outcome: a measure, and where it is taken.

fano_factor                       of the whole network, in the window "evoked", after training
rate_cv[Pvalb]                    of a class, population or layer
mean_rate:spontaneous             in another window of the task
silent_share@untrained            before training
weight_change_rms[Exc>Pvalb]:v1_to_v1         of what training changed (`train.learned`)
"""

import re
from dataclasses import dataclass
from typing import Final, Self

from v1builder.schema.errors import ConfigError, unknown_name

#: When something is measured: before training, after it, or as a change by it.
UNTRAINED, TRAINED, TRAINING = "untrained", "trained", "training"
PHASES: Final = (UNTRAINED, TRAINED, TRAINING)
NETWORK: Final = "network"
#: Measures of what training did to weights, and how names of spreads of parameters begin (`train.learned`).
LEARNED: Final = ("weight_change_rms", "weight_change_mean", "weight_strengthened_share")
DISPERSION: Final = "dispersion_"

_FORM: Final = re.compile(
    r"(?P<measure>\w+)(\[(?P<group>[^\[\]]+)\])?(:(?P<window>[^:@\[\]]+))?(@(?P<phase>\w+))?"
)


@dataclass(frozen=True)
class Metric:
    """A measure and where it is taken.

    Attributes:
        measure: its name.
        group: of cells.
        window: of the trials, or the edges of a change; None for "evoked", or the first there is.
        phase: one of `PHASES`; after training unless said, for changes of weights by it.
    """

    measure: str
    group: str = NETWORK
    window: str | None = None
    phase: str = TRAINED

    @classmethod
    def parse(cls, text: str) -> Self:
        """The metric of that name.

        Raises:
            ConfigError: it is not of the form MEASURE[GROUP]:WINDOW@PHASE, or the phase is unknown.
        """
        match = _FORM.fullmatch(text.strip())
        if match is None:
            raise ConfigError.of(
                "the name of a metric cannot be read",
                "metric",
                text,
                "write MEASURE, with [GROUP], :WINDOW and @PHASE where wanted, as rate_cv[Pvalb]@untrained",
            )
        phase = match["phase"] or _usual(match["measure"])
        if phase not in PHASES:
            raise ConfigError([unknown_name("phase", phase, PHASES, f"metric {text}")])
        return cls(match["measure"], match["group"] or NETWORK, match["window"], phase)

    def __str__(self) -> str:
        group = "" if self.group == NETWORK else f"[{self.group}]"
        window = f":{self.window}" if self.window else ""
        phase = "" if self.phase == _usual(self.measure) else f"@{self.phase}"
        return f"{self.measure}{group}{window}{phase}"


def _usual(measure: str) -> str:
    """The phase that is meant where none is said."""
    return TRAINING if measure in LEARNED else TRAINED
