"""Training on tasks that ask for values over time, for several answers per trial, or that carry the state."""

import dataclasses
import signal

import pytest
import torch
from test_training import EXPERIMENT, run

from v1builder.readout.linear import LinearSettings
from v1builder.schema.errors import ConfigError
from v1builder.tasks import Task, Values
from v1builder.tasks.visual import VisualTask
from v1builder.train import evaluate, load_experiment, loop, prepare, stream
from v1builder.train.checkpoint import read_metrics
from v1builder.train.parallel import Processes
from v1builder.train.run import learning, make_classifier

LINEAR = LinearSettings(radius_um="all", populations=("e*", "i*"))


class Contrast(VisualTask):
    """In every step of the window: +1 when the grating of class 1 is shown, -1 for class 0."""

    per_step = True
    describe = Task.describe  # these answers have no threshold

    def __init__(self, plain):
        super().__init__(plain.settings, plain.sources, plain.dt)
        self.answer = Values(1)

    def draw(self, n_trials, split, generator):
        trials = super().draw(n_trials, split, generator)
        (window,) = self.windows
        values = (2.0 * trials.target - 1).expand(-1, window.stop - window.start)
        return dataclasses.replace(trials, target=values[:, :, None], kind=None)


class TwoAnswers(VisualTask):
    """The same question in two windows, the second time the other way round."""

    describe = Task.describe

    def __init__(self, plain):
        super().__init__(plain.settings, plain.sources, plain.dt)
        self.windows = (slice(30, 50), slice(50, 80))

    def draw(self, n_trials, split, generator):
        trials = super().draw(n_trials, split, generator)
        both = torch.cat([trials.target, 1 - trials.target], 1)
        return dataclasses.replace(trials, target=both, kind=None)


class Carrying(VisualTask):
    """Trials that go on where those before them stopped."""

    def __init__(self, plain):
        settings = plain.settings.model_copy(update={"carry_state": True})
        super().__init__(settings, plain.sources, plain.dt)


@pytest.fixture
def experiment(tmp_path, small_column):
    path = tmp_path / "experiment.toml"
    path.write_text(EXPERIMENT.format(network=small_column))
    experiment = load_experiment(path)
    train = experiment.train.model_copy(
        update={"learning_rate": 0.03, "readout_learning_rate": 0.03}
    )
    return experiment.model_copy(update={"readout": LINEAR, "train": train})


@pytest.fixture
def subject(experiment):
    return prepare(experiment, 1)


def doing(subject, task):
    return dataclasses.replace(subject, task=task(subject.task))


def test_values_over_time_are_learned(experiment, subject):
    subject = doing(subject, Contrast)
    task = subject.task
    classifier = make_classifier(experiment, subject, subject.network)
    trials = task.draw(8, "train", stream(1, "trials"))
    inputs = task.inputs(trials, stream(1, "noise"))
    optimizer = torch.optim.Adam(classifier.parameters(), lr=0.03)
    losses = []
    for _ in range(12):
        output, _ = classifier(inputs)
        loss = task.answer.loss(output, trials.target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_values_over_time_are_scored(experiment, subject, tmp_path):
    run(experiment, doing(subject, Contrast), tmp_path, steps=3)
    metrics = read_metrics(tmp_path)
    found = learning(metrics, experiment.train, "r2")
    assert [step for step, _ in found["learning_curve"]] == [0, 3]
    assert all("accuracy" not in line and line["r2"] <= 1 for line in metrics)


def test_every_window_is_answered(experiment, subject):
    subject = doing(subject, TwoAnswers)
    classifier = make_classifier(experiment, subject, subject.network)
    found = evaluate(
        classifier, subject.task, split="test", n_trials=6, batch_size=4, seed=1, dt=1.0
    )
    assert found.output.shape == (6, 2, 2)
    right = found.output.argmax(2) == found.trials.target
    assert found.scores["accuracy"] == pytest.approx(right.float().mean().item())
    assert sum(map(sum, found.scores["confusion"])) == 12
    assert not torch.allclose(found.output[:, 0], found.output[:, 1])


def test_the_state_goes_on_from_trial_to_trial(experiment, subject):
    subject = doing(subject, Carrying)
    task = subject.task
    classifier = make_classifier(experiment, subject, subject.network)
    found = evaluate(classifier, task, split="test", n_trials=8, batch_size=4, seed=1, dt=1.0)
    noise, before = stream(1, "test", "noise"), stream(1, "test", "warm-up")
    trials = task.draw(8, "test", stream(1, "test", "trials"))
    model, output = classifier.network, []
    first = task.inputs(trials[:4], noise)
    state = model.settled(task.warm_up(4, before))
    with torch.no_grad():
        rollout = model(first, state=state)
        output.append(classifier.readout(rollout.spikes))
        rollout = model(task.inputs(trials[4:], noise), state=rollout.state)
        output.append(classifier.readout(rollout.spikes))
    assert torch.equal(found.output, torch.cat(output))


def test_a_training_that_carries_the_state_resumes_bit_for_bit(experiment, subject, tmp_path):
    subject = doing(subject, Carrying)
    whole = run(experiment, subject, tmp_path / "whole")

    def interrupt(done, _total, _record):
        if done == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(experiment, subject, tmp_path / "parts", progress=interrupt)
    parts = run(experiment, subject, tmp_path / "parts", resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
    assert read_metrics(tmp_path / "whole") == read_metrics(tmp_path / "parts")
    rested = run(experiment, prepare(experiment, 1), tmp_path / "rested")
    assert any(
        not torch.equal(value, rested.state_dict()[name])
        for name, value in whole.state_dict().items()
    )


def test_a_carried_state_is_not_shared_between_processes(
    experiment, subject, tmp_path, monkeypatch
):
    two = Processes(torch.device("cpu"), count=2)
    monkeypatch.setattr(loop, "one_process", lambda: two)
    with pytest.raises(ConfigError, match="train in one process"):
        run(experiment, doing(subject, Carrying), tmp_path)
