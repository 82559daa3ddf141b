"""Several processes make the training of one: the same gradients, steps, tests and files."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from one_rank import batch_gradient
from test_training import EXPERIMENT

from v1builder.model.device import found_accelerator
from v1builder.schema.errors import ConfigError
from v1builder.train import load_experiment, train
from v1builder.train.checkpoint import read_metrics
from v1builder.train.parallel import Processes, one_process, start
from v1builder.train.settings import TrainSettings

ONE_RANK = Path(__file__).with_name("one_rank.py")


@pytest.fixture(scope="module")
def experiment_file(small_column, tmp_path_factory):
    """Shares of 3 and 2 trials, in float64."""
    path = tmp_path_factory.mktemp("parallel") / "experiment.toml"
    text = EXPERIMENT.format(network=small_column).replace("batch_size = 4", "batch_size = 5")
    path.write_text(text + '[model]\ndtype = "float64"\n')
    return path


def environment():
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "TORCHELASTIC"))}
    return clean | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "GOMP_SPINCOUNT": "1000"}


def by_two(experiment_file, out, *options):
    """`v1builder train --devices 2`, started."""
    code = "from v1builder.cli import main; main()"
    script = out.parent / "v1builder_train.py"
    script.write_text(code)
    command = [sys.executable, script, "train", experiment_file, "--out", out, "--devices", "2"]
    return subprocess.Popen(
        [*map(str, command), *options],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finished(process, code=0):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output


@pytest.fixture(scope="module")
def whole(experiment_file, tmp_path_factory):
    """A run of two processes that nothing interrupted."""
    out = tmp_path_factory.mktemp("by_two") / "run"
    return out, finished(by_two(experiment_file, out))


def test_two_processes_find_the_gradient_of_the_joined_batch(experiment_file, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, ONE_RANK, experiment_file, tmp_path / "gradient.pt"]
    subprocess.run(list(map(str, command)), env=environment(), check=True, timeout=300)
    there = torch.load(tmp_path / "gradient.pt", weights_only=True)
    here = batch_gradient(experiment_file, one_process())
    assert there.keys() == here.keys()
    assert {"evoked", "spontaneous"} <= here.keys()  # what is remembered of the rates
    assert {"rate_loss", "voltage_loss", "network.edges.v1_to_v1.log_scale"} <= here.keys()
    for name, value in here.items():
        largest = value.abs().max()
        assert largest > 0, name
        # The readout is in float32, whatever the network's dtype.
        rounding = max(1e-9, 4 * torch.finfo(value.dtype).eps)
        assert (there[name] - value).abs().max() <= rounding * largest, name


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(experiment_file, whole, tmp_path):
    out, output = whole
    assert output.count("held-out accuracy") == 1
    alone = train(load_experiment(experiment_file), tmp_path)
    for name in ("accuracy", "n_correct", "loss", "rate_Hz", "area_under_curve"):
        found = json.loads((out / "result.json").read_text())[name]
        assert found == pytest.approx(alone[name], rel=1e-6), name
    metrics = zip(read_metrics(out), read_metrics(tmp_path), strict=True)
    for there, here in metrics:
        assert there.pop("split") == here.pop("split")
        assert there == pytest.approx(here, rel=1e-6)
    one, two = (torch.load(folder / "checkpoint.pt") for folder in (tmp_path, out))
    for name, value in one["classifier"].items():
        assert torch.allclose(two["classifier"][name], value, rtol=0, atol=1e-7), name


@pytest.mark.slow
def test_a_signal_to_one_process_stops_both_and_the_run_resumes_bit_for_bit(
    experiment_file, whole, tmp_path
):
    out = tmp_path / "run"
    process = by_two(experiment_file, out)
    while not any(m["split"] == "train" for m in read_metrics(out)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    finished(process, code=130)
    step = torch.load(out / "checkpoint.pt")["step"]
    assert 0 < step < 6
    finished(by_two(experiment_file, out, "--resume"))
    assert read_metrics(out) == read_metrics(whole[0])
    one, two = (torch.load(folder / "checkpoint.pt") for folder in (out, whole[0]))
    for name, value in one["classifier"].items():
        assert torch.equal(two["classifier"][name], value), name


def test_shares_cover_a_batch_once():
    assert one_process().share(7) == slice(0, 7)
    shares = [Processes(torch.device("cpu"), rank, count=3).share(7) for rank in range(3)]
    assert [i for share in shares for i in range(7)[share]] == list(range(7))
    sizes = [share.stop - share.start for share in shares]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"devices": 0}, "number of devices must be positive"),
        ({"nodes": -1}, "number of nodes must be positive"),
        ({"accelerator": "cdua"}, "did you mean 'cuda'"),
    ],
)
def test_a_wrong_number_of_processes_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        start(**arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_gpus_are_named():
    with pytest.raises(ConfigError, match="1 asked for, 0 found"):
        start(accelerator="cuda")


def test_auto_takes_gpus_where_there_are_enough(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [found_accelerator("auto", n) for n in (1, 2, 3)] == ["cuda", "cuda", "cpu"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert found_accelerator("auto", 1) == "cpu"
    assert one_process("auto").device.type == "cpu"


def test_the_accelerator_is_a_key_that_old_results_need_not_have():
    assert "accelerator" not in TrainSettings().model_dump()
    assert TrainSettings(accelerator="auto").model_dump()["accelerator"] == "auto"


def test_what_torchrun_started_is_not_overruled(monkeypatch):
    for name, n in (("TORCHELASTIC_RUN_ID", 1), ("WORLD_SIZE", 4), ("LOCAL_WORLD_SIZE", 2)):
        monkeypatch.setenv(name, str(n))
    with pytest.raises(ConfigError, match="torchrun has 2"):
        start(devices=3)


def test_more_processes_than_trials_is_an_error(experiment_file, tmp_path):
    from v1builder.train.loop import fit

    many = Processes(torch.device("cpu"), count=3)
    with pytest.raises(ConfigError, match="3 processes, 2 trials"):
        fit(None, None, TrainSettings(batch_size=2), seed=1, out=tmp_path, processes=many)  # pyright: ignore
