import os
import resource
import signal

import pytest
import torch

from v1builder.schema.errors import ConfigError, StorageError
from v1builder.train.checkpoint import (
    MetricsLog,
    check_optimizer,
    load_checkpoint,
    read_metrics,
    restore,
    save_checkpoint,
    stop_after_step,
)


def test_a_checkpoint_comes_back(tmp_path):
    save_checkpoint(tmp_path, {"step": 3, "made_by": {"seed": 1}, "w": torch.arange(3.0)})
    state = load_checkpoint(tmp_path, {"seed": 1})
    assert state is not None
    assert state["step"] == 3
    assert state["w"].tolist() == [0, 1, 2]


def test_no_checkpoint_yet(tmp_path):
    assert load_checkpoint(tmp_path, {}) is None


def test_a_checkpoint_of_another_experiment_is_refused(tmp_path):
    save_checkpoint(tmp_path, {"step": 3, "made_by": {"seed": 1}})
    with pytest.raises(ConfigError, match="seed: 1 -> 2"):
        load_checkpoint(tmp_path, {"seed": 2})


def test_a_damaged_checkpoint_is_an_error_that_names_the_file(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(StorageError, match=r"checkpoint\.pt"):
        load_checkpoint(tmp_path, {})


def test_metrics_after_the_checkpoint_are_dropped_on_resume(tmp_path):
    log = MetricsLog(tmp_path)
    for step in range(5):
        log.write({"step": step, "split": "train"})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "los')  # killed while writing
    assert [record["step"] for record in read_metrics(tmp_path)] == [0, 1, 2, 3, 4]
    again = MetricsLog(tmp_path, text=log.before(3))
    again.write({"step": 3, "split": "train", "again": True})
    assert read_metrics(tmp_path)[-1] == {"step": 3, "split": "train", "again": True}
    assert len(read_metrics(tmp_path)) == 4
    assert again.before(3) == log.before(3)


@pytest.mark.parametrize("damaged", ["{", "[]", '{"step": 1}', "[" * 100_000, "\udcff"])
def test_a_damaged_line_of_the_metrics_is_named(tmp_path, damaged):
    lines = ['{"step": 0, "split": "train"}', damaged, '{"step": 2, "split": "train"}', ""]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines), errors="surrogateescape")
    with pytest.raises(StorageError, match=r"metrics\.jsonl"):
        read_metrics(tmp_path)


STATE = {
    "step": 3,
    "made_by": {"seed": 1},
    "classifier": {"w": torch.linspace(-1, 1, 64)},
    "rates": {"evoked": {"total": torch.ones(3), "weight": 0.5}},
}


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return a == b


def test_a_flipped_bit_of_a_checkpoint_is_said_or_changes_nothing(tmp_path):
    save_checkpoint(tmp_path, STATE)
    path = tmp_path / "checkpoint.pt"
    whole = path.read_bytes()
    start = whole.index(STATE["classifier"]["w"].numpy().tobytes())
    bits = [*range(start * 8, (start + 256) * 8, 67), *range(0, len(whole) * 8, 379)]
    refused = 0
    for bit in bits:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            found = load_checkpoint(tmp_path, {})
        except StorageError as error:
            refused += "checkpoint.pt" in str(error)
        else:
            assert same(found, STATE)
    assert refused >= 31  # every one in the weights


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"step": -3}, "step -3"),
        ({"step": 2.5}, "step 2.5"),
        ({"step": 10**9}, "not of the end"),
        ({"made_by": None}, "damaged"),
        ({"classifier": {"w": torch.tensor([1.0, torch.nan])}}, r"classifier\.w"),
        ({"rates": {"evoked": {"total": torch.tensor(torch.inf)}}}, r"rates\.evoked\.total"),
    ],
)
def test_a_checkpoint_of_impossible_values_is_refused(tmp_path, changed, said):
    save_checkpoint(tmp_path, STATE | changed)
    with pytest.raises(StorageError, match=said):
        load_checkpoint(tmp_path, {}, finished=3)


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "checkpoint.pt")
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(StorageError, match="not a file"):
        load_checkpoint(tmp_path, {})
    with pytest.raises(StorageError, match="not a file"):
        read_metrics(tmp_path)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"step": torch.tensor(7.0), "exp_avg": torch.ones(4), "exp_avg_sq": torch.ones(4)},
        {"step": torch.tensor(2.0), "exp_avg": torch.ones(3), "exp_avg_sq": torch.ones(3)},
        {"step": torch.tensor(2.0), "exp_avg": torch.ones(4), "exp_avg_sq": -torch.ones(4)},
        {"step": torch.tensor(2.0)},
    ],
)
def test_a_state_of_adam_that_the_steps_cannot_leave_is_refused(tmp_path, state):
    module = torch.nn.Linear(4, 1, bias=False)
    optimizer = torch.optim.Adam(module.parameters())
    for _ in range(2):
        module(torch.ones(4)).sum().backward()
        optimizer.step()
    check_optimizer(optimizer, 2, tmp_path)
    saved = optimizer.state_dict()
    saved["state"] = {0: state} if state else {}
    restore(optimizer, saved, tmp_path)
    with pytest.raises(StorageError, match="Adam"):
        check_optimizer(optimizer, 6, tmp_path)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    saved = torch.nn.Linear(4, 1).state_dict()
    with pytest.raises(StorageError, match="does not fit"):
        restore(torch.nn.Linear(3, 1), saved, tmp_path)


def test_a_checkpoint_on_a_full_disk_leaves_the_one_before(tmp_path):
    save_checkpoint(tmp_path, STATE)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(StorageError, match="cannot write the output"):
            save_checkpoint(tmp_path, STATE | {"w": torch.ones(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert same(load_checkpoint(tmp_path, {}), STATE)


def test_the_first_interrupt_waits_for_the_step_the_second_does_not():
    before = signal.getsignal(signal.SIGINT)
    with stop_after_step() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
