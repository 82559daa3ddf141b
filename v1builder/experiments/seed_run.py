"""All conditions of one seed. What several of them need is computed once, when first asked for."""

import copy
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from v1builder.experiments.ablations import Ablation, parse_ablation
from v1builder.experiments.bench import Bench, Start
from v1builder.experiments.condition import AFTER_TRAINING, Condition
from v1builder.experiments.condition import TRAINED as TRAINED_PROTOCOLS
from v1builder.experiments.lesion import lesion_rows
from v1builder.experiments.matching import MatchResult, match_rates, with_bias
from v1builder.experiments.operating_point import compared, group_mean, operating_point
from v1builder.load import Network
from v1builder.load.coordinates import rheobase
from v1builder.load.groups import group_cells
from v1builder.report.column import COLUMN, column_of, has_places, save_column
from v1builder.schema.errors import ConfigError, StorageError
from v1builder.schema.files import atomic_file
from v1builder.schema.provenance import software_versions
from v1builder.schema.records import read_record, write_record
from v1builder.train.checkpoint import CHECKPOINT, load_checkpoint, restore
from v1builder.train.evaluation import Classifier
from v1builder.train.measuring import compares, measured_around, n_measured
from v1builder.train.metric import TRAINED, UNTRAINED
from v1builder.train.parallel import one_process
from v1builder.train.run import make_classifier, score_tested, train_network
from v1builder.train.settings import Experiment
from v1builder.train.streams import stream
from v1builder.train.subjects import Subject

Array = NDArray[np.float64]
Progress = Callable[[str, int, int], None]

_RESULT, _VALIDATION = "result.json", "validation.json"
#: What every result has.
_KEYS = ("protocol", "ablation", "seed", "learning_rate_factor", "operating_point")
_AGAIN = "remove it, and run the same comparison again: it makes what is missing"
#: Settings on which the result of a single condition does not depend. Named is what cannot matter, so that a
#: new setting counts by default.
_IRRELEVANT = {
    "name": True,
    "seeds": True,
    "network": True,
    "measure": {"explain"},
    "compare": {
        "ablations",
        "protocols",
        "margin",
        "primary",
        "shapley_orders",
        "learning_rate_factors",
        "learning_rate_seeds",
    },
}


class SeedRun:
    """Makes, or finds, the results of the conditions of one seed."""

    def __init__(self, experiment: Experiment, subject: Subject, out: Path, show: Progress):
        self.experiment = experiment
        self.settings = experiment.compare
        self.subject = subject
        self.out = out
        self.show = show
        self.groups = group_cells(subject.network.cells, "population")
        self.bench = Bench(
            subject.task,
            subject.seed,
            dt=experiment.model.dt,
            n_trials=self.settings.matching_trials,
            calibration_seconds=self.settings.calibration_seconds,
            carry=self.settings.carry,
            background=self.settings.background,
            accelerator=experiment.train.accelerator,
            model=lambda network: make_classifier(experiment, subject, network).network,
        )

    def result(self, protocol: str, ablation: Ablation, factor: float = 1.0) -> dict[str, Any]:
        """The result of a condition, stored or new. Whatever other inputs left in its folder is removed.

        Args:
            protocol: one of `condition.PROTOCOLS`.
            ablation: of the network.
            factor: of the learning rate.
        """
        condition = Condition(protocol, ablation, self.subject.seed)
        folder = self._folder(condition)
        path = folder / _RESULT
        if path.exists():
            found = read_result(folder)
            if found.get("learning_rate_factor", 1.0) == factor:
                self.show(condition.title, 1, 1)
                return found
        named = {"protocol": protocol, "ablation": ablation.name, "seed": condition.seed}
        result = named | {"learning_rate_factor": factor} | self._make(condition, factor)
        write_record(path, result)
        return result

    def validated(self, protocol: str, ablation: Ablation, factor: float) -> float:
        """Main score on the validation trials after training with a learning rate times `factor`."""
        condition = Condition(protocol, ablation, self.subject.seed)
        folder = self._folder(condition)
        path = _training_folder(folder, factor) / _VALIDATION
        if not path.exists():
            classifier = self._prepared(condition)[1]
            scores = self._train(condition, classifier, factor, tested=False)
            _step, last = scores["learning_curve"][-1]
            write_record(path, {"score": last})
        return read_validation(folder, factor)

    def learned(self, condition: Condition) -> tuple[Network, Classifier]:
        """The network of a condition before it is trained, and what it is after that, with its readout.

        Raises:
            StorageError: its result or checkpoint is gone.
        """
        folder = condition.folder(self.out)
        network, classifier, _ = self._prepared(condition)
        if condition.protocol == "frozen":
            return network, classifier
        trained = _training_folder(folder, read_result(folder)["learning_rate_factor"])
        checkpoint = load_checkpoint(trained, {}, finished=self.experiment.train.steps)
        if checkpoint is None:
            raise _gone(folder, trained)
        restore(classifier, checkpoint["classifier"], trained)
        return network, classifier

    def _folder(self, condition: Condition) -> Path:
        """The folder of a condition, emptied if it was made by something else.

        Raises:
            ConfigError: it was made by the same, on another accelerator.
        """
        folder = condition.folder(self.out)
        marker = folder / "made_by.json"
        made_by = dict(self._made_by)
        if condition.protocol in AFTER_TRAINING:  # another rate trained another network
            made_by["baseline_learning_rate_factor"] = self._baseline["learning_rate_factor"]
        found = read_record(marker, fix=_AGAIN) if marker.exists() else None
        if found != made_by:
            _refuse_other_accelerator(found, made_by, folder)
            shutil.rmtree(folder, ignore_errors=True)
            write_record(marker, made_by)
        return folder

    @property
    def _baseline(self) -> dict[str, Any]:
        """The stored result of the trained intact network."""
        intact = Condition("retrain", parse_ablation("intact"), self.subject.seed)
        return read_result(intact.folder(self.out))

    @cached_property
    def _made_by(self) -> dict[str, Any]:
        """What a result depends on besides its protocol, ablation and seed."""
        settings = self.experiment.model_dump(mode="json", exclude=_IRRELEVANT)
        network = hashlib.sha256(json.dumps(self.subject.hashes).encode()).hexdigest()
        return {"settings": settings, "network_sha256": network, "versions": software_versions()}

    def _make(self, condition: Condition, factor: float) -> dict[str, Any]:
        network, classifier, record = self._prepared(condition)
        if condition.protocol == "frozen":
            self.show(condition.title, 0, 1)
            scores = score_tested(self.experiment, self.subject, classifier)
            self._add_measures(scores, condition, network, classifier)
            self.show(condition.title, 1, 1)
            return {**scores, **record}
        scores = self._train(condition, classifier, factor)
        self._add_measures(scores, condition, network, classifier)
        trained = classifier.network.export(network)
        rates = self.bench.probes.rates(classifier.network)
        base = (self._untrained if condition.protocol == "retrain" else self._trained).point
        record["operating_point"]["trained"] = compared(
            operating_point(trained, rates).record(), base
        )
        if condition.is_baseline:
            if condition.seed == self.experiment.seeds[0]:
                self._save_example(classifier)
                if has_places(trained):
                    save_column(column_of(trained), self.out / COLUMN)
            record["population_rates_Hz"] = {
                "population": list(self.groups.labels),
                "untrained": group_mean(self.groups, self._untrained.rates)[:, 1].tolist(),
                "trained": group_mean(self.groups, rates)[:, 1].tolist(),
            }
        return {**scores, **record}

    def _add_measures(
        self,
        scores: dict[str, Any],
        condition: Condition,
        before: Network,
        classifier: Classifier,
    ) -> None:
        """Write into the scores what is measured beside the test, and what training changed."""
        experiment, task, seed = self.experiment, self.subject.task, self.subject.seed
        intact = {}
        if condition.ablation.name != "intact" and compares(experiment):
            intact = {UNTRAINED: self.subject.network, TRAINED: self._trained_network}
        learns = condition.protocol in TRAINED_PROTOCOLS
        found = measured_around(
            experiment,
            task,
            before,
            classifier.network,
            seed=seed,
            observed=self.subject.network,
            trained=None if learns else (),
            phases=condition.phases,
            intact=intact,
            in_vivo=self.subject.reference,
            progress=lambda done: self.show(
                f"{condition.title}, measures", done, n_measured(experiment)
            ),
        )
        scores["measures"] += found["measures"]
        scores["learned"] = found["learned"]
        if experiment.measure.lesions:
            scores["measures"] += lesion_rows(
                experiment,
                task,
                classifier,
                experiment.measure.lesions,
                self.subject.network,
                seed=seed,
                progress=lambda done, total: self.show(f"{condition.title}, lesions", done, total),
            )

    def _prepared(self, condition: Condition) -> tuple[Network, Classifier, dict[str, Any]]:
        """The network of a condition before it is trained, as a classifier, and what was done to it."""
        start = self._trained if condition.protocol in AFTER_TRAINING else self._untrained
        network, record = self._ablated(start, condition)
        experiment = self.experiment
        if condition.protocol == "readout":
            frozen = experiment.model.model_copy(update={"trainable": ()})
            experiment = experiment.model_copy(update={"model": frozen})
        classifier = make_classifier(experiment, self.subject, network)
        if condition.protocol in ("frozen", "finetune"):
            classifier.load_readouts(self._trained_classifier)
        return network, classifier, record

    def _train(
        self, condition: Condition, classifier: Classifier, factor: float, tested: bool = True
    ) -> dict[str, Any]:
        """Train the classifier of a condition; its scores, those of the test if it is `tested`."""
        rate = self.experiment.train.learning_rate * factor
        train = self.experiment.train.model_copy(update={"learning_rate": rate})
        experiment = self.experiment.model_copy(update={"train": train})
        return train_network(
            experiment,
            self.subject,
            classifier,
            _training_folder(condition.folder(self.out), factor),
            resume=True,
            tested=tested,
            processes=one_process(experiment.train.accelerator),
            progress=lambda done, total, _record: self.show(condition.title, done, total),
        )

    @cached_property
    def _untrained(self) -> Start:
        """The intact network before training."""
        return self.bench.start(self.subject.network)

    @cached_property
    def _trained(self) -> Start:
        """The trained intact network."""
        return self.bench.start(self._trained_network)

    @cached_property
    def _trained_network(self) -> Network:
        return self._trained_classifier.network.export(self.subject.network)

    @cached_property
    def _trained_classifier(self) -> Classifier:
        """The trained intact network with its readout, from the checkpoint."""
        classifier = make_classifier(self.experiment, self.subject, self.subject.network)
        intact = Condition("retrain", parse_ablation("intact"), self.subject.seed)
        factor = self._baseline["learning_rate_factor"]
        folder = _training_folder(intact.folder(self.out), factor)
        checkpoint = load_checkpoint(folder, {}, finished=self.experiment.train.steps)
        if checkpoint is None:
            raise _gone(intact.folder(self.out), folder)
        restore(classifier, checkpoint["classifier"], folder)
        return classifier

    def _ablated(self, start: Start, condition: Condition) -> tuple[Network, dict[str, Any]]:
        """The ablated network, its background tuned and its rates matched where the experiment says so.

        Returns:
            The network, and the record: ablation, calibration, matching, operating_point (before and after
            matching).
        """
        if condition.ablation.name == "intact":
            points = {"before": start.point, "after": start.point}
            return start.network, {"matching": None, "operating_point": points}
        self.show(f"{condition.title}, ablation", 0, 1)
        network, record = self.bench.ablated(start, condition.ablation)
        point = self.bench.point(network, start)
        self.show(f"{condition.title}, ablation", 1, 1)
        record |= {"matching": None, "operating_point": {"before": point, "after": point}}
        if self.settings.matching == "rate":
            found = self._match(condition, network, start)
            network = with_bias(network, found.bias)
            record["operating_point"]["after"] = self.bench.point(network, start)
            record["matching"] = _matching_record(self.groups.labels, found)
        return network, record

    def _match(self, condition: Condition, network: Network, start: Start) -> MatchResult:
        """One bias current per population at which the rates are those of the start."""
        model = make_classifier(self.experiment, self.subject, network).network

        def measured(bias: Array) -> Array:
            rates = self.bench.probes.rates(model, bias[self.groups.of_cell])
            return group_mean(self.groups, rates)

        self.show(f"{condition.title}, rate matching", 0, 1)
        scale = rheobase(network.membrane)[network.membrane.group_of]
        found = match_rates(
            measured,
            group_mean(self.groups, start.rates),
            scale=0.1 * group_mean(self.groups, scale),
            tolerance=self.settings.rate_tolerance,
            floor=self.bench.probes.spike_floor(self.groups),
            max_measurements=self.settings.matching_measurements,
        )
        self.show(f"{condition.title}, rate matching", 1, 1)
        return found

    def _save_example(self, classifier: Classifier) -> None:
        """One test trial of the trained intact network, for the picture in the report."""
        path = self.out / "example_trial.npz"
        task, cells = self.subject.task, self.subject.network.cells
        seed = self.subject.seed
        trials = task.draw(1, "test", stream(seed, "example", "trials"))
        with torch.no_grad():
            inputs = task.inputs(trials, stream(seed, "example", "noise"))
            warm_up = task.warm_up(1, stream(seed, "example", "warm-up"))
            state = None if warm_up is None else classifier.network.settled(warm_up)
            spikes = classifier.network(inputs, state=state).spikes[0]
            step, cell = spikes.nonzero().cpu().numpy().T
        dt = classifier.network.dt
        x, y = (cells.attributes.get(name, np.zeros(len(cells))) for name in ("x", "y"))
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                spike_time=(step + 1) * dt,
                spike_cell=cell,
                stimulus=np.array(task.stimulus_ms),
                ei=cells.attributes["ei"].astype(str),
                pop_name=cells.attributes["pop_name"].astype(str),
                x=x,
                y=y,
            )


def _refuse_other_accelerator(
    found: dict[str, Any] | None, made_by: dict[str, Any], folder: Path
) -> None:
    """Raise ConfigError where nothing but the accelerator is another: hours of a GPU are not thrown away."""

    def parts(record: dict[str, Any]) -> tuple[dict[str, Any], str]:
        settings = copy.deepcopy(record.get("settings", {}))
        accelerator = settings.get("train", {}).pop("accelerator", "cpu")
        return record | {"settings": settings}, accelerator

    if found is None:
        return
    (old, there), (new, here) = parts(found), parts(made_by)
    if old == new:
        raise ConfigError.of(
            "these results were computed on another accelerator",
            folder,
            f"'{there}', now '{here}'",
            f"give --accelerator {there}, or another --out",
        )


def _training_folder(folder: Path, factor: float) -> Path:
    """Where a condition is trained with a learning rate times `factor`."""
    return folder if factor == 1 else folder / f"lr-x{factor:.3g}"


def _gone(result: Path, trained: Path) -> StorageError:
    return StorageError.of(
        "a trained network is gone",
        trained / CHECKPOINT,
        "no such file",
        f"delete {result / _RESULT}, so that it is trained again",
    )


def read_result(folder: Path) -> dict[str, Any]:
    """The stored result of a condition.

    Raises:
        StorageError: it is missing or damaged.
    """
    return read_record(folder / _RESULT, fix=_AGAIN, keys=_KEYS)


def read_validation(folder: Path, factor: float) -> float:
    """Main score on the validation trials of a condition trained with a learning rate times `factor`.

    Raises:
        StorageError: it is missing or damaged.
    """
    path = _training_folder(folder, factor) / _VALIDATION
    score = read_record(path, fix=_AGAIN, keys=("score",))["score"]
    if not isinstance(score, int | float):
        raise StorageError.of("a file is damaged", path, f"score {score}", _AGAIN)
    return float(score)


def choose_factor(scores: Mapping[float, float]) -> float:
    """The factor of the learning rate with the best validation; of equals the one nearest to 1.

    Raises:
        ConfigError: there is none.
    """
    if not scores:
        raise ConfigError.of("no learning rate to choose from", "compare", "none", "give one")
    return max(scores, key=lambda factor: (scores[factor], -abs(np.log(factor))))


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
