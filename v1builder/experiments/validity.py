"""Whether conditions may be compared with intact ones: their operating points over all seeds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from v1builder.experiments.ablations import parse_ablation
from v1builder.experiments.condition import Condition
from v1builder.experiments.operating_point import judge
from v1builder.experiments.seed_run import read_result


def _smallest(sizes: Sequence[dict[str, int]]) -> dict[str, int]:
    """Of the populations that all seeds have."""
    common = [name for name in sizes[0] if all(name in one for one in sizes)]
    return {name: min(one[name] for one in sizes) for name in common}


def judge_conditions(
    out: Path, results: list[dict[str, Any]], sizes: Sequence[dict[str, int]]
) -> None:
    """Write into every result whether its condition, over all seeds, is inside the bars.

    Args:
        out: folder of the run.
        results: of the comparison.
        sizes: by seed, numbers of cells of the populations.
    """
    smallest = _smallest(sizes)
    by_condition: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in results:
        by_condition.setdefault((result["protocol"], result["ablation"]), []).append(result)
    baseline = [r for r in results if r["ablation"] == "intact"]
    for (protocol, name), members in by_condition.items():
        seen = {r["seed"]: r for r in baseline if r["protocol"] == protocol}
        moment = "after" if protocol == "retrain" else "trained"
        intact = [_point(out, protocol, seen[r["seed"]], moment) for r in members]
        if name == "intact":
            found = [True, []]
        else:
            verdict = judge(
                [r["operating_point"]["after"] for r in members],
                intact,
                smallest,
                keeps_charge=parse_ablation(name).keeps_charge,
            )
            found = [verdict.valid, list(verdict.reasons)]
        for result in members:
            result["valid"], result["invalid_because"] = found


def _point(out: Path, protocol: str, intact: dict[str, Any], moment: str) -> dict[str, Any]:
    """The operating point of the intact network that a condition starts from."""
    if protocol in ("readout", "finetune"):  # it starts where the baseline's training ended
        folder = Condition("retrain", parse_ablation("intact"), intact["seed"]).folder(out)
        intact = read_result(folder)
    return intact["operating_point"][moment]
