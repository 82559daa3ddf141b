"""A trained network, intact or a condition of a comparison, as a network to be saved and run anywhere."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from v1builder.experiments.ablations import parse_ablation
from v1builder.experiments.condition import PROTOCOLS, Condition
from v1builder.experiments.seed_run import SeedRun
from v1builder.load import Network
from v1builder.schema.errors import ConfigError, StorageError, unknown_name
from v1builder.train.checkpoint import load_checkpoint
from v1builder.train.run import make_classifier, prepare
from v1builder.train.settings import Experiment

_COMPARISON, _RESULT = "comparison.json", "result.json"


def trained_network(
    run: Path | str,
    *,
    protocol: str = "retrain",
    ablation: str = "intact",
    seed: int | None = None,
) -> tuple[Network, Path]:
    """The network of a finished run with what it learned.

    Args:
        run: folder of `train` or of `compare`.
        protocol: of the condition, in a comparison.
        ablation: of the condition, in a comparison.
        seed: of the condition; the first of the experiment unless given.

    Returns:
        The network, and the folder of the network that it was made from.

    Raises:
        StorageError: the folder holds no finished run, or files of it are damaged or gone.
        ConfigError: the run has no such condition.
    """
    run = Path(run)
    if (run / _COMPARISON).is_file():
        comparison = _read(run / _COMPARISON)
        experiment = _experiment(comparison["experiment"], run / _COMPARISON)
        seed = experiment.seeds[0] if seed is None else seed
        condition = _condition(comparison, protocol, ablation, seed, run)
        subject = prepare(experiment, seed)
        network = SeedRun(experiment, subject, run.absolute(), lambda *_: None).exported(condition)
    elif (run / _RESULT).is_file():
        if (protocol, ablation) != ("retrain", "intact"):
            raise ConfigError.of(
                "a run of train has no conditions",
                run,
                f"{protocol}: {ablation}",
                "export a compare run",
            )
        result = _read(run / _RESULT)
        experiment = _experiment(result["provenance"]["experiment"], run / _RESULT)
        if seed not in (None, result["seed"]):
            raise ConfigError.of(
                "the run has one seed", run, seed, f"leave it out, or {result['seed']}"
            )
        subject = prepare(experiment, result["seed"])
        checkpoint = load_checkpoint(run, {})
        if checkpoint is None:
            raise StorageError.of(
                "the run has no checkpoint", run, "no checkpoint.pt", "train again"
            )
        classifier = make_classifier(experiment, subject, subject.network)
        classifier.load_state_dict(checkpoint["classifier"])
        network = classifier.network.export(subject.network)
    else:
        raise StorageError.of(
            "no finished run to export",
            run,
            f"neither {_COMPARISON} nor {_RESULT}",
            "give the --out folder of train or compare; an interrupted one is finished by the same command",
        )
    return network, Path(experiment.network.path.format(seed=subject.seed))


def _condition(
    comparison: dict[str, Any], protocol: str, ablation: str, seed: int, run: Path
) -> Condition:
    parsed = parse_ablation(ablation)
    if protocol not in PROTOCOLS:
        raise ConfigError([unknown_name("protocol", protocol, PROTOCOLS, f"export of {run}")])
    cells = comparison["cells"]
    known = {(c["protocol"], c["ablation"], c["seed"]) for c in cells} | {
        ("retrain", "intact", s) for s in comparison["seeds"]
    }
    if (protocol, parsed.name, seed) not in known:
        raise ConfigError.of(
            "the comparison has no such condition",
            f"export of {run}",
            f"{protocol}: {parsed.name}, seed {seed}",
            "choose one of "
            + ", ".join(sorted({f"{p}: {a}" for p, a, _ in known}))
            + f"; seeds {', '.join(map(str, comparison['seeds']))}",
        )
    # The frozen intact network is the trained one.
    return Condition("retrain" if parsed.name == "intact" else protocol, parsed, seed)


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StorageError.of("a file of the run is damaged", path, error, "run it again") from None


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
