"""One network learns several tasks in turn, each with a readout, a memory and metrics of its own."""

import dataclasses
import json
import signal

import pytest
import torch
from handmade import make_foreign
from test_parallel import by_two, finished

from v1builder.experiments import compare
from v1builder.experiments.ablations import parse_ablation
from v1builder.experiments.condition import Condition
from v1builder.load import save_network
from v1builder.schema.errors import ConfigError
from v1builder.train import check, load_experiment, prepare, train
from v1builder.train.checkpoint import load_checkpoint, read_metrics
from v1builder.train.lesson import Lesson, draw_batch
from v1builder.train.loop import fit
from v1builder.train.parallel import Processes, one_process
from v1builder.train.run import make_classifier

EXPERIMENT = """
name = "a test"
seeds = [1]
[network]
path = "{network}"
[task]
name = "direction_classification"
n_directions = 3
n_phases = 1
warm_up_ms = 30.0
gray_before_ms = 10.0
on_ms = 60.0
response_ms = [20.0, 70.0]
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
CHANGE = """
[[also]]
name = "grating_change_detection"
n_flashes = 2
min_change = 10.0
warm_up_ms = 30.0
gray_before_ms = 10.0
on_ms = 30.0
gray_after_ms = 10.0
response_ms = [20.0, 50.0]
"""
ORIENTATION = """
[[also]]
name = "orientation_discrimination"
"""
NAME = "grating_change_detection"


def written(folder, small_column, also, **changed):
    text = EXPERIMENT.format(network=small_column)
    for key, value in changed.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"{key} = ")]
        text = text.replace(line, f"{key} = {value}")
    path = folder / "experiment.toml"
    path.write_text(text + also)
    return path


@pytest.fixture
def experiment(tmp_path, small_column):
    return load_experiment(written(tmp_path, small_column, CHANGE))


@pytest.fixture(scope="module")
def subject(small_column, tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    return prepare(load_experiment(written(folder, small_column, CHANGE)), 1)


def run(experiment, subject, out, *, steps=6, **more):
    classifier = make_classifier(experiment, subject, subject.network)
    fit(
        classifier,
        subject.task,
        experiment.train.model_copy(update={"steps": steps}),
        seed=1,
        out=out,
        also=[each.task for each in subject.also],
        objectives=[each.objectives for each in (subject, *subject.also)],
        **more,
    )
    return classifier


def lessons(classifier, subject):
    tasks = [subject, *subject.also]
    return [
        Lesson(answering, each.task, None, {})
        for answering, each in zip(classifier.by_task(), tasks, strict=True)
    ]


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_tasks_take_turns_and_are_told_apart_in_the_metrics(experiment, subject, tmp_path):
    run(experiment, subject, tmp_path, steps=5)
    lines = [(m["step"], m["split"], m.get("task")) for m in read_metrics(tmp_path)]
    taught = [(step, "train", NAME if step % 2 else None) for step in range(5)]
    tested = {step: [(step, "validation", None), (step, "validation", NAME)] for step in (0, 3, 5)}
    assert lines == [*tested[0], *taught[:3], *tested[3], *taught[3:], *tested[5]]


def test_the_main_task_begins_as_it_does_alone(experiment, subject, tmp_path):
    """The same readout, trials and noise: further tasks add lines and change none that they cannot."""
    run(experiment, subject, tmp_path / "both", steps=2)
    run(experiment, dataclasses.replace(subject, also=()), tmp_path / "alone", steps=2)
    alone = (tmp_path / "alone/metrics.jsonl").read_text().splitlines()
    both = (tmp_path / "both/metrics.jsonl").read_text().splitlines()
    main = [line for line in both if '"task":' not in line]
    assert main[:2] == alone[:2]  # the validation and the first step
    assert main[2] != alone[3]  # after the second, which was the other task's


def test_all_tasks_are_learned_by_the_same_weights(experiment, subject):
    """Taught in turn on trials they have seen, both losses fall, though the readouts stay as they are."""
    classifier = make_classifier(experiment, subject, subject.network)
    both = lessons(classifier, subject)
    batches = [draw_batch(each.task, 6, 1, step) for step, each in enumerate(both)]
    optimizer = torch.optim.Adam(classifier.network.parameters(), lr=0.03)
    losses = [[], []]
    for step in range(24):
        which = step % 2
        parts = both[which].learn(batches[which], one_process(), seed=1, step=0)
        losses[which].append(parts["task_loss"])
        optimizer.step()
        classifier.zero_grad()
    for found in losses:
        assert found[-1] < 0.6 * found[0], losses


def test_a_readout_learns_in_its_own_turns_only(experiment, subject, tmp_path):
    """Adam moves what has a gradient of zero, by momentum: a readout at rest must have none at all."""
    fresh, one, two, three = (
        run(experiment, subject, tmp_path / str(steps), steps=steps) for steps in range(4)
    )
    assert same(fresh.also, one.also)
    assert not same(one.also, two.also)
    assert same(two.also, three.also)
    assert not same(fresh.readout, one.readout)
    assert same(one.readout, two.readout)
    assert not same(two.readout, three.readout)
    assert not same(one.network, two.network)
    assert not same(two.network, three.network)


def test_processes_leave_other_readouts_alone(experiment, subject):
    class Half(Processes):
        def total(self, value):
            return value

    classifier = make_classifier(experiment, subject, subject.network)
    lesson = lessons(classifier, subject)[1]
    half = Half(torch.device("cpu"), count=2)
    lesson.learn(draw_batch(lesson.task, 4, 1, 0), half, seed=1, step=0)
    assert all(p.grad is not None for p in classifier.network.parameters())
    assert all(p.grad is not None for p in classifier.also.parameters())
    assert all(p.grad is None for p in classifier.readout.parameters())


@pytest.mark.parametrize("stopped_after", [3, 4])
def test_an_interrupted_run_resumes_bit_for_bit(experiment, subject, tmp_path, stopped_after):
    """With the state that one task carries and the rates that each remembers, in either's turn."""
    whole = run(experiment, subject, tmp_path / "whole")

    def interrupt(done, _total, _record):
        if done == stopped_after:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(experiment, subject, tmp_path / "parts", progress=interrupt)
    saved = load_checkpoint(tmp_path / "parts", {})
    assert saved["state"] is None
    assert saved["also"][NAME]["state"] is not None
    kept = [each["objectives"]["rate_loss"] for each in (saved, saved["also"][NAME])]
    weights = {memory["evoked"]["weight"] for memory in kept}
    assert len(weights) == 2
    parts = run(experiment, subject, tmp_path / "parts", resume=True)
    assert same(whole, parts)
    assert read_metrics(tmp_path / "whole") == read_metrics(tmp_path / "parts")


def test_a_run_of_other_tasks_is_not_resumed(experiment, subject, tmp_path):
    run(experiment, subject, tmp_path, steps=1)
    alone = dataclasses.replace(subject, also=())
    with pytest.raises(ConfigError, match=r"also: \['grating_change_detection'\] -> None"):
        run(experiment, alone, tmp_path, steps=1, resume=True)


def test_every_task_draws_readouts_of_its_own(tmp_path, small_column):
    path = written(tmp_path, small_column, CHANGE + ORIENTATION, pool_size=4)
    experiment = load_experiment(path)
    subject, pools = prepare(experiment, 1), {}
    for seed in (1, 2, 1):
        subject = dataclasses.replace(subject, seed=seed)
        classifier = make_classifier(experiment, subject, subject.network)
        drawn = [each.readout.pools for each in classifier.by_task()]
        tasks = [subject.task, *(each.task for each in subject.also)]
        assert [len(pool) for pool in drawn] == [task.answer.n_outputs for task in tasks]
        for position, pool in enumerate(drawn):
            assert pools.setdefault((seed, position), pool.tolist()) == pool.tolist()
    first = {tuple(pool[0]) for pool in pools.values()}
    assert len(first) == 6


def test_train_reports_further_tasks_under_their_names(experiment, tmp_path):
    experiment = experiment.model_copy(
        update={"train": experiment.train.model_copy(update={"steps": 2})}
    )
    result = train(experiment, tmp_path / "run")
    stored = json.loads((tmp_path / "run" / "result.json").read_text())
    assert stored["also"].keys() == {NAME}
    also = stored["also"][NAME]
    assert also == result["also"][NAME]
    assert (len(stored["confusion"]), len(also["confusion"])) == (3, 2)
    assert sum(map(sum, also["confusion"])) == also["n_trials"] == 8
    assert also["accuracy"] == also["n_correct"] / 8 == also["main_score"]["value"]
    validated = [m for m in read_metrics(tmp_path / "run") if m["split"] == "validation"]
    for found, name in ((stored, None), (also, NAME)):
        own = [[m["step"], m["accuracy"]] for m in validated if m.get("task") == name]
        assert found["learning_curve"] == own
        assert len(own) == 2
    assert stored["provenance"]["experiment"]["also"][0]["n_flashes"] == 2
    assert isinstance(also["notes"], list)


def test_an_experiment_of_one_task_has_no_trace_of_further_ones(tmp_path, small_column):
    text = written(tmp_path, small_column, "").read_text()
    plain = load_experiment(tmp_path / "experiment.toml")
    (tmp_path / "experiment.toml").write_text("also = []\n" + text)
    empty = load_experiment(tmp_path / "experiment.toml")
    assert empty == plain
    assert "also" not in plain.model_dump(mode="json")
    assert '"also"' not in plain.model_dump_json(include={"task", "also"})


@pytest.mark.parametrize(
    ("also", "message"),
    [
        (CHANGE + CHANGE, "'grating_change_detection' is there twice"),
        ('[[also]]\nname = "direction_classification"', "'direction_classification' is there"),
        ('[[also]]\nname = "grating_change_detecton"', "did you mean 'grating_change_detection'"),
        (CHANGE + "n_flash = 4", "did you mean 'n_flashes'"),
    ],
)
def test_a_wrong_table_is_one_error(tmp_path, small_column, also, message):
    with pytest.raises(ConfigError, match=message) as error:
        load_experiment(written(tmp_path, small_column, also))
    assert len(error.value.problems) == 1
    assert "also" in str(error.value)


def test_all_tasks_are_checked_before_the_training(tmp_path, small_column):
    few = "[[also]]\nname = 'direction_classification'\nn_directions = 12"
    text = written(tmp_path, small_column, few).read_text()
    swapped = text.replace("direction_classification", "orientation_discrimination", 1)
    (tmp_path / "experiment.toml").write_text(swapped.replace("n_directions = 3\n", ""))
    with pytest.raises(ConfigError, match="too few cells") as error:
        check(load_experiment(tmp_path / "experiment.toml"))
    assert "task direction_classification, 12 pools of 10" in str(error.value)
    at_once = CHANGE.replace("warm_up_ms = 30.0", "warm_up_ms = 0.0")
    notes = check(load_experiment(written(tmp_path, small_column, at_once)))
    assert [note for note in notes if note.startswith(f"{NAME}: no trial has a gray screen")]


def test_a_carried_state_is_not_shared_between_processes(experiment, subject, tmp_path):
    two = Processes(torch.device("cpu"), count=2)
    with pytest.raises(ConfigError, match="train in one process") as error:
        run(experiment, subject, tmp_path, processes=two)
    assert NAME in str(error.value)


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path, small_column):
    also = CHANGE + 'carry_state = false\n[model]\ndtype = "float64"\n'
    path = written(tmp_path, small_column, also, batch_size=5)
    finished(by_two(path, tmp_path / "two"))
    train(load_experiment(path), tmp_path / "one")
    metrics = (read_metrics(tmp_path / name) for name in ("two", "one"))
    for there, here in zip(*metrics, strict=True):
        assert (there.pop("split"), there.pop("task", "")) == (
            here.pop("split"), here.pop("task", ""),
        )  # fmt: skip
        assert there == pytest.approx(here, rel=1e-6)
    one, two = (torch.load(tmp_path / name / "checkpoint.pt") for name in ("one", "two"))
    for name, value in one["classifier"].items():
        assert torch.allclose(two["classifier"][name], value, rtol=0, atol=1e-7), name


COMPARISON = """
name = "a test"
seeds = [1]
[network]
path = "{network}"
[task]
name = "direction_classification"
n_directions = 3
warm_up_ms = 20.0
gray_before_ms = 10.0
on_ms = 40.0
response_ms = [10.0, 50.0]
[[also]]
name = "grating_change_detection"
n_flashes = 2
warm_up_ms = 20.0
gray_before_ms = 10.0
on_ms = 20.0
gray_after_ms = 10.0
response_ms = [10.0, 40.0]
[model]
trainable = ["v1_to_v1.weight", "bkg_to_v1.weight"]
[readout]
populations = ["Pyr*"]
pool_size = 4
radius_um = "all"
[train]
steps = 4
batch_size = 4
rate_weight = 0
readout_learning_rate = 0.5
validate_every = 2
validation_trials = 6
test_trials = 6
[compare]
ablations = ["intact", "mean(population)"]
protocols = ["retrain", "frozen", "readout", "finetune"]
matching = "raw"
matching_trials = 4
calibration_seconds = 2.0
"""


def test_a_comparison_trains_and_tests_further_tasks_too(tmp_path):
    save_network(make_foreign(), tmp_path / "network")
    path = tmp_path / "experiment.toml"
    path.write_text(COMPARISON.format(network=tmp_path / "network"))
    comparison = compare(load_experiment(path), tmp_path / "run")
    assert [score["name"] for score in comparison["scores"]] == ["accuracy"]  # of three classes
    assert any(note.startswith(f"{NAME}: ") for note in comparison["notes"])
    for cell in comparison["cells"]:
        also = cell["also"][NAME]
        assert sum(map(sum, also["confusion"])) == 6
        assert len(also["confusion"]) == 2
        assert "measures" not in also
        assert ("learning_curve" in also) == ("learning_curve" in cell)

    def trained(protocol, ablation="intact"):
        folder = Condition(protocol, parse_ablation(ablation), 1).folder(tmp_path / "run")
        lines = [m for m in read_metrics(folder) if m["split"] == "validation"]
        saved = load_checkpoint(folder, {})["classifier"]
        return lines, {k: v for k, v in saved.items() if k.startswith("also.")}

    # What is trained on starts with the trained readouts, what is read anew does not.
    end = [line for line in trained("retrain")[0] if line["step"] == 4]
    for protocol, goes_on in (("finetune", True), ("readout", False)):
        start = [line for line in trained(protocol)[0] if line["step"] == 0]
        assert [line.get("task") for line in start] == [None, NAME]
        for before, after in zip(end, start, strict=True):
            assert (after["loss"] == pytest.approx(before["loss"], rel=1e-5)) == goes_on
            assert after["rate_Hz"] == pytest.approx(before["rate_Hz"], rel=1e-5)
    own = trained("readout", "mean(population)")[1]
    assert own.keys() == trained("retrain")[1].keys()
    assert any(not torch.equal(value, trained("retrain")[1][name]) for name, value in own.items())
