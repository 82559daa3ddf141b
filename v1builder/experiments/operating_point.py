"""The operating point: what a network does before anything is asked of it, and whether two may be compared.

An ablation that silences half of the cells says nothing about what it ablates. So for every condition,
before and after rate matching and after training, this is measured next to the intact network, and a
condition outside of the bars is marked invalid: nothing is concluded from it.

Bars, for a condition over all seeds, after matching: every population of at least 20 cells fires within 10
% or .1 Hz of intact; the share of silent cells is within 3 points; the variation of rates inside
populations within 15 %; the bias currents of matching are below 5 % of rheobase; and, unless the ablation
is one of after-spike currents, their mean charge is within 1 %; and an ablation that extrapolates spared at
most 10 % of the cells.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from v1builder.load.groups import Groups, group_cells
from v1builder.load.network import Network
from v1builder.measures.groups import group_mean, measured_groups
from v1builder.measures.rate_cv import CELLS_MIN, rate_cv
from v1builder.measures.silent_share import silent_share
from v1builder.measures.top10_share import top10_share
from v1builder.protocols.parameters import matching_bias, over_rheobase, spike_charge

Array = NDArray[np.float64]

RATE_RELATIVE: Final = 0.10
RATE_HZ: Final = 0.1
SILENT_POINTS: Final = 0.03
CV_RELATIVE: Final = 0.15
BIAS_OF_RHEOBASE: Final = 0.05
CHARGE_RELATIVE: Final = 0.01
EFFICACY_RELATIVE: Final = 0.02
SPARED_SHARE: Final = 0.10

#: Where a network's provenance says how its background was tuned, and what part of its cells were spared.
CALIBRATION: Final = "background_calibration"
SPARED: Final = "spared_share"


@dataclass(frozen=True)
class OperatingPoint:
    """What a network does in the probes.

    Attributes:
        spontaneous_Hz: mean rate of all cells on a gray screen. evoked_Hz: mean rate in trials of the task.
        population_Hz: by population, mean of both.
        silent_share: of all cells in all probes, see `measures.silent_share`.
        rate_cv: see `measures.rate_cv`; None where no population has a value.
        top10_share: see `measures.top10_share`; None without spikes.
        bias_over_rheobase: by population, the current of rate matching over the mean rheobase.
        asc_charge: by population, mean charge of a spike's after-spike currents, pA ms.
        spared_share: of all cells, those that an extrapolating ablation left as they were (`Bench.ablated`).
    """

    spontaneous_Hz: float  # noqa: N815
    evoked_Hz: float  # noqa: N815
    population_Hz: dict[str, float]  # noqa: N815
    silent_share: float
    rate_cv: float | None
    top10_share: float | None
    bias_over_rheobase: dict[str, float]
    asc_charge: dict[str, float]
    spared_share: float

    def record(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def operating_point(network: Network, rates: Array) -> OperatingPoint:
    """The operating point of a network.

    Args:
        network: what was measured; its provenance says which currents rate matching added.
        rates: [n_cells, 2] Hz, spontaneous and evoked (`Probes.rates`).
    """
    groups = group_cells(network.cells, "population")
    everyone = measured_groups(network.cells, "network")
    both = rates.mean(axis=1)
    spread = rate_cv(both, groups, everyone)
    return OperatingPoint(
        spontaneous_Hz=float(rates[:, 0].mean()),
        evoked_Hz=float(rates[:, 1].mean()),
        population_Hz=_by_name(groups, group_mean(groups, both)),
        silent_share=float(silent_share(both, everyone)[0]),
        rate_cv=None if spread.reason[0] else float(spread.value[0]),
        top10_share=top10_share(both),
        bias_over_rheobase=_by_name(groups, over_rheobase(matching_bias(network), network, groups)),
        asc_charge=_by_name(groups, group_mean(groups, spike_charge(network.membrane))),
        spared_share=network.provenance.get(CALIBRATION, {}).get(SPARED, 0.0),
    )


def _by_name(groups: Groups, values: Array) -> dict[str, float]:
    return dict(zip(groups.labels, values.tolist(), strict=True))


def compared(point: dict[str, Any], intact: dict[str, Any]) -> dict[str, Any]:
    """The record of an operating point with its ratios to that of the intact network of the same seed."""
    base = intact["population_Hz"]
    ratio = {
        name: rate / base[name] if base[name] > 0 else None
        for name, rate in point["population_Hz"].items()
    }
    return point | {"rate_ratio": ratio}


@dataclass(frozen=True)
class Judgement:
    """Whether something may be concluded from a condition.

    Attributes:
        valid: inside all bars.
        reasons: one sentence for each bar it is outside of.
    """

    valid: bool
    reasons: tuple[str, ...]


def judge(
    points: Sequence[dict[str, Any]],
    intact: Sequence[dict[str, Any]],
    sizes: dict[str, int],
    *,
    keeps_charge: bool,
) -> Judgement:
    """Hold a condition against the bars.

    Args:
        points: records of its operating point, one per seed.
        intact: those of the intact network, same seeds.
        sizes: number of cells of each population; the smallest over seeds.
        keeps_charge: False for ablations of after-spike currents.
    """
    reasons = []
    large = [name for name, size in sizes.items() if size >= CELLS_MIN]

    def over_seeds(records: Sequence[dict[str, Any]], key: str) -> dict[str, float]:
        return {name: float(np.mean([r[key][name] for r in records])) for name in large}

    before, after = over_seeds(intact, "population_Hz"), over_seeds(points, "population_Hz")
    off = [
        f"{name} {before[name]:.2f} -> {after[name]:.2f}"
        for name in large
        if abs(after[name] - before[name]) > max(RATE_HZ, RATE_RELATIVE * before[name])
    ]
    if off:
        reasons.append(f"rates (Hz) of populations differ from intact: {', '.join(off)}")
    silent = [float(np.mean([r["silent_share"] for r in records])) for records in (intact, points)]
    if abs(silent[1] - silent[0]) > SILENT_POINTS:
        reasons.append(f"{silent[1]:.1%} of the cells are silent, {silent[0]:.1%} in intact")
    spread = [[r["rate_cv"] for r in records] for records in (intact, points)]
    if all(value is not None for values in spread for value in values):
        own, new = (float(np.mean(values)) for values in spread)
        if abs(new - own) > CV_RELATIVE * own:
            reasons.append(
                f"rates vary within populations by a CV of {new:.2f}, {own:.2f} in intact"
            )
    bias = over_seeds([_magnitudes(point) for point in points], "bias_over_rheobase")
    biased = [f"{name} {value:.1%}" for name, value in bias.items() if value > BIAS_OF_RHEOBASE]
    if biased:
        reasons.append(f"bias currents of matching above 5 % of rheobase: {', '.join(biased)}")
    spared = float(np.mean([point.get(SPARED, 0.0) for point in points]))
    if spared > SPARED_SHARE:
        reasons.append(f"{spared:.1%} of the cells were spared")
    if keeps_charge:
        own, new = over_seeds(intact, "asc_charge"), over_seeds(points, "asc_charge")
        changed = [
            name for name in large if abs(new[name] - own[name]) > CHARGE_RELATIVE * abs(own[name])
        ]
        if changed:
            reasons.append(f"mean charge of after-spike currents moved: {', '.join(changed)}")
    return Judgement(not reasons, tuple(reasons))


def _magnitudes(point: dict[str, Any]) -> dict[str, Any]:
    bias = {name: abs(value) for name, value in point["bias_over_rheobase"].items()}
    return {"bias_over_rheobase": bias}
