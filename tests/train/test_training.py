"""Training on a real, small column: the loop learns, resumes bit for bit, and survives Ctrl-C."""

import json
import signal

import pytest
import torch

from v1builder.schema.errors import ConfigError
from v1builder.train import load_experiment, prepare, train
from v1builder.train.checkpoint import read_metrics
from v1builder.train.loop import fit, stream
from v1builder.train.run import learning, make_classifier
from v1builder.train.settings import TrainSettings

EXPERIMENT = """
name = "a test"
seeds = [1]
[network]
path = "{network}"
[task]
name = "orientation_discrimination"
max_delta = 40.0
n_deltas = 2
n_phases = 1
gray_before_ms = 10.0
on_ms = 60.0
gray_after_ms = 10.0
response_ms = [40.0, 80.0]
[readout]
pool_size = 10
[train]
steps = 6
batch_size = 4
validate_every = 3
validation_trials = 4
test_trials = 8
checkpoint_every = 2
"""


@pytest.fixture
def experiment(tmp_path, small_column):
    path = tmp_path / "experiment.toml"
    path.write_text(EXPERIMENT.format(network=small_column))
    return load_experiment(path)


@pytest.fixture(scope="module")
def subject(small_column, tmp_path_factory):
    path = tmp_path_factory.mktemp("experiment") / "experiment.toml"
    path.write_text(EXPERIMENT.format(network=small_column))
    return prepare(load_experiment(path), 1)


def run(experiment, subject, out, *, steps=None, resume=False, progress=None):
    classifier = make_classifier(experiment, subject, subject.network)
    settings = experiment.train.model_copy(update={"steps": steps} if steps else {})
    fit(
        classifier,
        subject.task,
        settings,
        seed=1,
        out=out,
        targets=subject.targets,
        resume=resume,
        progress=progress,
    )
    return classifier


def test_an_interrupted_run_resumes_bit_for_bit(experiment, subject, tmp_path):
    whole = run(experiment, subject, tmp_path / "whole")

    def interrupt(done, _total, _record):
        if done == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(experiment, subject, tmp_path / "parts", progress=interrupt)
    parts = run(experiment, subject, tmp_path / "parts", resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
    assert read_metrics(tmp_path / "whole") == read_metrics(tmp_path / "parts")


def test_a_killed_run_resumes_from_its_last_checkpoint(experiment, subject, tmp_path):
    whole = run(experiment, subject, tmp_path / "whole")

    class KilledError(Exception):
        pass

    def kill(done, _total, _record):
        if done == 5:  # the last checkpoint is of step 4
            raise KilledError

    with pytest.raises(KilledError):
        run(experiment, subject, tmp_path / "parts", progress=kill)
    parts = run(experiment, subject, tmp_path / "parts", resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
    assert read_metrics(tmp_path / "whole") == read_metrics(tmp_path / "parts")


def test_a_run_of_other_settings_is_not_resumed(experiment, subject, tmp_path):
    run(experiment, subject, tmp_path, steps=2)
    with pytest.raises(ConfigError, match="other settings"):
        run(experiment, subject, tmp_path, steps=3, resume=True)


def test_training_lowers_the_loss_on_trials_it_has_seen(experiment, subject):
    classifier = make_classifier(experiment, subject, subject.network)
    trials = subject.task.draw(8, "train", stream(1, "overfit", "trials"))
    inputs = subject.task.inputs(trials, stream(1, "overfit", "noise"))
    optimizer = torch.optim.Adam(classifier.parameters(), lr=0.03)
    losses = []
    for _ in range(20):
        loss = torch.nn.functional.cross_entropy(classifier(inputs)[0], trials.target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_signs_of_weights_survive_training(experiment, subject, tmp_path):
    trained = run(experiment, subject, tmp_path).network.export(subject.network)
    for name, edges in subject.network.edges.items():
        weight = trained.edges[name].weight
        assert (weight * edges.weight >= 0).all()
        assert (weight != edges.weight).any()


def test_train_writes_scores_and_what_made_them(experiment, tmp_path):
    result = train(experiment, tmp_path / "run")
    stored = json.loads((tmp_path / "run" / "result.json").read_text())
    assert stored["accuracy"] == result["accuracy"] == result["n_correct"] / 8
    assert stored["provenance"]["network"]["circuit_config.json"]
    assert [step for step, _ in stored["learning_curve"]] == [0, 3, 6]
    splits = [(m["step"], m["split"]) for m in read_metrics(tmp_path / "run")]
    assert splits[:2] == [(0, "validation"), (0, "train")]
    assert splits[-1] == (6, "validation")


def test_learning_speed_by_hand():
    metrics = [
        {"step": step, "split": "validation", "accuracy": accuracy}
        for step, accuracy in ((0, 0.5), (10, 0.7), (30, 0.9))
    ]
    found = learning([*metrics, {"step": 5, "split": "train"}], TrainSettings(criterion=0.7))
    assert found["area_under_curve"] == pytest.approx((10 * 0.6 + 20 * 0.8) / 30)
    assert found["steps_to_criterion"] == 10
    assert learning(metrics, TrainSettings(criterion=0.95))["steps_to_criterion"] is None


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("[train]\nbatch = 4", "batch_size"),
        ('[model]\nsurrogat = "x"', "surrogate"),
        ('[compare]\nablations = ["no_asc"]', "begin with 'intact'"),
        ("[train]\nsteps = -1", "greater than or equal to 0"),
        ('[network]\npath = "net-{sed}"', "{seed}"),
    ],
)
def test_a_wrong_key_names_the_nearest_or_the_fix(tmp_path, broken, message):
    text = 'name = "x"\n[task]\nname = "orientation_discrimination"\n' + broken
    if "[network]" not in broken:
        text += '\n[network]\npath = "net"'
    path = tmp_path / "experiment.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_experiment(path)
