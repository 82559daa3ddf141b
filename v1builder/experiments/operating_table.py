"""Operating points of ablated networks beside the intact ones: what is looked at before any accuracy.

Every network is measured on a gray screen and in front of drifting gratings, after a warm-up. Several
networks (of several seeds) are judged together, as in a comparison.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from v1builder.experiments.ablations import parse_ablation
from v1builder.experiments.bench import Bench, Start
from v1builder.experiments.operating_point import CELLS_MIN, SPARED, judge
from v1builder.experiments.outcomes import BASELINE
from v1builder.experiments.partial import Partial, remove_partial
from v1builder.inputs import input_sources
from v1builder.load import Network, load_network
from v1builder.load.groups import group_cells
from v1builder.load.reference import home_of
from v1builder.model.device import device_of
from v1builder.schema.errors import ConfigError
from v1builder.schema.files import hash_folder, write_json, write_text
from v1builder.schema.provenance import provenance
from v1builder.tasks import DirectionClassification, make_task

Progress = Callable[[str, int, int], None]

#: Every ablation that is to leave the operating point where it is, the negative control first, and two that
#: are not.
DEFAULT_ABLATIONS: Final = (
    "shuffle_within",
    "mean(population)",
    "archetype(population)",
    "dose(0.5, population)",
    "dose(1.5, population)",
    "shuffle_independent",
    "gaussian_matched(log)",
    "gaussian_matched(linear)",
    "mean(ei)",
    "no_asc",
    "asc_mean_current",
)


@dataclass(frozen=True)
class Row:
    """One ablation of one or several networks.

    Attributes:
        ablation: its name, "intact" for none.
        points: operating point of each network.
        valid: inside the bars, over all networks.
        reasons: bars it is outside of.
    """

    ablation: str
    points: tuple[dict[str, Any], ...]
    valid: bool
    reasons: tuple[str, ...]

    def mean(self, name: str) -> float | None:
        """Mean of a number over networks; None where one lacks it, as the spread of small populations."""
        values = [point[name] for point in self.points]
        return None if None in values else float(np.mean(values))

    @property
    def worst_ratio(self) -> tuple[str, float] | None:
        """The population whose rate differs most from intact, as a ratio over all networks."""
        ratios: dict[str, list[float]] = {}
        for point in self.points:
            for name, ratio in point["rate_ratio"].items():
                if ratio is not None and ratio > 0:
                    ratios.setdefault(name, []).append(ratio)
        mean = {name: float(np.mean(values)) for name, values in ratios.items()}
        return max(mean.items(), key=lambda item: abs(np.log(item[1])), default=None)


def title(networks: Sequence[Path | str], carry: str, background: str, n_trials: int) -> str:
    """What a table was made of, for its heading."""
    return (
        f"Operating points of {len(networks)} networks ({', '.join(Path(n).name for n in networks)}): carry "
        f"{carry}, background {background}, {n_trials} trials of each condition"
    )


def bench_of(
    network: Network,
    *,
    seed: int = 1,
    dt: float = 1.0,
    n_trials: int = 16,
    calibration_seconds: float = 24.0,
    carry: str = "psp",
    background: str = "calibrated",
    accelerator: str = "cpu",
) -> Bench:
    """A bench with drifting gratings for a network, see `Bench`."""
    task = make_task(DirectionClassification(), input_sources(network, dt=dt), dt=dt)
    return Bench(
        task,
        seed,
        dt=dt,
        n_trials=n_trials,
        calibration_seconds=calibration_seconds,
        carry=carry,
        background=background,
        accelerator=accelerator,
    )


def measure(
    networks: Sequence[Path | str],
    ablations: Sequence[str] = DEFAULT_ABLATIONS,
    *,
    out: Path | str | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> list[Row]:
    """Operating points of the intact networks and of every ablation.

    Args:
        networks: folders; the k-th is measured with seed k.
        ablations: names, without "intact".
        out: where the table will be written (`write`). What is done is kept beside it until it is, so that an
            interrupted call goes on.
        progress: called with (network, conditions done, conditions).
        options: of `bench_of`.

    Raises:
        ConfigError: no network, or an ablation is not valid.
    """
    if not networks:
        raise ConfigError.of("no network to measure", "operating points", "none", "name one")
    folders = [Path(folder) for folder in networks]
    options["accelerator"] = device_of(options.get("accelerator", "cpu")).type
    parsed = {ablation.name: ablation for ablation in map(parse_ablation, ablations)}
    names = [BASELINE, *parsed]
    kept: Partial | dict[str, Any] = {}
    if out is not None:
        kept = Partial(Path(out), provenance("operating-point", options=options))
    points: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    sizes: dict[str, int] = {}
    show = progress or (lambda _stage, _done, _total: None)
    for at, folder in enumerate(folders):
        show(folder.name, 0, len(names))
        network = load_network(folder)
        for ablation in parsed.values():
            ablation.affected(network)
        groups = group_cells(network.cells, "population")
        for name, size in zip(groups.labels, groups.sizes.tolist(), strict=True):
            sizes[name] = min(size, sizes.get(name, size))
        bench = bench_of(network, seed=at + 1, **options)
        files = hash_folder(home_of(folder))
        hashed = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
        start: Start | None = None  # measured if anything is missing
        for number, name in enumerate(names, start=1):
            key = f"{hashed}, seed {at + 1}: {name}"
            if key not in kept:
                start = start or bench.start(network)
                if name == BASELINE:
                    kept[key] = start.point
                else:
                    kept[key] = bench.point(bench.ablated(start, parsed[name])[0], start)
            points[name].append(kept[key])
            show(folder.name, number, len(names))
    rows = [Row(BASELINE, tuple(points[BASELINE]), True, ())]
    for name, ablation in parsed.items():
        found = judge(points[name], points[BASELINE], sizes, keeps_charge=ablation.keeps_charge)
        rows.append(Row(name, tuple(points[name]), found.valid, found.reasons))
    return rows


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table for people."""
    lines = [
        "| network | spontaneous / evoked Hz | silent | rate CV | top 10 % | largest change of a population"
        " | inside the bars |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        worst = row.worst_ratio if row.ablation != BASELINE else None
        change = f"{worst[0]} x {worst[1]:.2f}" if worst else ""
        inside = "" if row.ablation == BASELINE else ("yes" if row.valid else "**no**")
        lines.append(
            f"| {row.ablation} | {_text(row, 'spontaneous_Hz', '.2f')} / {_text(row, 'evoked_Hz', '.2f')} | "
            f"{_text(row, 'silent_share', '.1%')} | {_text(row, 'rate_cv', '.2f')} | "
            f"{_text(row, 'top10_share', '.0%')} | {change} | {inside} |"
        )
    spared = [row for row in rows if row.mean(SPARED)]
    if spared:
        lines += ["", "Cells spared, since no background could have held them:", ""]
        lines += [f"- `{row.ablation}`: {_text(row, SPARED, '.1%')}." for row in spared]
    outside = [row for row in rows if row.reasons]
    if outside:
        lines += ["", f"Outside the bars (populations of at least {CELLS_MIN} cells):", ""]
        lines += [f"- `{row.ablation}`: {'; '.join(row.reasons)}." for row in outside]
    return "\n".join(lines) + "\n"


def _text(row: Row, name: str, form: str) -> str:
    value = row.mean(name)
    return "-" if value is None else format(value, form)


def write(rows: Sequence[Row], out: Path, title: str) -> None:
    """Write OUT (markdown), and the numbers beside it as JSON."""
    write_text(out, f"# {title}\n\n{markdown(rows)}")
    numbers = [
        {
            "ablation": row.ablation,
            "valid": row.valid,
            "reasons": list(row.reasons),
            "points": list(row.points),
        }
        for row in rows
    ]
    write_json(out.with_suffix(".json"), numbers)
    remove_partial(out)
