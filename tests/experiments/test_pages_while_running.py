"""The page of a comparison that is still running: what finished seeds gave, and no tests."""

import dataclasses
import json

import numpy as np
import pytest
from handmade import make_foreign

from v1builder.experiments import compare, so_far
from v1builder.load import save_network
from v1builder.report import write_report
from v1builder.report.column import read_column
from v1builder.train import load_experiment

EXPERIMENT = """
name = "a test"
seeds = [1, 2]
[network]
path = "{network}"
[task]
name = "orientation_discrimination"
n_deltas = 2
gray_before_ms = 10.0
on_ms = 40.0
gray_after_ms = 10.0
response_ms = [10.0, 50.0]
[model]
trainable = ["v1_to_v1.weight"]
[readout]
populations = ["Pyr*"]
pool_size = 6
radius_um = "all"
[train]
steps = 1
batch_size = 4
rate_weight = 0.0
validate_every = 1
validation_trials = 4
test_trials = 4
[measure]
names = ["mean_rate"]
[compare]
ablations = ["intact", "no_asc"]
protocols = ["retrain"]
matching = "raw"
matching_trials = 2
background = "ratio"
"""


def placed():
    """A foreign network whose cells say where they are."""
    network = make_foreign()
    cells, depth = network.cells, -np.linspace(100.0, 500.0, network.n_cells)
    places = {"x": np.zeros_like(depth), "y": depth, "z": np.ones_like(depth)}
    cells = dataclasses.replace(cells, attributes=cells.attributes | places)
    return dataclasses.replace(network, nodes=network.nodes | {cells.name: cells})


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """A run, what its page was made from each time, and one page in the middle."""
    folder = tmp_path_factory.mktemp("followed")
    save_network(placed(), folder / "network")
    (folder / "experiment.toml").write_text(EXPERIMENT.format(network=folder / "network"))
    run, seen, pages = folder / "run", [], []

    def page(run):
        path = run / "unfinished.json"
        seen.append(json.loads(path.read_text()) if path.exists() else None)
        if len(seen) == 3:
            pages.append(write_report(run).read_text())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(so_far, "write_report", page)
        patch.setattr(so_far, "_SHARE", float("inf"))
        comparison = compare(load_experiment(folder / "experiment.toml"), run, pages=True)
    return run, comparison, seen, pages[0]


def test_there_is_a_page_after_every_seed_and_at_the_end(followed):
    run, _, seen, _ = followed
    done = [(one["unfinished"]["done"], len(one["cells"])) for one in seen[:-1]]
    assert done == [(0, 1), (0, 2), (1, 2), (2, 4)]  # baselines of both seeds come first
    assert seen[-1] is None
    assert not (run / "unfinished.json").exists()


def test_nothing_is_tested_before_the_end(followed):
    _, comparison, seen, page = followed
    assert comparison["verdicts"]
    for one in seen[:-1]:
        assert not {"sentence", "verdicts", "power", "co_primary"} & set(one)
        tested = [
            k for row in one["differences"] for k in row if k.startswith("p_") or k == "verdict"
        ]
        assert not tested
    assert "Not finished: 1 of 2 seeds have all their conditions" in page
    assert 'class="verdict helps"' not in page
    assert 'id="learning-retrain"' in page


def test_finished_seeds_have_the_numbers_of_the_whole(followed):
    _, comparison, seen, _ = followed
    assert seen[3]["cells"] == json.loads(json.dumps(comparison["cells"]))
    assert seen[3]["summary"] == json.loads(json.dumps(comparison["summary"]))


def test_the_run_keeps_its_column(followed):
    run, _, _, _ = followed
    column = read_column(run / "column.npz")
    assert column is not None
    recurrent = make_foreign().edges["v1_to_v1"]
    pairs = set(zip(recurrent.source_index.tolist(), recurrent.target_index.tolist(), strict=True))
    kept = list(zip(column.source.tolist(), column.target.tolist(), strict=True))
    assert set(kept) == pairs
    assert len(kept) == len(pairs)
    np.testing.assert_allclose(column.y, placed().cells.attributes["y"])


def test_pages_take_a_small_part_of_the_time(tmp_path, monkeypatch):
    made = []
    clock = iter(
        [0.0, 10.0, 100.0, 250.0, 251.0]
    )  # a page that takes 10 s at 0, asked for at 100 and 250
    monkeypatch.setattr(so_far.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(so_far, "write_report", made.append)
    monkeypatch.setattr(so_far, "untested", lambda found, **_: found)
    pages = so_far.Pages(tmp_path)
    for _ in range(3):
        pages.refresh(dict, done=1, seeds=3)
    assert len(made) == 2
