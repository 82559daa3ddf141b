"""When does the untrained column know the orientation? What the study's response window rests on.

python window.py orientation.toml        (seed 1; 768 training trials; 20 minutes on one core)

For windows of the trial: share of trials told right by a fixed sum of the spikes of excitatory cells, each
weighted by sin 2(tuning angle - 45 degrees), cut at its median; and by cross-validated ridge classifiers of
excitatory cells and of LGN units.
"""

import sys

import numpy as np
import torch
from sklearn.linear_model import RidgeClassifierCV
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from v1builder.model.observation import EverySpike
from v1builder.train import load_experiment, prepare, stream
from v1builder.train.evaluation import watched_trials
from v1builder.train.run import make_classifier

BIN = 25  # ms
WINDOWS = ((50, 100), (100, 150), (150, 200), (100, 200), (50, 200))


def binned(spikes: torch.Tensor) -> np.ndarray:
    """[trial, bin, unit] counts of [trial, step, unit] spikes at dt 1 ms."""
    return spikes.unflatten(1, (-1, BIN)).sum(2).to(torch.uint8).numpy()


@torch.no_grad()
def main(file: str, n_trials: int = 768) -> None:
    """Print the table of the first seed of an experiment."""
    experiment = load_experiment(file)
    subject = prepare(experiment, experiment.seeds[0])
    task, cells = subject.task, subject.network.cells.attributes
    network = make_classifier(experiment, subject, subject.network).network
    trials = task.draw(n_trials, "train", stream(1, "window", "trials"))
    seeing = [name for name, source in task.sources.items() if source.sees]
    column, lgn = [], []
    for _, inputs, (fired,) in watched_trials(
        network, task, trials, at_once=16, noise=stream(1, "window", "noise"),
        before=stream(1, "window", "warm-up"), watching=lambda _: [EverySpike()],
    ):  # fmt: skip
        column.append(binned(fired.spikes))
        lgn.append(np.concatenate([binned(inputs[name]) for name in seeing], axis=2))
    column, lgn = np.concatenate(column), np.concatenate(lgn)
    answer = trials.target.numpy().ravel()
    population = cells["pop_name"].astype(str)
    weight = np.sin(2 * np.deg2rad(cells["tuning_angle"] - 45))

    def told(counts: np.ndarray, chosen: np.ndarray) -> float:
        value = counts[:, chosen] @ weight[chosen]
        return np.mean((value > np.median(value)) == (answer > 0))

    def learned(counts: np.ndarray) -> float:
        model = make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=10.0 ** np.arange(7)))
        return cross_val_score(model, counts, answer, cv=6).mean()

    excitatory = np.char.startswith(population, "e")
    print("| window, ms | sum, L2/3 E | L4 E | L5 E | ridge, all E | ridge, LGN | spikes of E |")
    print("|---|---|---|---|---|---|---|")
    for start, end in WINDOWS:
        window = slice(start // BIN, end // BIN)
        counts, seen = (part[:, window].sum(1).astype(float) for part in (column, lgn))
        sums = [
            told(counts, np.char.startswith(population, layer)) for layer in ("e23", "e4", "e5")
        ]
        row = [*sums, learned(counts[:, excitatory]), learned(seen)]
        spikes = counts[:, excitatory].sum(1).mean()
        print(f"| {start}-{end} | " + " | ".join(f"{x:.3f}" for x in row) + f" | {spikes:.0f} |")


if __name__ == "__main__":
    main(sys.argv[1])
