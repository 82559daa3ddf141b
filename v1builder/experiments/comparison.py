"""Every ablation with every seed, trained and tested; then statistics over paired seeds.

A condition (protocol, ablation, seed) has a folder of its own, RUN/cells/...; its result is written when it
is complete, so the same command goes on where it was stopped. A result made by other settings, another
network or other code versions is not used but made again.

Conditions are run one after another, in several processes, or by Ray on as many machines as there are; only
files connect them, so all ways give the same results and any goes on where another stopped.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from v1builder.experiments.ablations import Ablation, parse_ablation
from v1builder.experiments.condition import TRAINED, Condition
from v1builder.experiments.engines import (
    ENGINES,
    Progress,
    run_here,
    run_in_processes,
    run_on_ray,
    silent,
)
from v1builder.experiments.explain import declare, declared_first, explain
from v1builder.experiments.measured import (
    LEARNED_TABLE,
    coarse,
    measured_rows,
    rows_after_training,
    summarise_measured,
    together,
    write_measured,
)
from v1builder.experiments.operating_point import RATE_HZ, RATE_RELATIVE
from v1builder.experiments.seed_run import choose_factor, read_result, read_validation
from v1builder.experiments.seed_runs import SeedRuns
from v1builder.experiments.shapley import coalitions, shapley_values
from v1builder.experiments.so_far import Pages
from v1builder.experiments.summary import chosen_score, summarise
from v1builder.experiments.validity import judge_conditions
from v1builder.load.groups import group_cells
from v1builder.schema.errors import ConfigError, unknown_name
from v1builder.schema.names import CELL_CLASSES
from v1builder.schema.provenance import provenance
from v1builder.schema.recordings import recorded
from v1builder.schema.records import write_record
from v1builder.schema.run_folders import run_folder
from v1builder.tasks import Score
from v1builder.train.settings import Experiment
from v1builder.train.subjects import Subject

_COMPARISON = "comparison.json"
_BASELINE = ("retrain", "intact")
#: One of these is in every folder of a comparison that was begun.
_HOLDS = ("cells", _COMPARISON)
#: Of the random orders of Shapley values.
_SHAPLEY_SEED = 0


def compare(
    experiment: Experiment,
    out: Path | str,
    *,
    engine: str = "local",
    workers: int = 1,
    accelerator: str | None = None,
    pages: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run what is missing of a comparison and write RUN/comparison.json.

    Args:
        experiment: networks, task, seeds, ablations.
        out: run folder; finished conditions in it are kept. For Ray on several machines, a folder that
            all of them see under the same name; so are the networks.
        engine: what runs the conditions, see `ENGINES`.
        workers: processes of this machine that run them at once, each with its own networks in memory. Ray
            has workers of its own.
        accelerator: "cpu", "cuda" or "auto"; that of the experiment's [train] when None. Workers share a GPU.
            Results of another accelerator are refused.
        pages: whether RUN/report is written, too: after every finished seed (Ray: at the end), see `so_far`.
        progress: called with (stage, done, total).

    Returns:
        What comparison.json holds: cells (the results), what `summarise` says of them, shapley, rates,
        notes, sources, provenance.

    Raises:
        ConfigError: the engine is unknown or not installed, the number of workers is not positive or not
            the engine's to choose, or the experiment is not valid.
        V1BuilderError: a network cannot be read, trained or compared. Raised before anything is trained.
        StorageError: `out` holds something else, another process compares there, a file of a condition is
            damaged, or the file system refused.
    """
    if engine not in ENGINES:
        raise ConfigError([unknown_name("engine", engine, ENGINES, "compare")])
    if workers < 1:
        raise ConfigError.of("the number of workers must be positive", "compare", workers)
    if engine == "ray" and workers > 1:
        raise ConfigError.of(
            "Ray has as many workers as its cluster has cores",
            "compare, workers",
            workers,
            "leave workers out, or use the local engine",
        )
    experiment = experiment.computed_on(accelerator)
    if engine == "ray" and experiment.train.accelerator != "cpu":
        raise ConfigError.of(
            "conditions on Ray are computed by its CPUs",
            "compare, engine 'ray'",
            f"accelerator '{experiment.train.accelerator}'",
            "use --accelerator cpu, or --engine local with --workers",
        )
    with run_folder(out, holds=_HOLDS):
        return _compare(
            experiment, Path(out), engine, workers, Pages(Path(out)) if pages else None, progress
        )


def _compare(
    experiment: Experiment,
    out: Path,
    engine: str,
    workers: int,
    pages: Pages | None,
    progress: Progress | None,
) -> dict[str, Any]:
    """What `compare` does in its folder."""
    plan = _Plan(experiment, out.absolute())
    progress = progress or silent
    runs = _Runs(plan, progress)
    notes = runs.subjects.check(experiment)
    first = runs.of(experiment.seeds[0]).subject
    for name in plan.ablations:
        parse_ablation(name).affected(first.network)
    primary = chosen_score(first.task.answer.scores, experiment.compare.primary)
    found = _Found(plan, runs, notes, first.task.answer.scores, primary.name, first.reference)
    declare(plan.out, experiment.measure.explain)

    def done(job: _Job) -> None:
        if pages and not job.factors:
            found.refresh(pages, job)

    stages = list(plan.stages())
    if engine == "ray":
        run_on_ray(stages, partial(_Runs, plan), progress)
    elif workers > 1:
        run_in_processes(stages, partial(_Runs, plan), progress, done, workers)
    else:
        run_here(stages, lambda _progress: runs, progress, done)
    comparison, both = found.comparison(experiment.seeds)
    comparison["shapley"] = _shapley(plan, comparison["cells"], primary.name)
    declared = declared_first(plan.out, experiment.measure.explain)
    comparison["explanation"] = explain(comparison, both, experiment.measure.explain, declared)
    write_record(plan.out / _COMPARISON, comparison)
    if pages:
        pages.finish()
    return comparison


class _Found:
    """What there is of a comparison, of all its seeds or of some."""

    def __init__(
        self,
        plan: "_Plan",
        runs: "_Runs",
        notes: Sequence[str],
        scores: Sequence[Score],
        primary: str,
        reference: pd.DataFrame | None,
    ):
        self.plan = plan
        self.runs = runs
        self.notes = notes
        self.scores = scores
        self.primary = primary
        self.reference = reference
        self._about: dict[int, dict[str, Any]] = {}
        self._done: set[tuple[int, str, str]] = set()

    def refresh(self, pages: Pages, job: "_Job") -> None:
        """Bring the page up to date when a job completes a seed: its baseline, or all its conditions.

        Seeds are shown in their order, so one that is done before an earlier one waits for it.
        """
        plan, seeds = self.plan, self.plan.experiment.seeds
        self._done.add((job.seed, job.protocol, job.ablation))
        whole = (job.protocol, job.ablation) != _BASELINE
        wanted = plan.conditions if whole else [_BASELINE]
        shown = list(takewhile(lambda s: all((s, *c) in self._done for c in wanted), seeds))
        if job.seed not in shown:
            return
        pages.refresh(
            lambda: self.comparison(shown, whole=whole)[0],
            done=len(shown) if whole or not plan.conditions else 0,
            seeds=len(seeds),
        )

    def comparison(
        self, seeds: Sequence[int], *, whole: bool = True
    ) -> tuple[dict[str, Any], pd.DataFrame]:
        """The comparison over these seeds, and the table of all that was measured.

        Args:
            seeds: whose results are there.
            whole: with all conditions; else the baselines alone.
        """
        plan, subjects, results = self.plan, [], []
        for seed in seeds:
            if seed not in self._about:
                self._about[seed] = _about(self.runs.of(seed).subject)
            subjects.append(self._about[seed])
            results += _results(plan, seed) if whole else [_stored(plan, seed, *_BASELINE)]
        if whole:
            protocols = plan.experiment.compare.protocols
            results.sort(key=lambda result: protocols.index(result["protocol"]))
        judge_conditions(plan.out, results, [about["population_sizes"] for about in subjects])
        rows, learned = measured_rows(results), measured_rows(results, "learned")
        write_measured(rows, plan.out)
        write_measured(learned, plan.out, LEARNED_TABLE)
        summary = summarise(
            results,
            margin=plan.experiment.compare.margin,
            scores=self.scores,
            primary=self.primary,
            untested=plan.coalitions,
        )
        comparison = {
            "experiment": plan.experiment.model_dump(mode="json"),
            "seeds": list(seeds),
            "scores": [dataclasses.asdict(score) for score in self.scores],
            "bars": {"rate_relative": RATE_RELATIVE, "rate_Hz": RATE_HZ},
            "network": subjects[0]["network"],
            "cells": results,
            "rates": _rates_beside_recordings(results, self.reference),
            "measures": summarise_measured(coarse(rows)),
            "learned": summarise_measured(coarse(learned)),
            **summary,
            "notes": [*self.notes, *summary["notes"]],
            "shapley": [],
            "sources": subjects[0]["sources"],
            "provenance": provenance(
                "compare", networks={one["seed"]: one["hashes"] for one in subjects}
            ),
        }
        return comparison, together(rows, learned)


@dataclass(frozen=True)
class _Job:
    """One condition of one seed; with `factors`, the candidates for its learning rate.

    Candidates share a folder, so they are one job: of two at once one could empty what the other fills.
    """

    protocol: str
    ablation: str
    seed: int
    factors: tuple[float, ...] = ()


@dataclass(frozen=True)
class _Plan:
    """What is to be run, and in which order."""

    experiment: Experiment
    out: Path

    @property
    def ablations(self) -> tuple[str, ...]:
        """Names of all ablations, "intact" first."""
        return (*self._named, *self.coalitions)

    @property
    def _named(self) -> tuple[str, ...]:
        return tuple(parse_ablation(name).name for name in self.experiment.compare.ablations)

    @property
    def coalitions(self) -> tuple[str, ...]:
        """Ablations that only serve Shapley values; they are no tests of their own."""
        n_orders = self.experiment.compare.shapley_orders
        found = coalitions(n_orders, _SHAPLEY_SEED) if n_orders else ()
        return tuple(name for name in found if name not in self._named)

    @property
    def conditions(self) -> list[tuple[str, str]]:
        """(protocol, ablation) of all results but the baseline."""
        found = []
        for protocol in self.experiment.compare.protocols:
            intact = [] if protocol in ("retrain", "frozen") else ["intact"]
            found += [(protocol, name) for name in (*intact, *self.ablations[1:])]
        return found

    def stages(self) -> Iterator[list[_Job]]:
        """Jobs that may run at once; each stage needs the files of those before.

        A single learning rate: the baselines, then all others. Several: candidates before each.
        """
        baseline = [_BASELINE]
        for conditions in (baseline, self.conditions):
            if len(self.experiment.compare.learning_rate_factors) > 1:
                yield [job for condition in conditions for job in self.candidates(*condition)]
            yield [
                _Job(protocol, name, seed)
                for seed in self.experiment.seeds
                for protocol, name in conditions
            ]

    def candidates(self, protocol: str, ablation: str) -> list[_Job]:
        """The trainings by which the learning rate of a condition is chosen; none where it is not."""
        settings = self.experiment.compare
        factors = settings.learning_rate_factors
        if protocol not in TRAINED or len(factors) == 1:
            return []
        seeds = self.experiment.seeds[: settings.learning_rate_seeds]
        return [_Job(protocol, ablation, seed, factors) for seed in seeds]


class _Runs(SeedRuns):
    """A worker: the runs of seeds in one process, and the jobs they do."""

    def __init__(self, plan: _Plan, show: Progress):
        super().__init__(plan.experiment, plan.out, show)
        self.plan = plan

    def do(self, job: _Job) -> None:
        """Make what a job makes."""
        run, ablation = self.of(job.seed), parse_ablation(job.ablation)
        if not job.factors:
            run.result(job.protocol, ablation, self._factor(job.protocol, ablation))
        for factor in job.factors:
            run.validated(job.protocol, ablation, factor)

    def _factor(self, protocol: str, ablation: Ablation) -> float:
        """The factor of the learning rate of a condition, from the files of its candidates."""
        by_factor: dict[float, list[float]] = {}
        for job in self.plan.candidates(protocol, ablation.name):
            folder = Condition(protocol, ablation, job.seed).folder(self.plan.out)
            for factor in job.factors:
                by_factor.setdefault(factor, []).append(read_validation(folder, factor))
        if not by_factor:
            return (
                self.plan.experiment.compare.learning_rate_factors[0]
                if protocol in TRAINED
                else 1.0
            )
        return choose_factor({factor: float(np.mean(a)) for factor, a in by_factor.items()})


def _results(plan: _Plan, seed: int) -> list[dict[str, Any]]:
    """The stored results of a seed; those of the baseline under every protocol it is paired with."""
    baseline = _stored(plan, seed, *_BASELINE)
    results = []
    for protocol in plan.experiment.compare.protocols:
        if (protocol, "intact") not in plan.conditions:
            rows = {} if protocol == "retrain" else rows_after_training(baseline)
            results.append({**baseline, **rows, "protocol": protocol})
        results += [_stored(plan, seed, *c) for c in plan.conditions if c[0] == protocol]
    return results


def _stored(plan: _Plan, seed: int, protocol: str, name: str) -> dict[str, Any]:
    return read_result(Condition(protocol, parse_ablation(name), seed).folder(plan.out))


def _about(subject: Subject) -> dict[str, Any]:
    """What the comparison says of a subject; the subject itself need not be kept."""
    network = subject.network
    groups = group_cells(network.cells, "population")
    return {
        "seed": subject.seed,
        "network": {
            "n_cells": network.n_cells,
            "n_cell_models": len(network.membrane.labels),
            "n_edges": sum(len(edges) for edges in network.edges.values()),
        },
        "population_sizes": dict(zip(groups.labels, groups.sizes.tolist(), strict=True)),
        "sources": network.provenance.get("data", {}).get("sources", []),
        "hashes": subject.hashes,
    }


def _shapley(plan: _Plan, results: list[dict[str, Any]], primary: str) -> list[dict[str, Any]]:
    """Shapley values of the primary outcome, by protocol; empty unless they were asked for."""
    settings = plan.experiment.compare
    if not settings.shapley_orders:
        return []
    rows = []
    for protocol in settings.protocols:
        outcomes: dict[str, list[float]] = {}
        for result in sorted(results, key=lambda result: result["seed"]):
            if result["protocol"] == protocol:
                outcomes.setdefault(result["ablation"], []).append(result[primary])
        values = shapley_values(outcomes, settings.shapley_orders, _SHAPLEY_SEED)
        invalid = {r["ablation"] for r in results if r["protocol"] == protocol and not r["valid"]}
        for value in values:
            row = {k: _json(v) for k, v in dataclasses.asdict(value).items()}
            rows.append({"protocol": protocol, **row, "n_invalid_coalitions": len(invalid)})
    return rows


def _json(value: Any) -> Any:
    """JSON has no NaN: what is not defined is None."""
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _rates_beside_recordings(
    results: list[dict[str, Any]], reference: pd.DataFrame | None
) -> list[dict[str, Any]]:
    """Evoked rates of the intact networks, mean over seeds, and quartiles in vivo of known populations."""
    found = [result["population_rates_Hz"] for result in results if "population_rates_Hz" in result]
    frames = pd.concat([pd.DataFrame(one) for one in found])
    rates = frames.pivot_table(index="population", values=["untrained", "trained"], sort=False)
    rows = rates.reset_index().to_dict("records")
    for row in rows:
        if reference is not None and str(row["population"]) in CELL_CLASSES:
            known = recorded(reference, str(row["population"]), "mean_rate_Hz")
            row |= {
                name: float(np.interp(at, known.at, known.values))
                for name, at in (("q25", 0.25), ("median", 0.5), ("q75", 0.75))
            }
    return rows
