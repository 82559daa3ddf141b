"""What kind of answer a task asks for: how it is learned from, how it is scored, what guessing gives."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from v1builder.analysis.detection import confusion, d_prime


@dataclass(frozen=True)
class Score:
    """A number by which answers are judged; more is better.

    Attributes:
        name: as in results.
        label: for people.
        unit: "proportion", shown in points (per cent), or "1".
        chance: what guessing gives.
        ceiling: the most there can be, or None.
    """

    name: str
    label: str
    unit: Literal["proportion", "1"]
    chance: float
    ceiling: float | None = None


class Answer(ABC):
    """The answers to the windows of a trial, or to its steps.

    Attributes:
        n_outputs: numbers that a readout gives for every window (or step).
        scores: by which answers are judged, the main one first.
        of_cells: whether the answers are the numbers of spikes of every cell in the windows, so that no
            readout is learned. `n_outputs` is then that of the cells.
    """

    n_outputs: int
    scores: tuple[Score, ...]
    of_cells: bool = False

    @property
    def primary(self) -> Score:
        """The score that learning curves and criteria are about."""
        return self.scores[0]

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean loss over trials, to be minimised.

        Args:
            output: [trial, window, n_outputs] of a readout.
            target: of the same trials, see `Trials`.
        """

    @abstractmethod
    def score(self, output: Tensor, target: Tensor) -> dict[str, Any]:
        """What results say of the answers: every one of `scores` by name, and what else there is to say."""


class Classes(Answer):
    """One of several classes in every window."""

    def __init__(self, n_classes: int, chance: float | None = None):
        """Classes.

        Args:
            n_classes: how many.
            chance: accuracy of the best answer that knows only how frequent they are; 1 / n_classes, equally
                frequent, unless given.
        """
        self.n_outputs = n_classes
        chance = 1 / n_classes if chance is None else chance
        accuracy = Score("accuracy", "accuracy", "proportion", chance, 1.0)
        d_prime_ = (Score("d_prime", "d'", "1", 0.0),) if n_classes == 2 else ()
        self.scores = (accuracy, *d_prime_)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy.

        Args:
            output: [trial, window, class] logits.
            target: [trial, window] class of the right answer.
        """
        return cross_entropy(output.flatten(0, 1), target.flatten())

    def score(self, output: Tensor, target: Tensor) -> dict[str, Any]:
        """Accuracy, n_correct, d_prime (None for more than two classes), and confusion.

        The last is the number of answers by right answer and answer, [class, class].
        """
        choice, right = output.argmax(dim=2).flatten(), target.flatten()
        correct = choice == right
        numbers = right.numpy(), choice.numpy()
        return {
            "accuracy": int(correct.sum()) / len(correct),
            "n_correct": int(correct.sum()),
            "d_prime": d_prime(*numbers) if self.n_outputs == 2 else None,
            "confusion": confusion(*numbers, self.n_outputs).tolist(),
        }


class Values(Answer):
    """Numbers that vary over time, one set per step of the windows.

    The score is the part of the variance of the targets that is explained, r2 = 1 - MSE / variance: 1 for
    perfect answers, 0 for the mean, less for worse.
    """

    def __init__(self, n_values: int):
        self.n_outputs = n_values
        self.scores = (Score("r2", "explained variance", "1", 0.0, 1.0),)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean squared error.

        Args:
            output: [trial, step, value].
            target: [trial, step, value]; NaN where no answer is asked for.
        """
        asked = ~torch.isnan(target)
        return (output - target)[asked].square().mean()

    def score(self, output: Tensor, target: Tensor) -> dict[str, Any]:
        """The explained variance r2, None where targets do not vary, and mse."""
        asked = ~torch.isnan(target)
        error = (output - target)[asked].double().square().mean().item()
        variance = target[asked].double().var(correction=0).item()
        return {"r2": 1 - error / variance if variance > 0 else None, "mse": error}
