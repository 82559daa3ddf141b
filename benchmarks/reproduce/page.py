"""docs/reproduction.md: our numbers beside the published ones, written from the records."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from statsmodels.stats.proportion import proportion_confint

from benchmarks.reproduce.experiment import Contrast, Experiment
from benchmarks.reproduce.experiments import EXPERIMENTS
from benchmarks.reproduce.records import HERE, read_records
from benchmarks.reproduce.statistics import Estimate, estimate, paired

PAGE: Final = HERE.parents[1] / "docs" / "reproduction.md"
_HEAD: Final = """# Published experiments, run again

Written by `python -m benchmarks.reproduce` from the records in `benchmarks/reproduce/results`, one file for
every network that was trained, with its settings, versions and time. The command with `--seeds N` and `--size
full` adds networks; one that is there is not made again.

Intervals are 95 %: BCa bootstrap over networks from 8 on, t for fewer, none for one; those of accuracies by
delay are Wilson's, over the answers of all networks together. Differences are paired by seed. A size other
than *full* cuts the experiment down: its numbers are not those of the source, and an order that differs may
be one of the cut. With fewer than the 10 networks of the sources nothing here is a reproduction yet.
"""


def write(out: Path, page: Path = PAGE) -> None:
    """Write the page."""
    parts = [_HEAD, *(section(one, out) for one in EXPERIMENTS.values())]
    page.write_text("\n".join(parts), encoding="utf-8")


def section(experiment: Experiment, out: Path) -> str:
    """What is known of an experiment."""
    lines = [f"## {experiment.title}", "", f"{experiment.source}.", ""]
    if experiment.notes:
        lines += [experiment.notes.strip(), ""]
    lines += [f"Command: `python -m benchmarks.reproduce {experiment.name}`.", ""]
    made = {size: read_records(out, experiment, size) for size in experiment.sizes}
    made = {size: records for size, records in made.items() if records}
    if not made:
        published = "; ".join(f"{mode} {text}" for mode, text in experiment.published.items())
        lines += [f"Not run yet. Published: {published or 'nothing comparable'}.", ""]
    for size, records in made.items():
        lines += _tables(experiment, size, records)
        if experiment.curve:
            lines += _curves(experiment, records)
    return "\n".join(lines)


def _tables(experiment: Experiment, size: str, records: Sequence[dict[str, Any]]) -> list[str]:
    lines = [f"Size *{size}*{_cuts(experiment, size)}.", ""]
    better = "more" if experiment.better == "more" else "less"
    lines += [
        f"| mode | published | {experiment.label} ({better} is better) | networks | CPU s each |"
    ]
    lines += ["|---|---|---|---:|---:|"]
    by_mode = {mode: _scores(records, mode, experiment.score) for mode in experiment.modes}
    for mode, scores in by_mode.items():
        found = estimate(list(scores.values()))
        seconds = [one["cpu_seconds"] for one in records if one["mode"] == mode]
        mean = f"{sum(seconds) / len(seconds):.0f}" if seconds else "-"
        published = experiment.published.get(mode, "-")
        lines.append(f"| {mode} | {published} | {_text(found)} | {found.n} | {mean} |")
    lines.append("")
    if experiment.contrasts:
        lines += ["| difference | published | ours | networks |", "|---|---|---|---:|"]
        lines += [_difference(one, experiment, records) for one in experiment.contrasts]
        lines.append("")
    return [*lines, _made(records), ""]


def _curves(experiment: Experiment, records: Sequence[dict[str, Any]]) -> list[str]:
    """Accuracy by delay."""
    delays = sorted({int(delay) for one in records for delay in one["results"]["by_delay"]})
    lines = [f"| accuracy by {experiment.curve} | {' | '.join(map(str, delays))} |"]
    lines += ["|---" + "|---:" * len(delays) + "|"]
    for mode in experiment.modes:
        mine = [one["results"]["by_delay"] for one in records if one["mode"] == mode]
        if mine:
            cells = [_accuracy([one[str(d)] for one in mine if str(d) in one]) for d in delays]
            lines.append(f"| {mode} | {' | '.join(cells)} |")
    return [*lines, ""]


def _accuracy(counts: Sequence[tuple[int, int]]) -> str:
    """Of all networks together, with its Wilson interval: over answers, not over networks."""
    right, n = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
    if not n:
        return "-"
    low, high = proportion_confint(right, n, method="wilson")
    return f"{right / n:.2f} ({low:.2f} to {high:.2f})"


def _difference(
    contrast: Contrast, experiment: Experiment, records: Sequence[dict[str, Any]]
) -> str:
    ends = [_scores(records, mode, experiment.score) for mode in (contrast.mode, contrast.base)]
    found = estimate(paired(*ends))
    name = f"{contrast.mode} - {contrast.base}"
    return f"| {name} | {contrast.published or '-'} | {_text(found, sign=True)} | {found.n} |"


def _scores(records: Sequence[dict[str, Any]], mode: str, score: str) -> dict[int, float]:
    return {one["seed"]: one["results"][score] for one in records if one["mode"] == mode}


def _text(found: Estimate, sign: bool = False) -> str:
    if not found.n:
        return "not run"
    spec = "+.3g" if sign else ".3g"
    mean = format(found.mean, spec)
    if found.low is None or found.high is None:
        return mean
    return f"{mean} ({format(found.low, spec)} to {format(found.high, spec)}, {found.kind})"


def _cuts(experiment: Experiment, size: str) -> str:
    """In which settings a size differs from the published one."""
    if size == "full":
        return ""
    here, there = vars(experiment.sizes[size]), vars(experiment.sizes["full"])

    def text(value: Any) -> str:
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    cut = [
        f"{name} {text(here[name])} ({text(there[name])})"
        for name in here
        if here[name] != there[name]
    ]
    return f", with, instead of the full ones in parentheses: {', '.join(cut)}" if cut else ""


def _made(records: Sequence[dict[str, Any]]) -> str:
    made = {(one["made_with"]["machine"], one["made_with"]["torch"], one["made_with"]["date"])
            for one in records}  # fmt: skip
    commits = sorted({one["made_with"]["v1builder"] for one in records})
    what = "; ".join(f"{machine}, torch {torch}, {date}" for machine, torch, date in sorted(made))
    return f"Made with {what}; v1builder at {', '.join(commits)}; one thread."
