"""Synchrony: the Fano factor of the spikes of a population, by how long they are counted.

The number of spikes of n cells together in windows of T ms has variance over mean 1 for independent Poisson
cells at every T. Shared fluctuations make it F(T) = f + (n - 1) r f, with the Fano factor f and the mean
correlation r of single cells, so it grows with n: it means something for a stated number of cells only, and
that is drawn here, at random and anew in every step. The published model
is trained to the curve F(T) of recorded populations (Galvan Fraile et al. 2026). The snapshot of the
recordings holds no spike trains, so the curve is a setting, and its default is no recorded one: it is that of
50 cells with f = 1 and r = .004, .008, .016, .03, .05 in windows of 10 to 200 ms, the small correlations that
recordings of V1 mostly find (Cohen & Kohn 2011, Nat. Neurosci. 14:811). It is an upper bound unless `upper`
is false.

Windows lie side by side in the evoked and in the spontaneous part of the trials. The mean over windows is
taken over all of them, so a rhythm of the stimulus that all cells follow counts as synchrony, in the
recordings as here. The distance is the mean over lengths of (log F - log F_target)^2.
"""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor

from v1builder.load import group_cells
from v1builder.objectives.objective import Objective, ObjectiveSettings, Seen, Setting
from v1builder.schema.errors import ConfigError

_WINDOWS_MIN: Final = 8


class Synchrony(Objective):
    """Distance of Fano factors from a curve."""

    name = "synchrony_loss"

    def __init__(self, setting: Setting, settings: "SynchronySettings"):
        self._settings, task = settings, setting.task
        where = f"objective synchrony, task {task.name}"
        signs = group_cells(setting.network.cells, "ei")
        excitatory = np.array([label == "e" for label in signs.labels])[signs.of_cell]
        self._cells = torch.from_numpy(np.flatnonzero(excitatory & setting.judged))
        if len(self._cells) < settings.n_cells:
            raise ConfigError.of(
                "there are fewer excitatory cells than synchrony is measured of",
                where,
                f"{len(self._cells)} judged cells, n_cells = {settings.n_cells}",
                "make n_cells smaller (and the curve `fano` with it), or the core larger",
            )
        parts = [part for part in (task.evoked, task.spontaneous) if part.stop > part.start]
        self._parts: list[tuple[slice, int, float]] = []
        for part in parts:
            for ms, wanted in zip(settings.windows_ms, settings.fano, strict=True):
                length = max(1, round(ms / setting.dt))
                n_windows = (part.stop - part.start) // length
                if n_windows and n_windows * setting.batch_size >= _WINDOWS_MIN:
                    self._parts.append((part, length, wanted))
        if not self._parts:
            raise ConfigError.of(
                "no counting window fits into the trials often enough",
                where,
                f"windows of {min(settings.windows_ms):g} ms and more",
                f"make trials longer: {_WINDOWS_MIN} windows in a batch are needed",
            )

    def __call__(self, seen: Seen) -> Tensor:
        """Of the whole batch, by the number of processes."""
        order = torch.randperm(len(self._cells), generator=seen.generator)
        cells = self._cells[order[: self._settings.n_cells]].to(seen.spikes.device)
        together = seen.spikes[:, :, cells].sum(dim=2)
        terms = []
        for part, length, wanted in self._parts:
            counts = together[:, part]
            n = counts.shape[1] // length
            windows = counts[:, : n * length].unflatten(1, (n, length)).sum(dim=2)
            sums = seen.summed(torch.stack([windows.sum(), windows.square().sum()]))
            mean, square = sums / (n * seen.n_trials)
            if mean <= 0:
                continue
            # Counts that do not vary have no logarithm, and need no more regularity.
            fano = ((square - mean**2) / mean).clamp(min=1e-3)
            excess = (fano / wanted).log()
            terms.append(excess.clamp(min=0) if self._settings.upper else excess)
        if not terms:
            return seen.spikes.sum() * 0
        return torch.stack(terms).square().mean() / seen.processes


class SynchronySettings(ObjectiveSettings):
    """Fano factors of the spikes of a population, by counting window.

    Attributes:
        windows_ms: lengths of counting windows.
        fano: variance over mean that the population shows in each of them.
        n_cells: excitatory cells of a population, drawn at random.
        upper: whether less costs nothing.
    """

    kind: Literal["synchrony"] = "synchrony"
    windows_ms: tuple[float, ...] = (10.0, 20.0, 50.0, 100.0, 200.0)
    fano: tuple[float, ...] = (1.2, 1.4, 1.8, 2.4, 3.5)
    n_cells: int = Field(default=50, gt=1)
    upper: bool = True

    @field_validator("windows_ms")
    @classmethod
    def _lengths(cls, lengths: Sequence[float]) -> Sequence[float]:
        if not lengths or not all(0 < each < float("inf") for each in lengths):
            raise ValueError("give at least one length in ms, all above 0")
        return lengths

    @field_validator("fano")
    @classmethod
    def _one_each(cls, fano: Sequence[float], info: ValidationInfo) -> Sequence[float]:
        lengths = info.data.get("windows_ms", ())
        if len(fano) != len(lengths) or not all(0 < each < float("inf") for each in fano):
            raise ValueError(f"give {len(lengths)} values above 0, one for every length")
        return fano

    def make(self, setting: Setting) -> Synchrony:
        """Of a network in a task."""
        return Synchrony(setting, self)
