"""Networks in which only some parts of the diversity of cells are left: what Shapley values are made of."""

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from v1builder.experiments.ablations.base import Ablation, Details, Draw
from v1builder.experiments.ablations.rows import rows_of, with_points
from v1builder.load.coordinates import ASPECTS
from v1builder.load.network import Network
from v1builder.schema.errors import ConfigError, unknown_name

#: Every part of the diversity of cells: an aspect, within populations or between those of one sign.
PARTS: Final[tuple[str, ...]] = tuple(
    f"{aspect}.{where}" for aspect in ASPECTS for where in ("within", "between")
)
_NONE: Final = "none"


@dataclass(frozen=True)
class Coalition(Ablation):
    """Keep the named parts of the diversity, average the rest away.

    With m_p the mean of a population and m_s that of its sign, theta - m_p are the differences within,
    m_p - m_s those between populations. A coordinate becomes m_s plus those of the two that are kept for its
    aspect. E_L, which is no aspect, stays. `coalition(none)` is mean(ei), all `PARTS` together are the intact
    network.

    Attributes:
        parts: some of `PARTS` joined by +, for example "tau_m.within + threshold.between", or "none".
    """

    word: ClassVar[str] = "coalition"
    parts: str

    def __post_init__(self) -> None:
        where = f"ablation {self.word}"
        wrong = [part for part in self.kept if part not in PARTS]
        if wrong:
            raise ConfigError([unknown_name("part", part, PARTS, where) for part in wrong])
        if not self.kept and self.parts.strip() != _NONE:
            raise ConfigError.of("no part is named", where, self.parts, f"write {_NONE}")
        object.__setattr__(self, "parts", " + ".join(self.kept) or _NONE)

    @property
    def kept(self) -> tuple[str, ...]:
        """The parts that stay, in the order of `PARTS` where they are known."""
        named = {part.strip() for part in self.parts.split("+")} - {_NONE, ""}
        known = tuple(part for part in PARTS if part in named)
        return (*known, *sorted(named - set(PARTS)))

    @property
    def keeps_charge(self) -> bool:
        """Whether populations keep their own mean."""
        return "asc_charge.between" in self.kept

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """The means of the signs plus the differences that are kept."""
        rows, signs = rows_of(network, "population"), rows_of(network, "ei")
        population = rows.group_means()[rows.group]
        sign_of_cell = signs.group_means()[signs.groups.of_cell]
        _, first = np.unique(rows.of_cell, return_index=True)  # a population has one sign
        sign = sign_of_cell[first]
        theta = rows.theta.copy()
        for aspect, coordinates in ASPECTS.items():
            columns = rows.space.of(coordinates)
            kept = sign[:, columns].copy()
            if f"{aspect}.between" in self.kept:
                kept += (population - sign)[:, columns]
            if f"{aspect}.within" in self.kept:
                kept += (rows.theta - population)[:, columns]
            theta[:, columns] = kept
        return with_points(network, theta, rows.space, rows.of_cell, rows.labels, draw)
