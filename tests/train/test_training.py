"""Training on a real, small column: the loop learns, resumes bit for bit, and survives Ctrl-C."""

import dataclasses
import json
import shutil
import signal
from statistics import NormalDist

import numpy as np
import pytest
import torch

from v1builder.load import load_network, save_network
from v1builder.readout.pools import PoolsSettings
from v1builder.schema.errors import ConfigError, DataError, NetworkError, StorageError
from v1builder.schema.files import hash_folder, write_text
from v1builder.train import check, fit, load_experiment, prepare, stream, train
from v1builder.train.checkpoint import CHECKPOINT, read_metrics
from v1builder.train.lesson import draw_batch
from v1builder.train.run import learning, make_classifier
from v1builder.train.settings import (
    CompareSettings,
    NetworkSettings,
    TrainSettings,
)

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
warm_up_ms = 40.0
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
        objectives=[each.objectives for each in (subject, *subject.also)],
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


def test_a_gradient_that_is_not_finite_is_one_error_and_changes_nothing(
    experiment, subject, tmp_path
):
    surrogate = experiment.model.surrogate.model_copy(update={"dampening": 1e30})
    model = experiment.model.model_copy(update={"surrogate": surrogate})
    explosive = experiment.model_copy(update={"model": model})
    with pytest.raises(ConfigError, match=r"gradient is not finite(.|\n)*step 0(.|\n)*dampening"):
        run(explosive, subject, tmp_path / "run")
    assert not (tmp_path / "run" / CHECKPOINT).exists()
    assert all(m["split"] == "validation" for m in read_metrics(tmp_path / "run"))


def test_weights_that_grow_without_bound_are_one_error_that_names_the_step(
    experiment, subject, tmp_path
):
    wild = experiment.train.model_copy(update={"learning_rate": 1e6})
    wild = experiment.model_copy(update={"train": wild})
    with pytest.raises(ConfigError, match=r"not finite(.|\n)*step 0(.|\n)*task_loss"):
        run(wild, subject, tmp_path / "run")
    assert not (tmp_path / "run" / CHECKPOINT).exists()


def test_a_lost_doubled_or_damaged_log_comes_back_with_the_checkpoint(
    experiment, subject, tmp_path
):
    run(experiment, subject, tmp_path)
    log = tmp_path / "metrics.jsonl"
    whole = log.read_text()
    for damage in ("", 2 * whole, whole.replace("loss", "lass", 1), "{"):
        log.write_text(damage)
        run(experiment, subject, tmp_path, resume=True)
        assert log.read_text() == whole
    log.unlink()
    run(experiment, subject, tmp_path, resume=True)
    assert log.read_text() == whole


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("step", 10**9, "step"),
        ("classifier", {}, "does not fit"),
        ("optimizer", {"state": {}}, "Adam"),
    ],
)
def test_a_run_does_not_go_on_from_what_its_steps_cannot_leave(
    experiment, subject, tmp_path, key, value, said
):
    run(experiment, subject, tmp_path, steps=2)
    saved = torch.load(tmp_path / CHECKPOINT)
    saved[key] = saved[key] | value if key == "optimizer" else value
    torch.save(saved, tmp_path / CHECKPOINT)
    with pytest.raises(StorageError, match=rf"{said}(.|\n)*checkpoint\.pt|checkpoint(.|\n)*{said}"):
        run(experiment, subject, tmp_path, steps=2, resume=True)


def test_a_run_is_neither_written_over_nor_into_by_two(experiment, tmp_path):
    out = tmp_path / "run"
    short = experiment.train.model_copy(update={"steps": 1, "test_trials": 4})
    short = experiment.model_copy(update={"train": short})

    def second(*_):
        with pytest.raises(StorageError, match="another process"):
            train(short, out, resume=True)

    first = train(short, out, progress=second)
    before = hash_folder(out)
    assert before.keys() == {"checkpoint.pt", "metrics.jsonl", "result.json"}
    with pytest.raises(StorageError, match="--resume"):
        train(short, out)
    assert hash_folder(out) == before
    assert train(short, out, resume=True)["accuracy"] == first["accuracy"]
    assert hash_folder(out)["metrics.jsonl"] == before["metrics.jsonl"]
    network = tmp_path / "network"
    write_text(network / "circuit_config.json", "{}")
    with pytest.raises(StorageError, match="something else"):
        train(short, network, resume=True)


def test_training_lowers_the_loss_on_trials_it_has_seen(experiment, subject):
    classifier = make_classifier(experiment, subject, subject.network)
    trials = subject.task.draw(8, "train", stream(1, "overfit", "trials"))
    inputs = subject.task.inputs(trials, stream(1, "overfit", "noise"))
    optimizer = torch.optim.Adam(classifier.parameters(), lr=0.03)
    losses = []
    for _ in range(20):
        loss = torch.nn.functional.cross_entropy(classifier(inputs)[0][:, 0], trials.target[:, 0])
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
    computed_by = stored["provenance"]["computed_by"]
    assert (computed_by["backend"], computed_by["device"]) == ("fused", "cpu")
    assert [step for step, _ in stored["learning_curve"]] == [0, 3, 6]
    splits = [(m["step"], m["split"]) for m in read_metrics(tmp_path / "run")]
    assert splits[:2] == [(0, "validation"), (0, "train")]
    assert splits[-1] == (6, "validation")


def test_what_was_answered_is_kept(experiment, tmp_path):
    result = train(experiment, tmp_path / "run")
    (rejections, false_alarms), (misses, hits) = result["confusion"]
    assert rejections + hits == result["n_correct"]
    assert rejections + false_alarms == misses + hits == 4
    hit, false_alarm = (hits + 0.5) / 5, (false_alarms + 0.5) / 5
    expected = NormalDist().inv_cdf(hit) - NormalDist().inv_cdf(false_alarm)
    assert result["d_prime"] == pytest.approx(expected)


def test_the_warm_up_of_a_step_is_that_of_its_seed(subject):
    first, again, later = (draw_batch(subject.task, 3, 1, step) for step in (5, 5, 6))
    other = draw_batch(subject.task, 3, 2, 5)
    assert all(torch.equal(first.warm_up[k], again.warm_up[k]) for k in ("lgn", "bkg"))
    for batch in (later, other):
        assert not torch.equal(first.warm_up["bkg"], batch.warm_up["bkg"])
    # With another stream than the trial's.
    assert not torch.equal(first.warm_up["bkg"], first.inputs["bkg"][:, :40])


def test_a_warm_up_changes_what_is_learned_and_tested(experiment, subject, tmp_path):
    task = experiment.task.model_copy(update={"warm_up_ms": 0.0})
    rested = experiment.model_copy(update={"task": task})
    run(experiment, subject, tmp_path / "warm", steps=1)
    run(rested, prepare(rested, 1), tmp_path / "rested", steps=1)
    warm, cold = (read_metrics(tmp_path / name) for name in ("warm", "rested"))
    assert len(warm) == len(cold) == 3
    for a, b in zip(warm, cold, strict=True):  # validation, training, validation
        assert a["rate_Hz"] != b["rate_Hz"]


def without(folder, *removed, copy):
    shutil.copytree(folder, copy)
    for path in removed:
        (copy / path).unlink()
    return copy


def at(experiment, folder, **changed):
    settings = experiment.train.model_copy(update=changed)
    return experiment.model_copy(
        update={"network": NetworkSettings(path=str(folder)), "train": settings}
    )


def test_a_network_without_recordings_trains_when_rates_are_left_alone(
    experiment, small_column, tmp_path
):
    folder = without(small_column, "reference/in_vivo.csv", copy=tmp_path / "foreign")
    with pytest.raises(DataError, match="rate_weight = 0") as error:
        prepare(at(experiment, folder), 1)
    assert str(folder / "reference" / "in_vivo.csv") in str(error.value)
    with pytest.raises(DataError):
        train(at(experiment, folder), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    free = at(experiment, folder, rate_weight=0.0, steps=1)
    assert check(free) == free.notes()
    subject = prepare(free, 1)
    assert subject.reference is None
    assert [each.kind for each in subject.objectives.settings] == ["voltage"]
    assert train(free, tmp_path / "run")["n_trials"] == 8
    assert "rate_loss" not in read_metrics(tmp_path / "run")[1]


def test_a_network_of_others_with_other_names_and_no_lgn_trains(experiment, small_column, tmp_path):
    """Populations A and B, inputs that do not see, cells without positions."""
    network = load_network(small_column)
    cells = network.cells
    names = np.where(cells.attributes["ei"].astype(str) == "e", "PyrA", "IntB")
    attributes = {k: v for k, v in cells.attributes.items() if k not in ("x", "y", "z")}
    renamed = dataclasses.replace(cells, attributes=attributes | {"pop_name": names})
    edges = {k: v for k, v in network.edges.items() if v.source != "lgn"}
    nodes = {k: v for k, v in network.nodes.items() if k != "lgn"} | {"v1": renamed}
    folder = tmp_path / "foreign"
    save_network(dataclasses.replace(network, nodes=nodes, edges=edges), folder)
    model = experiment.model.model_copy(
        update={"trainable": ("v1_to_v1.weight", "bkg_to_v1.weight")}
    )
    free = at(experiment, folder, rate_weight=0.0, steps=1).model_copy(update={"model": model})
    with pytest.raises(ConfigError, match="choose one of: IntB, PyrA"):
        prepare(free, 1)
    readout = PoolsSettings(populations=("Pyr*",), pool_size=10)
    with pytest.raises(NetworkError, match='radius_um = "all"'):
        prepare(free.model_copy(update={"readout": readout}), 1)
    readout = readout.model_copy(update={"radius_um": "all"})
    free = free.model_copy(update={"readout": readout})
    result = train(free, tmp_path / "run")
    assert any("no input sees" in note for note in result["notes"])
    assert 0 <= result["accuracy"] <= 1
    rated = free.model_copy(update={"train": experiment.train})
    with pytest.raises(DataError, match="network has no recordings"):
        check(rated)


def test_pooled_types_are_named_in_the_result(experiment, subject):
    (note,) = subject.notes
    assert "L4 SST" in note
    assert "VIP" in note


def test_a_small_experiment_says_what_it_cannot_decide(experiment):
    test, validation, seeds, rate = experiment.notes()
    assert "8 test trials" in test
    assert "standard error of 20.0 points" in test  # 100 sqrt(2 .8 .2 / 8)
    assert "4 validation trials" in validation
    assert "1 paired seeds" in seeds
    assert "one learning rate for all conditions" in rate
    chosen = CompareSettings(learning_rate_factors=(0.333, 1.0, 3.0))
    large = experiment.model_copy(
        update={"train": TrainSettings(), "seeds": tuple(range(20)), "compare": chosen}
    )
    assert large.notes() == ()
    left = chosen.model_copy(update={"carry": "none"})
    (note,) = large.model_copy(update={"compare": left}).notes()
    assert "made for other cells" in note
    shared = experiment.model.model_copy(update={"group_by": "population"})
    (note,) = large.model_copy(update={"model": shared}).notes()
    assert "group_by" in note
    assert (large.train.test_trials, large.train.validation_trials) == (2048, 512)


def test_learning_speed_by_hand():
    metrics = [
        {"step": step, "split": "validation", "accuracy": accuracy}
        for step, accuracy in ((0, 0.5), (10, 0.7), (30, 0.9))
    ]
    found = learning(
        [*metrics, {"step": 5, "split": "train"}], TrainSettings(criterion=0.7), "accuracy"
    )
    assert found["area_under_curve"] == pytest.approx((10 * 0.6 + 20 * 0.8) / 30)
    assert found["steps_to_criterion"] == 10
    assert (
        learning(metrics, TrainSettings(criterion=0.95), "accuracy")["steps_to_criterion"] is None
    )


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("[train]\nbatch = 4", "batch_size"),
        ('[model]\nsurrogat = "x"', "surrogate"),
        ('[compare]\nablations = ["no_asc"]', "begin with 'intact'"),
        ("[train]\nsteps = -1", "greater than or equal to 0"),
        ("background_rate = 250.0", "column rate_Hz"),
        ("[readout]\nradius_um = 0", "greater than 0"),
        ("[readout]\npopulations = []", "at least 1"),
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
