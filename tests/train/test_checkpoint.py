import os
import signal

import pytest
import torch

from v1builder.schema.errors import ConfigError, StorageError
from v1builder.train.checkpoint import (
    MetricsLog,
    load_checkpoint,
    read_metrics,
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
    log = MetricsLog(tmp_path, keep_before=0)
    for step in range(5):
        log.write({"step": step})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "los')  # killed while writing
    assert [record["step"] for record in read_metrics(tmp_path)] == [0, 1, 2, 3, 4]
    MetricsLog(tmp_path, keep_before=3).write({"step": 3, "again": True})
    assert read_metrics(tmp_path)[-1] == {"step": 3, "again": True}
    assert len(read_metrics(tmp_path)) == 4


def test_the_first_interrupt_waits_for_the_step_the_second_does_not():
    before = signal.getsignal(signal.SIGINT)
    with stop_after_step() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
