"""Results as Markdown and a figure. `python benchmarks/table.py results/benchmarks.json` redraws them."""

import json
import math
import statistics
import sys
from pathlib import Path

OURS = "v1builder fused"


def summary(result: dict) -> dict:
    """Adds median, range, rate and cost to a result with runs. Seconds are those of all steps."""
    if not result.get("runs"):
        return result
    scale = result["case"]["steps"] / result["steps_run"]
    seconds = [run["seconds"] * scale for run in result["runs"]]
    spikes = [run["spikes"] for run in result["runs"]]
    case, mean_spikes = result["case"], statistics.mean(spikes) * scale
    cells = case["batch"] * case["cells"]
    median = statistics.median(seconds)
    return {
        **result,
        "median_s": median,
        "min_s": min(seconds),
        "max_s": max(seconds),
        "spikes": mean_spikes,
        "rate_hz": mean_spikes / cells / (case["steps"] * case["dt"]) * 1000,
        # the first steps of a rollout, starting from rest, have fewer spikes than the rest
        "ns_per_spike_synapse": None
        if scale > 1
        else median / max(mean_spikes * case["fan_in"], 1) * 1e9,
        "peak_mb": max(run["peak_mb"] for run in result["runs"]),
    }


def with_ratios(results: list[dict]) -> list[dict]:
    """Adds `ratio`: time over that of our fused GLIF3 rollout on the same cells, batch and mode."""
    key = ("cells", "batch", "mode")
    ours = {
        tuple(x["case"][k] for k in key): x["median_s"]
        for x in results
        if x["program"] == OURS and "median_s" in x
    }
    for x in results:
        base = ours.get(tuple(x["case"][k] for k in key))
        if base and "median_s" in x:
            x["ratio"] = x["median_s"] / base
    return results


def number(x: float | None, digits: int = 3) -> str:
    """Three significant digits without an exponent."""
    if x is None or not math.isfinite(x):
        return "-"
    if x == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(x))))
    return f"{x:.{places}f}"


HEAD = (
    "| program | neuron | median s | range s | times ours | Hz | ns / (spike x synapse) | peak MB "
    "| of the roofline | remark |\n|---|---|---:|---:|---:|---:|---:|---:|---:|---|\n"
)


def row(x: dict) -> str:
    name, neuron = x["program"], x["case"]["neuron"].upper()
    if "error" in x:
        return f"| {name} | {neuron} | | | | | | | | {x['error']} |\n"
    remark = x.get("remark", "")
    if x["steps_run"] < x["case"]["steps"]:
        cut = f"cut: measured over {x['steps_run']} steps and scaled; memory and Hz are of those"
        remark = "; ".join(filter(None, [remark, cut]))
    share = x.get("roofline")
    cells = [
        name, neuron, number(x["median_s"]), f"{number(x['min_s'])}-{number(x['max_s'])} ({len(x['runs'])})",
        number(x.get("ratio")), number(x["rate_hz"]), number(x["ns_per_spike_synapse"]),
        f"{x['peak_mb']:.0f}", "-" if share is None else f"{share:.0%}", remark,
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |\n"


def overview(results: list[dict]) -> str:
    """Times over ours of every program (rows) in every table (columns)."""
    groups = dict.fromkeys(tuple(x["case"][k] for k in ("mode", "batch", "cells")) for x in results)
    ratio = {
        (x["program"], *(x["case"][k] for k in ("mode", "batch", "cells"))): x.get("ratio")
        for x in results
    }
    short = {"forward": "fwd", "forward+backward": "fwd+bwd"}
    heads = [f"{short[mode]} b{batch} {cells}" for mode, batch, cells in sorted(groups)]
    lines = ["\nTime over that of v1builder's fused GLIF3 rollout, by mode, batch and cells:\n\n"]
    lines.append("| program | " + " | ".join(heads) + " |\n|---|" + "---:|" * len(heads) + "\n")
    for name in dict.fromkeys(x["program"] for x in results):
        cells = [number(ratio.get((name, *group))) for group in sorted(groups)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |\n")
    return "".join(lines)


def markdown(report: dict) -> str:
    """The page: machine, versions, one table per size, batch and mode."""
    results = report["results"]
    lines = [report["text"], "\n![seconds over cells](benchmarks.png)\n", overview(results)]
    groups = dict.fromkeys(tuple(x["case"][k] for k in ("cells", "batch", "mode")) for x in results)
    for cells, batch, mode in groups:
        members = [
            x for x in results
            if (x["case"]["cells"], x["case"]["batch"], x["case"]["mode"]) == (cells, batch, mode)
        ]  # fmt: skip
        load = members[0].get("load")
        bandwidth = members[0].get("bandwidth_gb_s")
        lines.append(
            f"\n## {cells} cells, {members[0]['case']['fan_in']} synapses each, batch {batch}, {mode}\n\n"
            f"Triad {number(bandwidth)} GB/s; load average {load}.\n\n" + HEAD
        )
        lines += [row(x) for x in sorted(members, key=lambda x: x.get("median_s", math.inf))]
    if report.get("not_reached"):
        lines.append("\nNot reached in the time given: " + "; ".join(report["not_reached"]) + ".\n")
    return "".join(lines)


def figure(results: list[dict], path: Path) -> None:
    """Seconds over cells, a panel per mode and batch, both axes logarithmic."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    done = [x for x in results if "median_s" in x]
    panels = sorted({(x["case"]["mode"], x["case"]["batch"]) for x in done})
    if not panels:
        return
    names = list(dict.fromkeys(x["program"] for x in results))
    width = 5 * min(2, len(panels))
    rows = -(-len(panels) // 2)
    fig, axes = plt.subplots(
        rows, min(2, len(panels)), figsize=(width, 4.2 * rows), sharex=True, squeeze=False
    )
    for ax, (mode, batch) in zip(axes.flat, panels, strict=False):
        for i, name in enumerate(names):
            mine = [
                x for x in done
                if (x["program"], x["case"]["mode"], x["case"]["batch"]) == (name, mode, batch)
            ]  # fmt: skip
            if not mine:
                continue
            mine.sort(key=lambda x: x["case"]["cells"])
            at = [x["case"]["cells"] for x in mine]
            middle = [x["median_s"] for x in mine]
            spread = [
                [m - x["min_s"] for m, x in zip(middle, mine, strict=True)],
                [x["max_s"] - m for m, x in zip(middle, mine, strict=True)],
            ]
            glif = mine[0]["case"]["neuron"] == "glif3"
            ax.errorbar(
                at, middle, spread, label=name if "LIF" in name else f"{name}, {'GLIF3' if glif else 'LIF'}",
                color=plt.get_cmap("tab20")(i % 10 * 2 + i // 10 % 2),
                marker="o" if glif else "s", ls="-" if glif else "--", capsize=2, ms=4,
                lw=2.2 if name.startswith("v1builder") else 1.2,
            )  # fmt: skip
        ax.set(xscale="log", yscale="log", title=f"{mode}, batch {batch}")
        sizes = [x["case"]["cells"] for x in done]
        ax.set_xlim(min(sizes) / 1.5, max(sizes) * 1.5)
        ax.set(xlabel="cells", ylabel="s for 500 ms of activity")
        ax.grid(alpha=0.3)
    fig.tight_layout(rect=(0, 0.14, 1, 1))
    handles = {
        label: handle
        for ax in axes.flat
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    fig.legend(handles.values(), handles.keys(), loc="lower center", ncol=4, fontsize=7)
    fig.savefig(path, dpi=110)
    plt.close(fig)


def write(report: dict, out: Path) -> None:
    (out / "benchmarks.md").write_text(markdown(report))
    figure(report["results"], out / "benchmarks.png")


if __name__ == "__main__":
    source = Path(sys.argv[1])
    stored = json.loads(source.read_text())
    stored["results"] = with_ratios([summary(x) for x in stored["results"]])
    write(stored, source.parent)
