"""Flow perturbation in an untrained column, as Galvan Fraile et al. 2024 (PLOS Comput. Biol. 20:e1011921).

    python benchmarks/flow_perturbation.py --out results
    python benchmarks/flow_perturbation.py --out try --radius 50 --runs 4

The first is 400 um with 20 runs of either condition, the second takes minutes. It builds the column with
static and with plastic synapses, measures both and their ablations, and prints which share of the excitatory
cells of each layer depolarises and hyperpolarises when motion begins or ends, with Wilson's 95 % intervals.
Published: both at least 5 % in layer 2/3, three times as many as in layer 5. All numbers are in --out.
"""

import argparse
import resource
import time
from pathlib import Path

import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from v1builder import pipeline
from v1builder.experiments.measure_network import measure_network
from v1builder.tasks.flow_perturbation import FlowPerturbation
from v1builder.terminal import Bars

#: Ablations by the dynamics of the synapses, [synapses] of a recipe.
ABLATIONS = {"static": ("mean(population)", "no_asc"), "stp": ("no_stp", "no_stp_matched")}
MEASURES = ("depolarised_share", "hyperpolarised_share", "rate_doubled_share", "rate_halved_share",
            "voltage_change", "mean_rate")  # fmt: skip


def network(out: Path, dynamics: str, radius: float, seed: int) -> Path:
    """The column, built unless it is there."""
    folder, recipe = out / f"{dynamics}-{radius:g}-{seed}", out / f"{dynamics}.toml"
    if not folder.exists():
        recipe.write_text(f'[synapses]\ndynamics = "{dynamics}"\n')
        with Bars() as progress:
            pipeline.build(folder, radius=radius, seed=seed, recipe=recipe, progress=progress)
    return folder


def shares(table: pd.DataFrame) -> str:
    """Shares of the excitatory cells of each layer, in per cent with their intervals."""
    counted = table[table["measure"].isin(MEASURES[:2]) & (table["level"] == "population")]
    counted = counted[counted["group"].str.match(r"e\d")]
    layer = counted["group"].str.extract(r"(e\d+)")[0].rename("cells")
    counted = counted.assign(k=(counted["value"] * counted["n"]).round())
    sums = counted.groupby(["window", "ablation", layer, "measure"], sort=False)[["k", "n"]].sum()
    low, high = proportion_confint(sums["k"], sums["n"], method="wilson")
    text = [
        f"{100 * k / n:.1f} ({100 * a:.1f}-{100 * b:.1f})"
        for k, n, a, b in zip(sums["k"], sums["n"], low, high, strict=True)
    ]
    found = sums.assign(text=text).pivot_table(
        "text", ["window", "ablation", "cells"], "measure", aggfunc="first", sort=False
    )
    return found.to_string()


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--radius", type=float, default=400.0)
    parser.add_argument("--runs", type=int, default=20, help="of either condition")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for dynamics, ablations in ABLATIONS.items():
        folder = network(options.out, dynamics, options.radius, options.seed)
        begin = time.perf_counter()
        with Bars() as progress:
            measured = measure_network(
                folder,
                FlowPerturbation(),
                select=MEASURES,
                ablations=ablations,
                n_trials=2 * options.runs,
                seed=options.seed,
                progress=progress,
            )
        seconds = time.perf_counter() - begin
        measured.write(folder.with_suffix(".csv"))
        n_trials = 2 * options.runs * (1 + len(ablations))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"\n{dynamics} synapses: {seconds / n_trials:.1f} s per trial of 3 s, ablations included; "
              f"at most {peak:.1f} GiB")  # fmt: skip
        print(shares(measured.table()))


if __name__ == "__main__":
    main()
