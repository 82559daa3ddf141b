"""One JSON and one page of what `benchmarks/gpu_all.sh` has measured.

python benchmarks/gpu_page.py FOLDER
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any


def read(folder: Path) -> dict[str, Any]:
    """What each part left; a part that did not finish has what it printed."""
    record: dict[str, Any] = {"parts": {}}
    for status in sorted(folder.glob("*.status")):
        code, seconds = map(int, status.read_text().split())
        printed = status.with_suffix(".txt").read_text().splitlines()
        record["parts"][status.stem] = {"code": code, "seconds": seconds, "last": printed[-3:]}
    rollouts = folder / "rollouts.json"
    if rollouts.exists():
        record |= json.loads(rollouts.read_text())
    record["columns"] = {
        path.stem.removeprefix("step-"): json.loads(path.read_text())
        for path in sorted(folder.glob("step-*.json"))
    }
    return record


def page(record: dict[str, Any]) -> str:
    """Tables of it, as Markdown."""
    machine = record.get("machine", {})
    lines = [f"# {machine.get('device', 'no rollout was finished')}", ""]
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    lines += ["", "| part | exit | s | last line |", "|---|---|---|---|"]
    for name, of in record["parts"].items():
        last = of["last"][-1] if of["last"] else ""
        lines.append(f"| {name} | {of['code']} | {of['seconds']} | {last} |")
    lines += [
        "",
        "| cells | batch | mode | us/step | peak GiB | bound |",
        "|---|---|---|---|---|---|",
    ]
    for of in record.get("results", []):
        head = f"| {of['cells']} | {of['batch']} | {of['mode']} |"
        if "error" in of:
            lines.append(f"{head} {of['error']} | | |")
            continue
        us = of["median_s"] / of["steps"] * 1e6
        peak = of.get("peak_gpu_mb", 0) / 1024
        lines.append(f"{head} {us:.1f} | {peak:.2f} | {of.get('bound', 0):.2f} |")
    for radius, of in record["columns"].items():
        where = f"R = {radius} um, {of['task']}, {of['batch']} trials"
        lines += ["", f"## A training step: {where}", "", "| part | s |", "|---|---|"]
        for name, seconds in of["seconds"].items():
            lines.append(f"| {name} | {statistics.median(seconds):.3f} |")
        lines.append(f"| inputs, share of the step | {of['share_of_inputs']:.2f} |")
        lines.append(f"| peak GiB | {(of['peak_gpu_mb'] or 0) / 1024:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    folder = Path(sys.argv[1])
    record = read(folder)
    (folder / "gpu_all.json").write_text(json.dumps(record, indent=1) + "\n")
    (folder / "gpu_all.md").write_text(page(record))
    print(f"wrote {folder / 'gpu_all.json'} and {folder / 'gpu_all.md'}")


if __name__ == "__main__":
    main()
