"""Ray gives the results of one process, starts again what died, and passes errors on."""

import os
import signal
from functools import partial

import pytest
import test_protocols
from test_comparison import by_cell, experiment  # noqa: F401 (a fixture)
from test_protocols import foreign  # noqa: F401 (a fixture)

from v1builder.experiments import compare
from v1builder.experiments.engines import run_on_ray, silent
from v1builder.schema.errors import ConfigError, StorageError

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()


def calls():
    """Makes workers whose jobs are functions, of a local class: Ray cannot import this module."""

    class Calls:
        def __init__(self, _progress):
            pass

        def do(self, job):
            job()

    return Calls


def test_the_same_results_as_in_one_process(experiment, tmp_path):  # noqa: F811
    seen = []
    there = compare(
        experiment(), tmp_path / "ray", engine="ray", progress=lambda *p: seen.append(p)
    )
    here = compare(experiment(), tmp_path / "local")
    assert by_cell(there).keys() == by_cell(here).keys()
    for key, cell in by_cell(here).items():
        other = by_cell(there)[key]
        for score in ("accuracy", "n_correct", "loss", "spikes_per_trial"):
            assert other[score] == pytest.approx(cell[score], rel=1e-6), (key, score)
    assert ("conditions on Ray", 6, 6) in seen


others = test_protocols.experiment


def test_learning_rates_are_chosen_as_in_one_process(others, tmp_path):
    """Candidates are stages of their own: two of baselines, two of what follows them."""
    settings = others(
        protocols=("retrain", "finetune"), factors=(0.333, 3.0), seeds=(1, 2), matching="raw"
    )
    seen = []
    there = compare(settings, tmp_path / "ray", engine="ray", progress=lambda *p: seen.append(p))
    here = compare(settings, tmp_path / "local")
    for key, cell in by_cell(here).items():
        other = by_cell(there)[key]
        assert other["learning_rate_factor"] == cell["learning_rate_factor"]
        for score in ("accuracy", "loss", "spikes_per_trial"):
            assert other[score] == pytest.approx(cell[score], rel=1e-6), (key, score)
    # Candidates of 4 conditions of seed 1, both factors in one job; then 4 conditions of 2 seeds.
    assert seen[-1] == ("conditions on Ray", 12, 12)


def test_a_job_whose_worker_dies_is_started_again(tmp_path):
    def dies_once(folder):
        if not (folder / "died").exists():
            (folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        (folder / "done").touch()

    run_on_ray([[partial(dies_once, tmp_path)]], calls(), silent)
    assert (tmp_path / "done").exists()


def test_what_depends_on_a_job_comes_after_it(tmp_path):
    def first(path):
        path.touch()

    def then(path):
        assert path.exists()
        path.with_suffix(".seen").touch()

    run_on_ray([[partial(first, tmp_path / "a")], [partial(then, tmp_path / "a")]], calls(), silent)
    assert (tmp_path / "a.seen").exists()


def test_an_error_of_a_job_is_the_error_of_the_run(tmp_path):
    def fails():
        raise StorageError.of("the disk is full", "/shared/run", fix="make room")

    def never():
        (tmp_path / "late").touch()

    with pytest.raises(StorageError, match="the disk is full"):
        run_on_ray([[fails], [never]], calls(), silent)
    assert not (tmp_path / "late").exists()


def test_an_unknown_engine_names_the_known(experiment, tmp_path):  # noqa: F811
    with pytest.raises(ConfigError, match="did you mean 'ray'"):
        compare(experiment(), tmp_path / "run", engine="rai")
