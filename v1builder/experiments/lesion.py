"""Lesions of a trained network: what its answers lose when the cells of a type are silenced.

A silenced cell is held so far below threshold that it never spikes, from the warm-up on. Every group of cells
has a control: as many cells, drawn at random from all others, so that a large group is not taken for an
important one. All are tested in the same trials with the same input spikes, and the readout is not trained
anew: where it reads the silenced cells itself, it loses what they told it.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from v1builder.load import Network
from v1builder.measures import MeasureRow
from v1builder.measures.groups import GROUP_LEVELS, measured_groups
from v1builder.tasks import Task
from v1builder.train.evaluation import Classifier, evaluate
from v1builder.train.metric import TRAINED
from v1builder.train.settings import Experiment
from v1builder.train.streams import stream

Progress = Callable[[int, int], None]

#: pA. Input currents are some thousand at most, and at a conductance of 10 nS this is -100 V.
SILENCING_PA: Final = -1e6
#: Change of the main score by silencing a group, and by as many other cells.
LESION, CONTROL = "lesion", "lesion_control"
_WINDOW: Final = "test"
_TOO_FEW: Final = "fewer other cells than the group has: no control of its size"


def lesion_rows(
    experiment: Experiment,
    task: Task,
    classifier: Classifier,
    level: str,
    network: Network,
    *,
    seed: int,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Rows of `LESION` and `CONTROL`, with the unit of the task's main score and n silenced cells.

    Args:
        experiment: how many trials (`measure.lesion_trials`), and of how many at once.
        task: that is answered.
        classifier: the trained network with its readout.
        level: of the groups; of a node set its cells are silenced.
        network: with the cells.
        seed: of trials, input spikes and controls.
        progress: called with (tests done, tests).
    """
    groups = measured_groups(network.cells, level, network.node_sets)
    lesioned = groups.labels if level in GROUP_LEVELS else groups.labels[:1]  # of a node set itself
    score, total = task.answer.primary, 2 * len(lesioned) + 1
    done = 0

    def tested(cells: NDArray[np.int64]) -> float:
        nonlocal done
        value = score_without(experiment, task, classifier, cells, seed=seed)
        done += 1
        if progress:
            progress(done, total)
        return value

    intact = tested(np.zeros(0, np.int64))
    rows = []
    for number, label in enumerate(lesioned):
        own = np.flatnonzero(groups.of_cell == number)
        others = np.flatnonzero(groups.of_cell != number)
        drawn = control(others, len(own), seed, label)
        for measure, cells in ((LESION, own), (CONTROL, drawn)):
            known = len(cells) > 0
            value = tested(cells) - intact if known else np.nan
            row = MeasureRow(
                measure, score.unit, _WINDOW, level, label, value, len(cells),
                "" if known else _TOO_FEW,
            )  # fmt: skip
            rows.append({**row.record(), "phase": TRAINED})
    return rows


def control(others: NDArray[np.int64], n_cells: int, seed: int, label: str) -> NDArray[np.int64]:
    """So many of the other cells, drawn at random; none where there are fewer."""
    if len(others) < n_cells:
        return np.zeros(0, np.int64)
    order = torch.randperm(len(others), generator=stream(seed, "lesion", label)).numpy()
    return np.sort(others[order[:n_cells]])


def score_without(
    experiment: Experiment,
    task: Task,
    classifier: Classifier,
    cells: NDArray[np.int64],
    *,
    seed: int,
) -> float:
    """The main score with some cells silenced; the classifier is as it was afterwards."""
    bias = classifier.network.bias_current
    own = bias.clone()
    bias[torch.from_numpy(cells).to(bias.device)] += SILENCING_PA
    try:
        found = evaluate(
            classifier,
            task,
            split="test",
            n_trials=experiment.measure.lesion_trials,
            batch_size=experiment.train.batch_size,
            seed=seed,
            dt=experiment.model.dt,
        )
    finally:
        bias.copy_(own)
    return float(found.scores[task.answer.primary.name])
