"""A finished run, of `train` or `compare`: its conditions, and their networks before and after training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from v1builder.experiments.ablations import parse_ablation
from v1builder.experiments.condition import PROTOCOLS, Condition
from v1builder.experiments.seed_runs import SeedRuns
from v1builder.load import Network
from v1builder.schema.errors import ConfigError, StorageError, unknown_name
from v1builder.schema.records import read_record
from v1builder.train.checkpoint import load_checkpoint, restore
from v1builder.train.evaluation import Classifier
from v1builder.train.metric import TRAINED, UNTRAINED
from v1builder.train.run import make_classifier
from v1builder.train.settings import Experiment
from v1builder.train.subjects import Subject

_COMPARISON, _RESULT = "comparison.json", "result.json"
_AGAIN: Final = (
    "remove the file and give the same command again, which goes on from what is finished"
)


@dataclass(frozen=True)
class Learned:
    """The network of a condition.

    Attributes:
        subject: of its seed.
        before: as it was trained, ablated and matched.
        classifier: what it was after that, with its readout.
    """

    subject: Subject
    before: Network
    classifier: Classifier


class FinishedRun:
    """A folder of a finished run.

    Attributes:
        folder: of the run.
        file: what says which run it is.
        experiment: that made it.
        compares: whether it is a comparison; a run of train has the one condition "retrain: intact".
    """

    def __init__(self, run: Path | str, purpose: str, accelerator: str = "cpu"):
        """Read what the run says of itself.

        Args:
            run: folder.
            purpose: what it is wanted for, a verb.
            accelerator: where its networks compute now, wherever they were trained.

        Raises:
            StorageError: the folder holds no finished run, or one that cannot be read.
        """
        self.folder = Path(run)
        self.compares = (self.folder / _COMPARISON).is_file()
        self.file = self.folder / (_COMPARISON if self.compares else _RESULT)
        if not self.file.is_file():
            raise StorageError.of(
                f"no finished run to {purpose}",
                run,
                f"neither {_COMPARISON} nor {_RESULT}",
                "give the --out folder of train or compare; an interrupted one is finished by the same "
                "command",
            )
        self._said = read_record(self.file, fix=_AGAIN)
        settings = (
            self._said["experiment"]
            if self.compares
            else self._said.get("provenance", {}).get("experiment")
        )
        experiment = _experiment(settings, self.file)
        self._made_on = experiment.train.accelerator
        self.experiment = experiment.computed_on(accelerator)
        self._runs = SeedRuns(self.experiment, self.folder.absolute(), lambda *_: None)

    @staticmethod
    def is_one(folder: Path | str) -> bool:
        """Whether the folder holds a finished run."""
        return any((Path(folder) / name).is_file() for name in (_COMPARISON, _RESULT))

    @property
    def seeds(self) -> tuple[int, ...]:
        """In the order of the experiment."""
        return tuple(self._said["seeds"]) if self.compares else (self._said["seed"],)

    def condition(self, protocol: str, ablation: str, seed: int | None = None) -> Condition:
        """The condition of that name; of the first seed unless given.

        The frozen intact network is the trained one.

        Raises:
            ConfigError: there is no such condition.
        """
        seed = self.seeds[0] if seed is None else seed
        if not self.compares:
            if (protocol, ablation) != ("retrain", "intact"):
                raise ConfigError.of(
                    "a run of train has no conditions",
                    self.folder,
                    f"{protocol}: {ablation}",
                    "give a compare run",
                )
            if seed not in self.seeds:
                fix = f"leave it out, or {self.seeds[0]}"
                raise ConfigError.of("the run has one seed", self.folder, seed, fix)
            return Condition(protocol, parse_ablation(ablation), seed)
        parsed = parse_ablation(ablation)
        if protocol not in PROTOCOLS:
            raise ConfigError([unknown_name("protocol", protocol, PROTOCOLS, self.folder)])
        known = self._known()
        if (protocol, parsed.name, seed) not in known:
            raise ConfigError.of(
                "the comparison has no such condition",
                self.folder,
                f"{protocol}: {parsed.name}, seed {seed}",
                "choose one of "
                + ", ".join(sorted({f"{p}: {a}" for p, a, _ in known}))
                + f"; seeds {', '.join(map(str, self.seeds))}",
            )
        is_baseline = (protocol, parsed.name) == ("frozen", "intact")
        return Condition("retrain" if is_baseline else protocol, parsed, seed)

    def _known(self) -> set[tuple[str, str, int]]:
        cells = self._said["cells"]
        intact = {("retrain", "intact", seed) for seed in self.seeds}
        return {(c["protocol"], c["ablation"], c["seed"]) for c in cells} | intact

    def conditions(
        self,
        protocols: Sequence[str] = (),
        ablations: Sequence[str] = (),
        seeds: Sequence[int] = (),
    ) -> list[Condition]:
        """Conditions by name, seed after seed; all unless given, each once.

        Raises:
            ConfigError: there is no such condition.
        """
        if not self.compares:
            chosen = (protocols or ("retrain",), ablations or ("intact",), seeds or self.seeds)
            return [
                self.condition(p, a, s) for s in chosen[2] for p in chosen[0] for a in chosen[1]
            ]
        order = dict.fromkeys((c["protocol"], c["ablation"]) for c in self._said["cells"])
        names = [*dict.fromkeys([("retrain", "intact"), *order])]
        for protocol in protocols:
            self.condition(protocol, next((a for p, a in names if p == protocol), "intact"))
        wanted = {parse_ablation(name).name for name in ablations}
        for missing in wanted - {name for _, name in names}:
            self.condition(next(iter(protocols), "retrain"), missing)
        found = [
            self.condition(protocol, ablation, seed)
            for seed in seeds or self.seeds
            for protocol, ablation in names
            if (not protocols or protocol in protocols) and (not wanted or ablation in wanted)
        ]
        return list({one.title: one for one in found}.values())

    def learned(self, condition: Condition) -> Learned:
        """The networks of a condition. The last seed's stay in memory.

        Raises:
            StorageError: files of the run are damaged or gone.
            ConfigError: the network was ablated on another accelerator: its background and its bias currents
                are found anew by running it, and would be others.
        """
        now = self.experiment.train.accelerator
        if condition.ablation.name != "intact" and now != self._made_on:
            raise ConfigError.of(
                "an ablated network is made anew on the accelerator that made it",
                f"{self.folder}, {condition.title}",
                f"'{self._made_on}', now '{now}'",
                f"give --accelerator {self._made_on}",
            )
        if self.compares:
            run = self._runs.of(condition.seed)
            return Learned(run.subject, *run.learned(condition))
        subject = self._runs.subjects.of(self.experiment, condition.seed)
        checkpoint = load_checkpoint(self.folder, {}, finished=self.experiment.train.steps)
        if checkpoint is None:
            raise StorageError.of(
                "the run has no checkpoint", self.folder, "no checkpoint.pt", "train again"
            )
        classifier = make_classifier(self.experiment, subject, subject.network)
        restore(classifier, checkpoint["classifier"], self.folder)
        return Learned(subject, subject.network, classifier)

    def intact(self, condition: Condition) -> dict[str, Network]:
        """The intact network of the same seed by phase; nothing where the condition's is intact."""
        if condition.ablation.name == "intact":
            return {}
        found = self.learned(self.condition("retrain", "intact", condition.seed))
        after = found.classifier.network.export(found.before)
        return {UNTRAINED: found.before, TRAINED: after}


def _experiment(settings: Any, path: Path) -> Experiment:
    try:
        return Experiment.model_validate(settings)
    except ValidationError as error:
        raise StorageError.of(
            "the run was made by a version with other settings",
            path,
            str(error).splitlines()[0],
            "run it again",
        ) from None
