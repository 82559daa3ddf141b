"""A linear readout that begins as the best one of the untrained network.

A random readout first has to be found, and until then it pulls the network anywhere: what pretrained
features know is lost (Kumar et al. 2022, arXiv:2202.10054). So the readout may begin as a logistic
regression on the filtered spikes of the untrained network, its penalty chosen by cross-validation; network
and readout then learn together from there.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

from v1builder.model.observation import EverySpike
from v1builder.readout.linear import Linear
from v1builder.schema.errors import ConfigError
from v1builder.tasks import Classes, Task
from v1builder.train.evaluation import Classifier, watched_trials
from v1builder.train.streams import stream

#: Inverse penalties to choose from, of traces divided by their largest value.
_INVERSE_PENALTIES: Final = (0.001, 0.01, 0.1, 1.0)
_FOLDS: Final = 4


def fit_readout(
    classifier: Classifier,
    task: Task,
    *,
    n_trials: int,
    at_once: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Give a linear readout the weights of a logistic regression on the network as it is.

    Args:
        classifier: whose readout is `readout.linear.Linear`; changed in place.
        task: answers are classes; trials are those of training, other draws than training makes.
        n_trials: to fit to.
        at_once: trials of a batch.
        seed: names the streams of trials and noise.
        progress: called with (trials done, n_trials).

    Raises:
        ConfigError: another readout, answers that are not classes, or a class that is not among the trials.
    """
    readout = classifier.readout
    if not isinstance(readout, Linear) or not isinstance(task.answer, Classes):
        raise ConfigError.of(
            "only a linear readout of classes can begin as a logistic regression",
            f"readout.fit_trials, task {task.name}",
            f"{type(readout).__name__} readout, {type(task.answer).__name__.lower()} as answers",
            "set fit_trials = 0",
        )
    trials = task.draw(n_trials, "train", stream(seed, "fit", "trials"))
    target, n_classes = trials.target.flatten().numpy(), task.answer.n_outputs
    fewest = int(np.bincount(target, minlength=n_classes).min())
    if fewest < _FOLDS:
        raise ConfigError.of(
            "a readout cannot be fitted to so few trials of a class",
            f"readout.fit_trials, task {task.name}",
            f"{n_trials} trials, {fewest} of the rarest of {n_classes} classes",
            f"take more, so that each class has {_FOLDS}",
        )
    parts, done = [], 0
    for batch, _, (fired,) in watched_trials(
        classifier.network,
        task,
        trials,
        at_once=at_once,
        noise=stream(seed, "fit", "noise"),
        before=stream(seed, "fit", "warm-up"),
        watching=lambda _: [EverySpike()],
    ):
        parts.append(readout.trace(fired.spikes).flatten(0, 1).cpu())
        done += len(batch)
        if progress:
            progress(done, n_trials)
    features = torch.cat(parts).to(torch.float64).cpu().numpy()
    scaler = MaxAbsScaler()  # keeps what is silent at 0, and no cell that fired once weighs most
    model = GridSearchCV(
        make_pipeline(scaler, LogisticRegression(max_iter=300, tol=1e-3)),
        {"logisticregression__C": _INVERSE_PENALTIES},
        scoring="neg_log_loss",
        cv=_FOLDS,
    ).fit(features, target)
    scaler, regression = (step for _, step in model.best_estimator_.steps)
    weight, bias = regression.coef_ / scaler.scale_, regression.intercept_
    if n_classes == 2:  # scikit-learn gives the difference of both
        weight, bias = np.stack([-weight[0], weight[0]]) / 2, np.array([-bias[0], bias[0]]) / 2
    with torch.no_grad():
        readout.weight.copy_(torch.as_tensor(weight))
        readout.bias.copy_(torch.as_tensor(bias))
