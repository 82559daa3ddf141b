"""A lesion finds the type that an answer goes through, and its control does not find a size.

Planted: cells of type "relay" hear which side was shown and tell it to the readers; four times as many cells
of type "bystander" hear as many spikes whatever was shown, and tell all readers. The answer is which half of
the readers fires more.
"""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from v1builder.experiments.lesion import CONTROL, LESION, lesion_rows
from v1builder.load.network import EdgePopulation, GroupedValues, Network, NodePopulation
from v1builder.load.psp import unit_psp
from v1builder.model import V1Network
from v1builder.readout.pools import Pools
from v1builder.schema.parameters import THRESHOLD_PARAMETERS
from v1builder.tasks import Task, Trials
from v1builder.tasks.answer import Classes
from v1builder.train.evaluation import Classifier
from v1builder.train.settings import Experiment

SIZES = {"relay": 12, "bystander": 48, "reader": 20}
N_STEPS, N_TRIALS = 60, 64
#: Units of the input: of either side, and what is always there.
LEFT, RIGHT, ALWAYS = range(3)


def planted() -> Network:
    """Equal cells, 20 mV from threshold: a spike of the input is enough, a reader needs about four relays."""
    names = np.repeat(list(SIZES), list(SIZES.values()))
    n, one = len(names), np.zeros(len(names), np.int64)
    kind = pd.DataFrame(index=pd.Index([0], name="node_type_id"))
    cells = NodePopulation(
        "v1", np.arange(n), one, {"model_type": np.full(n, "point_neuron"), "pop_name": names}, kind
    )
    units = NodePopulation(
        "side", np.arange(3), one[:3], {"model_type": np.full(3, "virtual")}, kind
    )
    membrane = {
        "C_m": 100.0,
        "g": 10.0,
        "E_L": -70.0,
        "V_th": -50.0,
        "V_reset": -70.0,
        "t_ref": 2.0,
    }
    membrane |= dict.fromkeys(THRESHOLD_PARAMETERS, 0.0)
    values = {name: np.array([value]) for name, value in membrane.items()}
    values |= {"asc_amps": np.zeros((1, 1)), "asc_decay": np.ones((1, 1)), "asc_r": np.ones((1, 1))}
    ports = {"tau_syn_fast": 2.0, "tau_syn_slow": 2.0, "amp_slow": 0.0, "psc_shape": 0.0}
    receptors = {name: np.array([[value]]) for name, value in ports.items()}
    network = Network(
        {"v1": cells, "side": units}, {}, "v1", GroupedValues(values, one, ("a",)),
        GroupedValues(receptors, one, ("a",)), np.zeros(n),
    )  # fmt: skip
    relay, bystander, reader = (np.flatnonzero(names == name) for name in SIZES)
    halves = [np.split(group, 2) for group in (relay, reader)]
    pairs = {
        "side": [
            (LEFT, halves[0][0], 25.0),
            (RIGHT, halves[0][1], 25.0),
            (ALWAYS, bystander, 25.0),
        ],
        "v1": [
            *((cell, own[1], 5.0) for own in zip(*halves, strict=True) for cell in own[0]),
            *((cell, reader, 0.1) for cell in bystander),
        ],
    }
    edges = {f"{source}_to_v1": _edges(network, source, own) for source, own in pairs.items()}
    return dataclasses.replace(network, edges=edges)


def _edges(network, source, pairs) -> EdgePopulation:
    """Edges from units onto all of their targets, by PSP in mV."""
    pre = np.concatenate([np.full(len(post), unit) for unit, post, _ in pairs])
    post = np.concatenate([post for _, post, _ in pairs])
    psp = np.concatenate([np.full(len(post), float(size)) for _, post, size in pairs])
    n = len(pre)
    edges = EdgePopulation(
        f"{source}_to_v1", source, "v1", pre.astype(np.int32), post.astype(np.int32),
        np.zeros(n, np.int64), psp, np.ones(n, np.int32), np.ones(n, np.float32),
        np.zeros(n, np.int16), pd.DataFrame(index=pd.Index([0], name="edge_type_id")),
    )  # fmt: skip
    unit = unit_psp(dataclasses.replace(network, edges={edges.name: edges})).of(edges)
    return dataclasses.replace(edges, weight=psp / unit)


class WhichSide(Task):
    """The left or the right unit fires at random, and the one that always does as often."""

    name = "which_side"
    dt, n_steps, windows = 1.0, N_STEPS, (slice(10, N_STEPS),)
    sources, answer = {}, Classes(2)
    stimulus_ms = (0.0, float(N_STEPS))
    spontaneous, evoked = slice(0, 0), slice(0, N_STEPS)

    def draw(self, n_trials: int, split: str, generator: torch.Generator) -> Trials:
        side = torch.arange(n_trials)[torch.randperm(n_trials, generator=generator)] % 2
        return Trials(split, side, side[:, None])

    def inputs(self, trials: Trials, generator: torch.Generator) -> dict[str, Tensor]:
        fires = torch.rand(len(trials), N_STEPS, 3, generator=generator) < 0.15
        shown = torch.stack([trials.condition == LEFT, trials.condition == RIGHT], dim=1)
        fires[:, :, :ALWAYS] &= shown[:, None]
        return {"side": fires.to(torch.uint8)}

    def blank(self, n_trials: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {"side": torch.zeros(n_trials, N_STEPS, 3, dtype=torch.uint8)}

    def warm_up(self, n_trials: int, generator: torch.Generator) -> None:
        return None


@pytest.fixture(scope="module")
def lesions():
    """Change of accuracy by type: of the lesion and of its control."""
    network, task = planted(), WhichSide()
    experiment = Experiment.model_validate(
        {
            "name": "planted",
            "network": {"path": "none"},
            "task": {"name": "orientation_discrimination"},  # not looked at
            "train": {"batch_size": N_TRIALS},
            "measure": {"lesions": "population", "lesion_trials": N_TRIALS},
        }
    )
    readers = np.flatnonzero(network.cells.attributes["pop_name"] == "reader")
    classifier = Classifier(
        V1Network(network, trainable=[]),
        Pools(torch.from_numpy(readers.reshape(2, -1)), task.windows),
    )
    rows = []
    for seed in (1, 2, 3):
        rows += lesion_rows(experiment, task, classifier, "population", network, seed=seed)
    table = pd.DataFrame(rows).groupby(["group", "measure"])["value"]
    return table.mean().to_dict(), table.agg(lambda each: np.ptp(each)).to_dict()


def test_the_type_that_the_answer_goes_through_is_found(lesions):
    """Without relays it is a guess, from 100 % right; as many other cells do not matter."""
    change, _ = lesions
    assert change["relay", LESION] == pytest.approx(-0.5, abs=0.05)
    assert abs(change["relay", CONTROL]) < 0.02


def test_a_type_that_tells_nothing_does_not_matter_however_large_it_is(lesions):
    """Its control is larger than all others are together, so there is none."""
    change, spread = lesions
    assert abs(change["bystander", LESION]) < 0.02
    assert np.isnan(change["bystander", CONTROL])
    assert spread["bystander", LESION] < 0.05


def test_cells_that_are_read_are_lost_to_the_readout(lesions):
    assert lesions[0]["reader", LESION] == pytest.approx(-0.5, abs=0.05)
    assert lesions[0]["reader", CONTROL] > -0.2
