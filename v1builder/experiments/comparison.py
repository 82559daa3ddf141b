"""Every ablation with every seed, trained and tested; then statistics over paired seeds.

A (protocol, ablation, seed) is a cell of the comparison and has a folder of its own, RUN/cells/...; its
result is written when it is complete, so the same command goes on where it was stopped. A result made
by other settings, another network or other code versions is not used but made again.

Cells are run one after another, or by Ray on as many machines as there are; only files connect them, so
both ways give the same results and either goes on where the other stopped.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from v1builder.analysis.invivo import reference_type
from v1builder.experiments.ablations import Ablation, parse_ablation
from v1builder.experiments.engines import ENGINES, run_on_ray
from v1builder.experiments.matching import MatchResult, match_rates, rheobase, with_bias
from v1builder.experiments.summary import summarise
from v1builder.load import Network
from v1builder.load.groups import group_cells
from v1builder.load.reference import read_in_vivo
from v1builder.schema.errors import ConfigError, StorageError, unknown_name
from v1builder.schema.files import atomic_file, write_json
from v1builder.schema.provenance import provenance, software_versions
from v1builder.train.checkpoint import load_checkpoint
from v1builder.train.loop import Classifier, stream
from v1builder.train.run import (
    Subject,
    make_classifier,
    prepare,
    score,
    test,
    train_network,
)
from v1builder.train.settings import Experiment

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Cell:
    """One cell of the comparison: what was done to which seed."""

    protocol: str
    ablation: Ablation
    seed: int

    def folder(self, run: Path) -> Path:
        """Where its files go."""
        slug = re.sub(r"[^\w.]+", "-", self.ablation.name).strip("-")
        return run / "cells" / self.protocol / slug / f"seed-{self.seed}"

    @property
    def title(self) -> str:
        """For progress bars."""
        return f"seed {self.seed} {self.protocol}: {self.ablation.name}"


def compare(
    experiment: Experiment,
    out: Path | str,
    *,
    engine: str = "local",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run what is missing of a comparison and write RUN/comparison.json.

    Args:
        experiment: networks, task, seeds, ablations.
        out: run folder; finished cells in it are kept. For Ray on several machines, a folder that all
            of them see under the same name; so are the networks.
        engine: what runs the cells, see `ENGINES`.
        progress: called with (stage, done, total).

    Returns:
        What comparison.json holds: cells, summary, differences, rates, sources, provenance.

    Raises:
        ConfigError: the engine is unknown or not installed, or the experiment is not valid.
    """
    if engine not in ENGINES:
        raise ConfigError([unknown_name("engine", engine, ENGINES, "compare")])
    out = Path(out).absolute()
    ablations = [parse_ablation(name) for name in experiment.compare.ablations]
    show = progress or (lambda _stage, _done, _total: None)
    if engine == "ray":
        run_on_ray(*_jobs(experiment, out, ablations), show)
    results: list[dict[str, Any]] = []
    subjects = []
    for seed in experiment.seeds:
        subject = prepare(experiment, seed)
        results += _SeedRun(experiment, subject, out, show).run(ablations)
        subjects.append(_about(subject))
    results.sort(key=lambda result: experiment.compare.protocols.index(result["protocol"]))
    reference = read_in_vivo(experiment.network.path.format(seed=experiment.seeds[0]))
    comparison = {
        "experiment": experiment.model_dump(mode="json"),
        "seeds": list(experiment.seeds),
        "chance": subjects[0]["chance"],
        "network": subjects[0]["network"],
        "cells": results,
        "rates": _rates_beside_recordings(results, reference) if reference is not None else [],
        **summarise(results, margin=experiment.compare.margin),
        "sources": subjects[0]["sources"],
        "provenance": provenance("compare", networks={s["seed"]: s["hashes"] for s in subjects}),
    }
    write_json(out / "comparison.json", comparison)
    return comparison


@dataclass(frozen=True)
class _Job:
    """Makes the result of one cell wherever it is called; all it needs is in files."""

    experiment: Experiment
    out: Path
    protocol: str
    ablation: str
    seed: int

    def __call__(self) -> None:
        run = _SeedRun(self.experiment, prepare(self.experiment, self.seed), self.out, _silent)
        run.result(self.protocol, parse_ablation(self.ablation))


def _silent(_stage: str, _done: int, _total: int) -> None:
    pass


def _jobs(
    experiment: Experiment, out: Path, ablations: Sequence[Ablation]
) -> tuple[list[_Job], list[list[_Job]]]:
    """By seed: the intact baseline, and what may run when it is there."""
    names = [ablation.name for ablation in ablations]
    baselines = [_Job(experiment, out, "retrain", names[0], seed) for seed in experiment.seeds]
    others = [
        [
            _Job(experiment, out, protocol, name, seed)
            for protocol in experiment.compare.protocols
            for name in names[1:]
        ]
        for seed in experiment.seeds
    ]
    return baselines, others


def _about(subject: Subject) -> dict[str, Any]:
    """What the comparison says of a subject; the subject itself need not be kept."""
    network = subject.network
    return {
        "seed": subject.seed,
        "chance": 1 / subject.task.n_classes,
        "network": {
            "n_cells": network.n_cells,
            "n_cell_models": len(network.membrane.labels),
            "n_edges": sum(len(edges) for edges in network.edges.values()),
        },
        "sources": network.provenance.get("data", {}).get("sources", []),
        "hashes": subject.hashes,
    }


class _SeedRun:
    """All cells of one seed. What several of them need is computed once, when first asked for."""

    def __init__(self, experiment: Experiment, subject: Subject, out: Path, show: Progress):
        self.experiment = experiment
        self.subject = subject
        self.out = out
        self.show = show
        self.groups = group_cells(subject.network.cells, "population")

    def run(self, ablations: list[Ablation]) -> list[dict[str, Any]]:
        """Results of every protocol and ablation, made or found."""
        intact, *others = ablations
        baseline = self.result("retrain", intact)
        results = []
        for protocol in self.experiment.compare.protocols:
            results.append({**baseline, "protocol": protocol})
            results += [self.result(protocol, ablation) for ablation in others]
        return results

    def result(self, protocol: str, ablation: Ablation) -> dict[str, Any]:
        """The result of one cell, stored or new."""
        make = {"retrain": self._retrain, "frozen": self._freeze}[protocol]
        return self._result(Cell(protocol, ablation, self.subject.seed), make)

    def _result(self, cell: Cell, make: Callable[[Cell], dict[str, Any]]) -> dict[str, Any]:
        """The result of a cell, stored or new. Whatever other inputs left in its folder is removed."""
        folder = cell.folder(self.out)
        marker, path = folder / "made_by.json", folder / "result.json"
        if not marker.exists() or json.loads(marker.read_text(encoding="utf-8")) != self._made_by:
            shutil.rmtree(folder, ignore_errors=True)
            write_json(marker, self._made_by)
        if path.exists():
            self.show(cell.title, 1, 1)
            return json.loads(path.read_text(encoding="utf-8"))
        named = {"protocol": cell.protocol, "ablation": cell.ablation.name, "seed": cell.seed}
        result = named | make(cell)
        write_json(path, result)
        return result

    @cached_property
    def _made_by(self) -> dict[str, Any]:
        """What a result depends on besides its protocol, ablation and seed."""
        # Named is what cannot matter to a single cell, so that a new setting counts by default.
        settings = self.experiment.model_dump(
            mode="json",
            exclude={
                "name": True,
                "seeds": True,
                "network": True,
                "compare": {"ablations", "protocols", "margin"},
            },
        )
        network = hashlib.sha256(json.dumps(self.subject.hashes).encode()).hexdigest()
        return {"settings": settings, "network_sha256": network, "versions": software_versions()}

    def _retrain(self, cell: Cell) -> dict[str, Any]:
        """Train the ablated network from its initial weights, then test it."""
        network, matching = self._ablate(self.subject.network, cell, lambda: self._untrained_rates)
        folder = cell.folder(self.out)
        classifier, scores = train_network(
            self.experiment,
            self.subject,
            network,
            folder,
            resume=True,
            progress=lambda done, total, _record: self.show(cell.title, done, total),
        )
        result = {**scores, "matching": matching}
        if cell.ablation.name == "intact":
            if cell.seed == self.experiment.seeds[0]:
                self._save_example(classifier)
            result["population_rates_Hz"] = {
                "population": list(self.groups.labels),
                "untrained": self._by_population(self._untrained_rates)[:, 1].tolist(),
                "trained": self._by_population(self._rates(classifier))[:, 1].tolist(),
            }
        return result

    def _freeze(self, cell: Cell) -> dict[str, Any]:
        """Ablate the trained intact network and test it as it is."""
        self.show(cell.title, 0, 1)
        trained, rates = self._trained_intact
        network, matching = self._ablate(
            trained.network.export(self.subject.network), cell, lambda: rates
        )
        classifier = make_classifier(self.experiment, self.subject, network)
        classifier.readout.load_state_dict(trained.readout.state_dict())
        scores = score(test(self.experiment, self.subject, classifier))
        self.show(cell.title, 1, 1)
        return {**scores, "matching": matching}

    @cached_property
    def _probes(self) -> tuple[dict[str, torch.Tensor], ...]:
        """Input of the two conditions rates are matched over: spontaneous and evoked."""
        task, n, seed = (
            self.subject.task,
            self.experiment.compare.matching_trials,
            self.subject.seed,
        )
        trials = task.draw(n, "train", stream(seed, "matching", "trials"))
        return (
            task.blank(n, stream(seed, "matching", "spontaneous")),
            task.inputs(trials, stream(seed, "matching", "evoked")),
        )

    @torch.no_grad()
    def _rates(
        self, classifier: Classifier, bias: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """[n_cells, 2] Hz, spontaneous and evoked, with a bias current [n_cells] pA."""
        model = classifier.network
        current = None if bias is None else torch.as_tensor(bias)[None, None]
        seconds = self.subject.task.n_steps * model.dt / 1000
        counts = [
            model(probe, current=current).spikes.sum(dim=1).mean(dim=0) for probe in self._probes
        ]
        return torch.stack(counts, dim=1).double().numpy() / seconds

    def _by_population(self, rates: NDArray[np.float64]) -> NDArray[np.float64]:
        """[n_populations, ...] mean over the cells of each population."""
        total = np.zeros((len(self.groups), *rates.shape[1:]))
        np.add.at(total, self.groups.of_cell, rates)
        return total / self.groups.sizes[:, None]

    @cached_property
    def _untrained_rates(self) -> NDArray[np.float64]:
        """Rates of the intact network before training."""
        network = self.subject.network
        return self._rates(make_classifier(self.experiment, self.subject, network))

    @cached_property
    def _trained_intact(self) -> tuple[Classifier, NDArray[np.float64]]:
        """The trained intact network, from its checkpoint, and its rates."""
        classifier = make_classifier(self.experiment, self.subject, self.subject.network)
        intact = Cell("retrain", parse_ablation("intact"), self.subject.seed)
        checkpoint = load_checkpoint(intact.folder(self.out), {})
        if checkpoint is None:
            raise StorageError.of(
                "the trained intact network is gone",
                intact.folder(self.out) / "checkpoint.pt",
                "no such file",
                "delete the result.json beside it, so that it is trained again",
            )
        classifier.load_state_dict(checkpoint["classifier"])
        return classifier, self._rates(classifier)

    @cached_property
    def _spike_floor(self) -> NDArray[np.float64]:
        """[n_populations] Hz: a tenth of a spike per cell and second, or one spike in the probes."""
        seconds = self.subject.task.n_steps * self.experiment.model.dt / 1000
        observed = len(self._probes) * self.experiment.compare.matching_trials * seconds
        return np.maximum(0.1, 1 / (self.groups.sizes * observed))

    def _ablate(
        self, network: Network, cell: Cell, rates: Callable[[], NDArray[np.float64]]
    ) -> tuple[Network, dict[str, Any] | None]:
        """The ablated network, rate-matched where the experiment asks for it, and how well that went.

        Args:
            network: intact.
            cell: says which ablation.
            rates: gives the intact network's [n_cells, 2] Hz.
        """
        if cell.ablation.name == "intact":
            return network, None
        own = rates().mean(axis=1) if cell.ablation.needs_rates else None
        ablated = cell.ablation(network, seed=cell.seed, rates=own)
        if self.experiment.compare.matching == "raw":
            return ablated, None
        classifier = make_classifier(self.experiment, self.subject, ablated)
        show = f"{cell.title}, rate matching"
        found = match_rates(
            lambda bias: self._by_population(self._rates(classifier, bias[self.groups.of_cell])),
            self._by_population(rates()),
            scale=0.1 * rheobase(ablated)[1],
            tolerance=self.experiment.compare.rate_tolerance,
            floor=self._spike_floor,
            max_measurements=self.experiment.compare.matching_measurements,
        )
        self.show(show, 1, 1)
        return with_bias(ablated, found.bias), _matching_record(self.groups.labels, found)

    def _save_example(self, classifier: Classifier) -> None:
        """One test trial of the trained intact network, for the picture in the report."""
        path = self.out / "example_trial.npz"
        task, cells = self.subject.task, self.subject.network.cells
        trials = task.draw(1, "test", stream(self.subject.seed, "example", "trials"))
        with torch.no_grad():
            inputs = task.inputs(trials, stream(self.subject.seed, "example", "noise"))
            step, cell = classifier.network(inputs).spikes[0].nonzero().numpy().T
        dt = classifier.network.dt
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                spike_time=(step + 1) * dt,
                spike_cell=cell,
                stimulus=np.array(task.stimulus_ms),
                x=cells.attributes["x"],
                y=cells.attributes["y"],
                ei=cells.attributes["ei"].astype(str),
                pop_name=cells.attributes["pop_name"].astype(str),
            )


def _rates_beside_recordings(
    results: list[dict[str, Any]], reference: pd.DataFrame
) -> list[dict[str, Any]]:
    """Evoked rates of the intact networks, mean over seeds, beside the quartiles in vivo."""
    found = [result["population_rates_Hz"] for result in results if "population_rates_Hz" in result]
    frames = pd.concat([pd.DataFrame(one) for one in found])
    rates = frames.pivot_table(index="population", values=["untrained", "trained"], sort=False)
    recorded = reference[reference["metric"] == "mean_rate_Hz"].set_index("cell_type")
    types = [reference_type(str(name)) for name in rates.index]
    rates[["q25", "median", "q75"]] = recorded.loc[types, ["q25", "median", "q75"]].to_numpy()
    return rates.reset_index().to_dict("records")


def _matching_record(populations: tuple[str, ...], found: MatchResult) -> dict[str, Any]:
    """Rate matching as data for result.json."""
    rows = zip(populations, found.bias, found.target, found.rates, found.converged, strict=True)
    return {
        "n_matched": int(found.converged.sum()),
        "n_measurements": found.n_measurements,
        "tolerance": found.tolerance,
        "floor_Hz": np.asarray(found.floor).tolist(),
        "populations": [
            {
                "population": name,
                "bias_pA": float(bias),
                "target_Hz": float(target.mean()),
                "achieved_Hz": float(achieved.mean()),
                "spontaneous_Hz": [float(target[0]), float(achieved[0])],
                "evoked_Hz": [float(target[1]), float(achieved[1])],
                "matched": bool(converged),
            }
            for name, bias, target, achieved, converged in rows
        ],
    }
