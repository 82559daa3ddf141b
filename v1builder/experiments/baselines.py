"""What a trained network is to be held against: chance, what the LGN says, what an untrained column says.

The last two are linear classifiers of the spikes in the windows in which the task asks for an answer: of
every unit of the inputs that see, and of every cell that the readout may read, before anything was trained.
They learn from training trials (ridge regression to the classes, its penalty chosen by generalised
cross-validation) and are tested on held-out ones.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from v1builder.model.observation import EverySpike
from v1builder.schema.errors import ConfigError
from v1builder.tasks import Classes, Task
from v1builder.train.evaluation import Classifier, watched_trials
from v1builder.train.run import make_classifier
from v1builder.train.settings import Experiment
from v1builder.train.streams import stream
from v1builder.train.subjects import Subject

Counts = NDArray[np.uint8]
Progress = Callable[[str, int, int], None]

_PENALTIES: Final = tuple(10.0**power for power in range(7))
#: Names of the two classifiers in results.
LGN, COLUMN = "lgn_linear", "untrained_linear"


def baselines(
    experiment: Experiment,
    subject: Subject,
    *,
    train_trials: int = 1024,
    test_trials: int = 1024,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Scores of chance and of both classifiers on a task whose answers are classes.

    Args:
        experiment: with the readout and the model.
        subject: network and task of a seed.
        train_trials: for the classifiers to learn from.
        test_trials: held-out ones.
        progress: called with (what, done, total).

    Returns:
        chance and main score's name; for each classifier what `tasks.Answer.score` says and its number of
        features. None in their place where answers are not classes.
    """
    task, primary = subject.task, subject.task.answer.primary
    result: dict[str, Any] = {
        "score": primary.name,
        "chance": primary.chance,
        "train_trials": train_trials,
        "test_trials": test_trials,
        LGN: None,
        COLUMN: None,
    }
    if not isinstance(task.answer, Classes):
        return result
    classifier = make_classifier(experiment, subject, subject.network)
    cells = experiment.readout.candidates(subject.network)
    parts = {}
    for split, n_trials in (("train", train_trials), ("test", test_trials)):
        parts[split] = _counts(
            classifier,
            task,
            cells,
            split,
            n_trials,
            experiment.train.batch_size,
            subject.seed,
            progress,
        )
    for name in (LGN, COLUMN):
        (features, target), (held_out, asked) = (
            (parts[split][0][name], parts[split][1]) for split in ("train", "test")
        )
        if features.shape[2]:
            output = _learned(features, target, held_out, task.answer.n_outputs)
            scores = task.answer.score(output, asked)
            result[name] = {**scores, "n_features": features.shape[2]}
    return result


def _counts(
    classifier: Classifier,
    task: Task,
    cells: NDArray[np.intp],
    split: str,
    n_trials: int,
    batch_size: int,
    seed: int,
    progress: Progress | None,
) -> tuple[dict[str, Counts], Tensor]:
    """Spikes [trial, window, unit] by classifier, and the right answers."""
    trials = task.draw(n_trials, split, stream(seed, "baselines", split, "trials"))
    noise = stream(seed, "baselines", split, "noise")
    before = stream(seed, "baselines", split, "warm-up")
    seeing = [name for name, source in task.sources.items() if source.sees]
    found: dict[str, list[Counts]] = {LGN: [], COLUMN: []}
    done = 0
    for batch, inputs, (fired,) in watched_trials(
        classifier.network,
        task,
        trials,
        at_once=batch_size,
        noise=noise,
        before=before,
        watching=lambda _: [EverySpike()],
    ):
        shown = [inputs[name] for name in seeing]
        found[LGN].append(_in_windows(shown, task.windows, len(batch)))
        found[COLUMN].append(_in_windows([fired.spikes[:, :, cells]], task.windows, len(batch)))
        done += len(batch)
        if progress:
            progress(f"baselines, {split}", done, n_trials)
    return {name: np.concatenate(parts) for name, parts in found.items()}, trials.target


def _in_windows(spikes: Sequence[Tensor], windows: Sequence[slice], n_trials: int) -> Counts:
    """Number of spikes [trial, window, unit] of several populations."""
    if not spikes:
        return np.zeros((n_trials, len(windows), 0), np.uint8)
    every = [
        torch.stack([part[:, window].sum(dim=1) for window in windows], dim=1) for part in spikes
    ]
    return torch.cat(every, dim=2).clamp(max=255).to(torch.uint8).cpu().numpy()


def _learned(features: Counts, target: Tensor, held_out: Counts, n_classes: int) -> Tensor:
    """Answers [trial, window, class] of a linear classifier to held-out trials."""
    classes = target.unique()
    if len(classes) < 2:
        raise ConfigError.of(
            "a linear classifier needs training trials of at least two classes",
            "baselines",
            f"class {classes.tolist()} in {len(features)} trials",
            "take more trials",
        )
    model = make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=_PENALTIES))
    flat = features.reshape(-1, features.shape[2]).astype(np.float32)
    model.fit(flat, target.flatten().numpy())
    tested = held_out.reshape(-1, held_out.shape[2]).astype(np.float32)
    values = np.asarray(model.decision_function(tested))
    if values.ndim == 1:  # of two classes only the difference
        values = np.stack([-values, values], axis=1)
    output = torch.full((len(values), n_classes), -torch.inf)
    output[:, torch.as_tensor(model.classes_)] = torch.as_tensor(values, dtype=torch.float32)
    return output.unflatten(0, held_out.shape[:2])
