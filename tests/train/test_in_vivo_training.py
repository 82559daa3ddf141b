"""Training to recordings: no readout, objectives with schedules, resumed, exported, judged."""

import json

import numpy as np
import pytest
import torch

from v1builder.experiments.comparison import compare
from v1builder.experiments.export import trained_network
from v1builder.experiments.judge import Repeats, judge, subject_of
from v1builder.experiments.judge_table import markdown, write
from v1builder.load import load_network, save_network
from v1builder.objectives.voltage import voltage_loss
from v1builder.report import write_report
from v1builder.schema.errors import ConfigError
from v1builder.train import load_experiment, prepare, train
from v1builder.train.checkpoint import read_metrics
from v1builder.train.evaluation import Classifier
from v1builder.train.lesson import backward, draw_batch
from v1builder.train.optimizers import ExponentiatedGradient
from v1builder.train.parallel import one_process
from v1builder.train.run import make_classifier
from v1builder.train.streams import stream
from v1builder.validate import validate

EXPERIMENT = """
name = "in vivo, tiny"
seeds = [1]
core_radius_um = 28.0
[network]
path = "{network}"
[task]
name = "in_vivo"
warm_up_ms = 60.0
gray_before_ms = 40.0
on_ms = 100.0
response_ms = [40.0, 140.0]
[train]
steps = 3
batch_size = 8
learning_rate = 0.05
validate_every = 3
validation_trials = 8
test_trials = 8
checkpoint_every = 1
{train}
[measure]
names = []
[[objective]]
kind = "rates"
weight = 1.0
[[objective]]
kind = "osi"
from_step = 1
ramp_steps = 1
[[objective]]
kind = "synchrony"
weight = 0.1
n_cells = 20
[[objective]]
kind = "weights"
weight = 0.1
"""


def written(folder, network, train="", **changed):
    text = EXPERIMENT.format(network=network, train=train)
    for old, new in changed.items():
        text = text.replace(old, new)
    path = folder / "experiment.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def run(small_column, tmp_path_factory):
    folder = tmp_path_factory.mktemp("in_vivo")
    experiment = load_experiment(written(folder, small_column))
    result = train(experiment, folder / "run")
    return experiment, folder / "run", result


def test_a_task_without_a_readout_trains(run, small_column):
    experiment, folder, result = run
    steps = [m for m in read_metrics(folder) if m["split"] == "train"]
    names = {"task_loss", "rate_loss", "osi_loss", "synchrony_loss", "weights_loss", "voltage_loss"}
    assert names <= steps[0].keys()
    assert steps[0]["task_loss"] == 0
    assert steps[0]["weights_loss"] == 0 < steps[-1]["weights_loss"]
    for record in steps:  # the sum with its schedule
        osi = {0: 0.0, 1: 0.5, 2: 1.0}[record["step"]]
        total = (
            record["rate_loss"] + osi * record["osi_loss"] + 0.1 * record["synchrony_loss"]
            + 0.1 * record["weights_loss"] + 0.1 * record["voltage_loss"]
        )  # fmt: skip
        assert record["loss"] == pytest.approx(total, rel=1e-5)
    assert result["main_score"]["name"] == "agreement"
    assert 0 < result["agreement"] <= 1
    subject = prepare(experiment, 1)
    assert not list(make_classifier(experiment, subject, subject.network).readout.parameters())


def test_an_interrupted_run_is_the_same(run, small_column, tmp_path):
    experiment, folder, _ = run

    def stop(done, *_):
        if done == 2:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        train(experiment, tmp_path / "run", progress=stop)
    train(experiment, tmp_path / "run", resume=True)
    assert read_metrics(tmp_path / "run") == read_metrics(folder)


def test_the_trained_column_is_a_network_like_any_other(run, small_column, tmp_path):
    _, folder, _ = run
    network, origin = trained_network(folder)
    save_network(network, tmp_path / "net", recordings_of=origin)
    assert validate(tmp_path / "net") == []
    again, built = load_network(tmp_path / "net"), load_network(small_column)
    for name, edges in network.edges.items():
        np.testing.assert_allclose(again.edges[name].weight, edges.weight, rtol=1e-12)
    new, old = again.edges["v1_to_v1"].weight, built.edges["v1_to_v1"].weight
    assert (np.sign(new) == np.sign(old)).all()
    assert 0.01 < np.abs(np.log(new / old)).max() < 0.5
    # Another training starts from it.
    (tmp_path / "again").mkdir()
    path = written(tmp_path / "again", tmp_path / "net", **{"steps = 3": "steps = 1"})
    assert train(load_experiment(path), tmp_path / "again/run")["agreement"] > 0


def test_it_is_judged_before_and_after_by_what_it_was_not_drawn_to(run, small_column, tmp_path):
    _, folder, _ = run
    few = Repeats(per_direction=1, per_contrast=1, images=2)
    found = judge(subject_of(folder), few)
    assert list(found["networks"]) == ["before", "after"]
    assert found["notes"] == []
    after = found["networks"]["after"]
    assert 0 < after["weights_moved"] < 0.2
    rates = {r["cell_type"]: r for r in after["by_type"] if r["metric"] == "mean_rate_Hz"}
    assert rates["L4 Exc"]["n_units"] == 157  # the held-out ones
    assert after["scores"]["mean_rate_Hz"] > 0
    assert set(after["contrast_slope"]) >= {"Exc", "Pvalb"}
    assert {aim["aim"] for aim in after["aims"]} >= {"weights moved", "mean 1 - KS of osi"}
    write(found, tmp_path / "judge.md")
    text = (tmp_path / "judge.md").read_text()
    assert text == markdown(found)
    assert "| L4 Exc | mean_rate_Hz | 157 |" in text
    assert json.loads((tmp_path / "judge.json").read_text())["networks"] == found["networks"]
    alone = judge(subject_of(small_column, core_radius_um=28.0), few)
    assert list(alone["networks"]) == ["network"]
    assert alone["networks"]["network"]["by_type"] == found["networks"]["before"]["by_type"]


def test_the_short_form_is_the_sum_that_it_was(small_column, tmp_path):
    """To the last digit: task + rate_weight * rates over all units + voltage_weight * voltages."""
    text = f"""
name = "short"
seeds = [1]
[network]
path = "{small_column}"
[task]
name = "orientation_discrimination"
warm_up_ms = 40.0
gray_before_ms = 10.0
on_ms = 60.0
gray_after_ms = 10.0
response_ms = [40.0, 80.0]
[readout]
pool_size = 10
[train]
batch_size = 4
rate_weight = 0.3
voltage_weight = 0.2
"""
    path = tmp_path / "short.toml"
    path.write_text(text)
    experiment = load_experiment(path)
    given = [(each.kind, each.weight) for each in experiment.objectives]
    assert given == [("rates", 0.3), ("voltage", 0.2)]
    assert experiment.objectives[0].units == "all"
    subject = prepare(experiment, 1)
    batch = draw_batch(subject.task, 4, 1, 0)
    classifier = make_classifier(experiment, subject, subject.network)
    answer = subject.task.answer
    terms = subject.objectives.terms()
    parts, _ = backward(classifier, batch, answer, terms, one_process(), seed=1, step=0)
    gradient = classifier.network.edges["v1_to_v1"].log_scale.grad.clone()

    by_hand: Classifier = make_classifier(experiment, subject, subject.network)
    output, rollout = by_hand(batch.inputs, batch.warm_up, record_voltage=True)
    rates, _ = (term.objective for term in subject.objectives.terms())
    windows = rates._loss.windows
    counts = {name: rollout.spikes[:, w].sum(dim=(0, 1)) for name, w in windows.items()}
    loss = answer.loss(output, batch.trials.target)
    loss = loss + 0.3 * rates._loss(counts, 4, stream(1, "train", "rates", 0))
    loss = loss + 0.2 * voltage_loss(rollout.drive, by_hand.network.threshold())
    loss.backward()
    assert parts["loss"] == loss.item()
    assert torch.equal(gradient, by_hand.network.edges["v1_to_v1"].log_scale.grad)
    # Results depend on no key that is not used.
    dumped = experiment.model_dump()
    assert not {"objective", "core_radius_um"} & dumped.keys()
    assert "optimizer" not in dumped["train"]


@pytest.mark.parametrize(("change", "said"), [
    ({'kind = "osi"': 'kind = "oci"'}, "did you mean 'osi'"),
    ({'kind = "osi"': 'kind = "rates"'}, "'rates' is there twice"),
    ({'kind = "osi"': 'weight = 1.0'}, "add 'kind'"),
    ({"core_radius_um = 28.0": "core_radius_um = -1.0"}, "core_radius_um"),
])  # fmt: skip
def test_contradictory_and_unknown_objectives_are_one_message(tmp_path, change, said):
    with pytest.raises(ConfigError, match=said) as error:
        load_experiment(written(tmp_path, "net", **change))
    assert len(error.value.problems) == 1


def test_a_step_of_the_exponentiated_gradient_is_its_formula():
    base = torch.tensor([10.0, 0.1, 0.0])
    parameter = torch.nn.Parameter(torch.zeros(3))
    optimizer = ExponentiatedGradient([(parameter, base)], lr=0.1)
    of_weight = torch.tensor([0.5, 0.5, 9.0])  # dL/d|w|; the last weight is 0
    parameter.grad = of_weight * base
    optimizer.step()
    scale = np.sqrt((0.5**2 + 0.5**2) / 3)
    # Equal derivatives by the weight are equal factors, however strong the synapse.
    assert parameter.tolist() == pytest.approx([-0.1 * 0.5 / scale, -0.1 * 0.5 / scale, 0.0])
    weight = base * parameter.detach().exp()
    parameter.grad = torch.tensor([1.0, 0.0, 0.0]) * weight
    optimizer.step()
    mean = np.array([0.9 * 0.5 + 0.1, 0.9 * 0.5, 0.0])
    moved = np.array([-0.05, -0.05, 0]) / scale - 0.1 * mean / np.sqrt((mean**2).mean())
    assert parameter.tolist() == pytest.approx(moved.tolist(), rel=1e-5)


def test_it_learns_with_exponentiated_gradients_and_resumes(small_column, tmp_path):
    path = written(tmp_path, small_column, train='optimizer = "exponentiated_gradient"')
    experiment = load_experiment(path)
    assert experiment.model_dump()["train"]["optimizer"] == "exponentiated_gradient"
    train(experiment, tmp_path / "whole")

    def stop(done, *_):
        if done == 2:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        train(experiment, tmp_path / "parts", progress=stop)
    train(experiment, tmp_path / "parts", resume=True)
    assert read_metrics(tmp_path / "parts") == read_metrics(tmp_path / "whole")
    network, _ = trained_network(tmp_path / "whole")
    before = load_network(small_column).edges["v1_to_v1"].weight
    change = np.log(network.edges["v1_to_v1"].weight / before)
    assert 0.005 < np.sqrt((change**2).mean()) < 0.3


@pytest.mark.slow
def test_starts_are_compared_by_the_agreement_with_held_out_units(small_column, tmp_path):
    path = written(tmp_path, small_column, **{"steps = 3": "steps = 1"})
    path.write_text(
        path.read_text()
        + """
[compare]
ablations = ["intact", "no_asc"]
protocols = ["retrain"]
matching = "raw"
background = "ratio"
matching_trials = 2
primary = "agreement"
"""
    )
    found = compare(load_experiment(path), tmp_path / "run")
    assert found["scores"][0]["name"] == "agreement"
    assert [cell["ablation"] for cell in found["cells"]] == ["intact", "no_asc"]
    assert all(0 < cell["agreement"] <= 1 for cell in found["cells"])
    few = Repeats(per_direction=1, per_contrast=1, images=2)
    verdict = judge(subject_of(tmp_path / "run", ablation="no_asc"), few)
    write(verdict, tmp_path / "run" / "judge.md")
    page = write_report(tmp_path / "run").read_text()
    assert "Like the living cortex?" in page
    assert "contrast slope Vip" in page
