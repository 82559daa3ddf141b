"""How well answers tell classes apart, whatever the observer's preference for one of them."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from v1builder.schema.errors import ConfigError


def confusion(
    target: NDArray[np.integer], choice: NDArray[np.integer], n_classes: int
) -> NDArray[np.int64]:
    """[n_classes, n_classes] number of trials by right answer (row) and answer (column)."""
    pairs = np.asarray(target, np.int64) * n_classes + np.asarray(choice, np.int64)
    return np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)


def d_prime(target: NDArray[np.integer], choice: NDArray[np.integer]) -> float:
    """Sensitivity d' = z(hit rate) - z(false-alarm rate) of answers between two classes; class 1 is signal.

    Rates are log-linear, (n + 1/2) / (N + 1), so that d' is finite and less biased where an answer was
    always or never given (Hautus 1995, Behav. Res. Methods Instrum. Comput. 27:46). It is for any number of
    trials 0 at chance, and its sign says whether answers are better or worse than that.

    Args:
        target: [trial] 0 or 1, the right answer.
        choice: [trial] 0 or 1, the answer.

    Raises:
        ConfigError: not two classes, or not one answer per trial.
    """
    target, choice = np.asarray(target), np.asarray(choice)
    if target.shape != choice.shape or not np.isin([*target, *choice], (0, 1)).all():
        raise ConfigError.of(
            "d' is defined for trials of two classes, 0 and 1",
            "d_prime",
            f"targets {np.unique(target)}, choices {np.unique(choice)}, "
            f"{target.size} and {choice.size} trials",
            "use `confusion` for more",
        )
    (_, false_alarms), (_, hits) = counts = confusion(target, choice, 2)
    noise, signal = counts.sum(axis=1)
    return float(ndtri((hits + 0.5) / (signal + 1)) - ndtri((false_alarms + 0.5) / (noise + 1)))
