"""Gray and drifting gratings, nothing asked: for training a column to do what was recorded.

The gratings are those of the recordings (Siegle et al. 2021): 8 directions, 2 Hz, .04 cycles/degree, contrast
.8. What is learned is said by the objectives of the experiment file, see `v1builder.objectives`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveInt
from torch import Tensor

from v1builder.analysis.agreement import agreement_by_type, mean_score
from v1builder.analysis.invivo import types_of
from v1builder.analysis.tuning import dsi_vector, osi_vector
from v1builder.inputs import Source
from v1builder.load.network import Network
from v1builder.load.reference import IN_VIVO_UNITS
from v1builder.schema.errors import ConfigError, DataError
from v1builder.schema.recordings import JUDGE, TARGET
from v1builder.tasks.answer import Answer, Score
from v1builder.tasks.grating_tuning import GratingTuning
from v1builder.tasks.task import Trials
from v1builder.tasks.visual import VisualTask

_METRICS: Final = {
    "agreement_rate": "mean_rate_Hz",
    "agreement_spontaneous": "spontaneous_rate_Hz",
    "agreement_osi": "osi",
    "agreement_dsi": "dsi",
}
#: A cell that hardly fires looks selective by chance.
_SPIKES_MIN: Final = 10
_GRAY: Final = -1


@dataclass(frozen=True)
class Judged:
    """The cells that are compared, and with what.

    Attributes:
        types: [n_cells] as the recordings name them, empty for cells that are not judged.
        units: recorded ones, of both splits.
    """

    types: NDArray[np.str_]
    units: pd.DataFrame


class InVivoAgreement(Answer):
    """What the cells do, compared with recorded units.

    The score "agreement" is the mean of 1 - Kolmogorov-Smirnov distance over mean rate, OSI and DSI, each
    over cell types with 15 units: with the units that training may be drawn to, so that those held out are
    only looked at in a test (`InVivoTask.describe`).
    """

    of_cells = True
    scores = (Score("agreement", "agreement with recorded units", "proportion", 0.0, 1.0),)

    def __init__(self, n_directions: int, seconds: tuple[float, float], judged: Judged | None):
        """Say what answers are compared with.

        Args:
            n_directions: evenly spaced.
            seconds: lengths of the windows of gray and of grating.
            judged: None while it is not known which network answers.
        """
        self.directions = 360.0 * np.arange(n_directions) / n_directions
        self._seconds, self.judged = seconds, judged
        self.n_outputs = 0 if judged is None else len(judged.types)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Nothing: what is minimised is said by objectives."""
        del target
        return output.new_zeros(())

    def score(self, output: Tensor, target: Tensor) -> dict[str, Any]:
        """The agreement with units of training, and of what it is the mean."""
        return self.compared(output, target, TARGET)

    def compared(self, output: Tensor, target: Tensor, split: str) -> dict[str, Any]:
        """The agreement with the units of a split.

        Args:
            output: [trial, window, cell] spikes.
            target: [trial, window] number of the direction, -1 for gray.
            split: of the units.

        Returns:
            agreement and its parts; None for what cannot be said.
        """
        names = ("agreement", *_METRICS)
        if self.judged is None:
            return dict.fromkeys(names)
        units = self.judged.units
        table = agreement_by_type(
            self.measured(output, target),
            self.judged.types,
            pd.DataFrame(units[units["split"] == split]),
        )
        parts = {name: mean_score(table, metric) for name, metric in _METRICS.items()}
        main = [parts[name] for name in ("agreement_rate", "agreement_osi", "agreement_dsi")]
        known = [each for each in main if each is not None]
        return {"agreement": float(np.mean(known)) if known else None, **parts}

    def measured(self, output: Tensor, target: Tensor) -> dict[str, NDArray[np.float64]]:
        """[n_cells] by column of the units; selectivities only where all directions were shown."""
        counts = output.double().numpy()
        gray, on = self._seconds
        found = {}
        if gray > 0:
            found["spontaneous_rate_Hz"] = counts[:, 0].mean(axis=0) / gray
        evoked, shown = counts[:, -1], target[:, -1].numpy()
        found["mean_rate_Hz"] = evoked.mean(axis=0) / on
        by_direction = [evoked[shown == index] for index in range(len(self.directions))]
        if all(len(each) for each in by_direction):
            rates = np.stack([each.mean(axis=0) for each in by_direction]) / on
            enough = evoked.sum(axis=0) >= _SPIKES_MIN
            for name, index in (("osi", osi_vector), ("dsi", dsi_vector)):
                found[name] = np.where(enough, index(rates, self.directions), np.nan)
        return found


class InVivoTask(VisualTask):
    """Gray and gratings, on one network."""

    settings: "InVivo"

    def on(
        self, network: Network, units: pd.DataFrame | None, judged: NDArray[np.bool_]
    ) -> "InVivoTask":
        """With the cells of a network to be compared with recorded units.

        Raises:
            DataError: the network has no recorded units.
            ConfigError: no type has enough cells and units.
            NetworkError: a population that the recordings do not know.
        """
        if units is None:
            raise DataError.of(
                "the network has no recorded units to be compared with",
                f"task {self.name}",
                f"no {IN_VIVO_UNITS}",
                "copy the file from a column that was built with this version",
            )
        bound = InVivoTask(self.settings, self.sources, self.dt)
        types = np.where(judged, types_of(network.cells), "")
        for split in (TARGET, JUDGE):
            any_rates = {"mean_rate_Hz": np.zeros(len(types))}
            own = pd.DataFrame(units[units["split"] == split])
            table = agreement_by_type(any_rates, types, own)
            if mean_score(table, "mean_rate_Hz") is None:
                raise ConfigError.of(
                    "no cell type can be compared with recordings",
                    f"task {self.name}, units of split '{split}'",
                    "; ".join(
                        f"{row['cell_type']}: {row['reason']}" for row in table.to_dict("records")
                    ),
                    "train a wider column, or a larger core_radius_um",
                )
        bound.answer = self.settings.answer_of(Judged(types, units))
        return bound

    def describe(self, output: Tensor, trials: Trials) -> dict[str, Any]:
        """In a test, the agreement with units that training was not drawn to."""
        if trials.split != "test":
            return {}
        assert isinstance(self.answer, InVivoAgreement)
        return self.answer.compared(output, trials.target, JUDGE)


class InVivo(GratingTuning):
    """Gray, then a drifting grating in one of 8 directions, as often in each; nothing is asked.

    Training follows the objectives of the experiment. The score is the agreement of the cells with recorded
    units, in a test with those that were held out.

    Attributes:
        n_directions: evenly spaced, 8 in the recordings.
        n_phases: of the gratings at onset.
        response_ms: start and end of the window in which tuning is measured: whole cycles, after the onset.
    """

    asks: ClassVar[bool] = False
    name: Literal["in_vivo"] = "in_vivo"  # pyright: ignore[reportIncompatibleVariableOverride]
    n_directions: int = Field(default=8, ge=8)
    temporal_frequency: float = Field(default=2.0, gt=0)
    n_phases: PositiveInt | Literal["random"] = 4
    gray_before_ms: float = Field(default=200.0, ge=0)
    on_ms: float = Field(default=600.0, gt=0)
    gray_after_ms: float = Field(default=0.0, ge=0)
    response_ms: tuple[float, float] = (300.0, 800.0)

    @property
    def answer(self) -> InVivoAgreement:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Of no network yet."""
        return self.answer_of(None)

    def answer_of(self, judged: Judged | None) -> InVivoAgreement:
        """What some cells do, compared with recorded units."""
        start, stop = self.response_ms
        return InVivoAgreement(
            self.n_directions, (self.gray_before_ms / 1000, (stop - start) / 1000), judged
        )

    @property
    def windows_ms(self) -> Sequence[tuple[float, float]]:
        """The gray before the grating, where there is some, and the response to it."""
        gray = [(0.0, self.gray_before_ms)] if self.gray_before_ms else []
        return [*gray, self.response_ms]

    def trials(
        self, condition: Tensor, split: str, generator: torch.Generator | None = None
    ) -> Trials:
        """Trials of the gratings with these numbers: a target for every window."""
        found = super().trials(condition, split, generator)
        if not self.gray_before_ms:
            return found
        gray = torch.full_like(found.target, _GRAY)
        target = torch.cat([gray, found.target], dim=1)
        return Trials(found.split, found.condition, target, found.movies)

    def make(self, sources: Mapping[str, Source], dt: float) -> InVivoTask:
        """The task on the inputs of a network."""
        return InVivoTask(self, sources, dt)
