"""A linear readout that begins as a logistic regression on the untrained network."""

import pytest
import torch
from test_kinds_of_answers import LINEAR, doing
from test_training import EXPERIMENT

from v1builder.readout.pools import PoolsSettings
from v1builder.schema.errors import ConfigError
from v1builder.tasks import Values
from v1builder.tasks.visual import VisualTask
from v1builder.train import evaluate, load_experiment, prepare, train
from v1builder.train.fitted_readout import fit_readout
from v1builder.train.run import make_classifier


class Brighter(VisualTask):
    """Trials of class 1 make the LGN fire three times as much: the untrained column can tell."""

    def __init__(self, plain):
        super().__init__(plain.settings, plain.sources, plain.dt)

    def inputs(self, trials, generator):
        spikes = super().inputs(trials, generator)
        return {**spikes, "lgn": spikes["lgn"] * (1 + 2 * trials.target[:, :1, None])}


@pytest.fixture
def experiment(tmp_path, small_column):
    path = tmp_path / "experiment.toml"
    path.write_text(EXPERIMENT.format(network=small_column))
    experiment = load_experiment(path)
    return experiment.model_copy(update={"readout": LINEAR})


@pytest.fixture
def subject(experiment):
    return prepare(experiment, 1)


def answers(classifier, subject):
    return evaluate(
        classifier, subject.task, split="test", n_trials=64, batch_size=32, seed=1, dt=1.0
    )


def test_it_tells_held_out_trials_better_than_a_random_one(experiment, subject):
    subject = doing(subject, Brighter)
    classifier = make_classifier(experiment, subject, subject.network)
    before = answers(classifier, subject)
    weights = [one.clone() for one in classifier.network.parameters()]
    fit_readout(classifier, subject.task, n_trials=128, at_once=32, seed=1)
    after = answers(classifier, subject)
    assert after.scores["accuracy"] >= before.scores["accuracy"] + 0.2
    assert after.loss < min(before.loss, 0.6)  # of chance: .69; probabilities are calibrated
    assert all(map(torch.equal, weights, classifier.network.parameters()))
    assert torch.allclose(before.rate, after.rate)


def test_two_classes_share_the_difference_evenly(experiment, subject):
    classifier = make_classifier(experiment, subject, subject.network)
    fit_readout(classifier, subject.task, n_trials=32, at_once=32, seed=1)
    weight, bias = classifier.readout.weight, classifier.readout.bias
    assert torch.equal(weight[0], -weight[1])
    assert torch.equal(bias[0], -bias[1])
    assert weight.abs().max() > 0


def test_training_begins_there_and_goes_on_from_its_checkpoint(experiment, subject, tmp_path):
    readout = LINEAR.model_copy(update={"fit_trials": 64})
    settings = experiment.train.model_copy(
        update={
            "steps": 1,
            "validate_every": 1,
            "learning_rate": 1e-9,
            "readout_learning_rate": 1e-9,
        }
    )
    experiment = experiment.model_copy(update={"readout": readout, "train": settings})
    first = train(experiment, tmp_path / "run")
    classifier = make_classifier(experiment, subject, subject.network)
    fit_readout(classifier, subject.task, n_trials=64, at_once=settings.batch_size, seed=1)
    saved = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["classifier"]
    assert torch.allclose(saved["readout.weight"], classifier.readout.weight, atol=1e-6)
    again = train(experiment, tmp_path / "run", resume=True)
    assert again["accuracy"] == first["accuracy"]
    assert again["loss"] == first["loss"]


def test_what_cannot_be_fitted_is_refused(experiment, subject):
    classifier = make_classifier(experiment, subject, subject.network)
    with pytest.raises(ConfigError, match="few trials of a class"):
        fit_readout(classifier, subject.task, n_trials=5, at_once=5, seed=1)
    subject.task.answer = Values(1)
    with pytest.raises(ConfigError, match="values as answers"):
        fit_readout(classifier, subject.task, n_trials=32, at_once=32, seed=1)
    pools = experiment.model_copy(update={"readout": PoolsSettings(pool_size=5, radius_um="all")})
    subject = prepare(pools, 1)
    classifier = make_classifier(pools, subject, subject.network)
    with pytest.raises(ConfigError, match="Pools readout"):
        fit_readout(classifier, subject.task, n_trials=32, at_once=32, seed=1)
