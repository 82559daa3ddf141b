"""Processes of one machine give the results of one process, and end with what they work for."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from handmade import make_foreign
from test_comparison import by_cell
from test_pages_while_running import EXPERIMENT

from v1builder.experiments import compare
from v1builder.experiments.engines import run_here, run_in_processes, silent
from v1builder.load import save_network
from v1builder.schema.errors import ConfigError, StorageError, V1BuilderError
from v1builder.train import load_experiment
from v1builder.train.checkpoint import stop_after_step


class Files:
    """A worker that makes files: a job is a name, what must be there before, and what goes wrong."""

    def __init__(self, folder, progress):
        self.folder, self.progress = folder, progress

    def do(self, job):
        name, needs, fault = job
        self.progress(name, torch.get_num_threads(), os.getpid())
        assert all((self.folder / other).exists() for other in needs)
        if fault == "error":
            raise StorageError.of("the disk is full", name, fix="make room")
        if fault == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "endless":
            time.sleep(1000)
        if fault in ("trains", "cannot save"):
            with stop_after_step() as stop:
                (self.folder / "trains").touch()
                stop.wait()
            if fault == "cannot save":
                raise StorageError.of("no space left", self.folder)
            (self.folder / "saved").touch()
            raise KeyboardInterrupt
        (self.folder / name).touch()


class Made:
    """Makes such workers, also in another process."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, progress):
        return Files(self.folder, progress)


def test_stages_follow_one_another_and_the_cores_are_shared(tmp_path):
    stages = [[("a", "", ""), ("b", "", "")], [("c", "ab", ""), ("d", "ab", "")]]
    told, done = [], []
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run_in_processes(
            stages,
            Made(tmp_path),
            lambda *one: told.append(one),
            lambda job: done.append(job[0]),
            2,
        )
    finally:
        torch.set_num_threads(before)
    assert sorted(name for name, _, _ in told) == ["a", "b", "c", "d"]
    assert {threads for _, threads, _ in told} == {1}
    assert os.getpid() not in {process for _, _, process in told}
    assert sorted(done[:2]) == ["a", "b"]
    assert sorted(done[2:]) == ["c", "d"]
    here = []
    run_here(stages, Made(tmp_path), lambda *one: here.append(one), lambda _job: None)
    assert {process for _, _, process in here} == {os.getpid()}


def test_an_error_of_a_job_ends_all_of_them(tmp_path):
    stages = [[("a", "", "error"), ("b", "", "")], [("late", "", "")]]
    with pytest.raises(StorageError, match="the disk is full") as error:
        run_in_processes(stages, Made(tmp_path), silent, lambda _job: None, 1)
    assert error.value.problems[0].fix == "make room"
    assert not list(tmp_path.iterdir())


def test_a_training_is_saved_when_others_end_and_nothing_is_begun_after_it(tmp_path):
    """As by Ctrl-C. Who went on to another job would keep the run from its end."""
    jobs = [("a", "", "trains"), ("b", "", "")] + [(f"late{i}", "", "endless") for i in range(3)]

    def interrupt(job):
        wait_for((tmp_path / "trains").exists)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_processes([jobs], Made(tmp_path), silent, interrupt, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "saved", "trains"]


def test_two_errors_at_once_are_one(tmp_path):
    """As on a full disk: the second training cannot save what it was asked to save."""

    def fail(job):
        wait_for((tmp_path / "trains").exists)
        raise StorageError.of("the disk is full", job)

    jobs = [("a", "", "cannot save"), ("b", "", "")]
    with pytest.raises(StorageError, match="the disk is full"):
        run_in_processes([jobs], Made(tmp_path), silent, fail, 2)


def test_a_process_that_dies_is_an_error(tmp_path):
    with pytest.raises(V1BuilderError, match="a process of the comparison died"):
        run_in_processes([[("a", "", "dies")]], Made(tmp_path), silent, lambda _job: None, 1)


def test_workers_end_with_the_process_that_began_them(tmp_path):
    """However it ends: else two comparisons might write to one folder."""
    script = (
        "from pathlib import Path\n"
        "from test_workers import Made, run_in_processes\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "def told(_name, _threads, process):\n"
        "    (folder / 'worker').write_text(str(process))\n"
        "run_in_processes([[('a', '', 'endless')]], Made(folder), told, print, 1)\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    begun = subprocess.Popen([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": path})
    worker = tmp_path / "worker"
    wait_for(lambda: worker.exists() and worker.read_text())
    begun.kill()
    begun.wait()
    wait_for(lambda: not alive(int(worker.read_text())))


def wait_for(happened, seconds=60):
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.05)


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # One that has ended and that nobody asks about is still in the table.
    status = Path(f"/proc/{process}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def experiment(tmp_path):
    save_network(make_foreign(), tmp_path / "network")
    path = tmp_path / "experiment.toml"
    path.write_text(EXPERIMENT.format(network=tmp_path / "network"))
    return load_experiment(path)


def test_the_same_results_as_in_one_process(experiment, tmp_path):
    there = compare(experiment, tmp_path / "there", workers=2, pages=True)
    here = compare(experiment, tmp_path / "here")
    assert by_cell(there).keys() == by_cell(here).keys()
    for key, cell in by_cell(here).items():
        for score in ("accuracy", "n_correct", "loss", "spikes_per_trial", "valid"):
            assert by_cell(there)[key][score] == cell[score], (key, score)
    assert (tmp_path / "there" / "report" / "index.html").exists()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"workers": 0}, "the number of workers must be positive"),
        ({"workers": 2, "engine": "ray"}, "Ray has as many workers as its cluster has cores"),
    ],
)
def test_workers_that_cannot_be(experiment, tmp_path, options, what):
    with pytest.raises(ConfigError, match=what):
        compare(experiment, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
