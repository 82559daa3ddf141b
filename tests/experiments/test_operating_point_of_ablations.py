"""What an ablation does to activity, held against the bars: looked at before any accuracy."""

import pytest

from v1builder import pipeline
from v1builder.experiments import bench
from v1builder.experiments.operating_table import measure, write


@pytest.fixture(scope="module")
def column(tmp_path_factory):
    return pipeline.build(tmp_path_factory.mktemp("column") / "net", radius=50, seed=1)


def test_cells_that_are_moved_or_averaged_leave_the_operating_point_where_it_is(column):
    """Untrained, no bias currents; with weights left in pA 40 % of the cells were silent."""
    intact, control, mean = measure(
        [column], ["shuffle_within", "mean(population)"], n_trials=16, calibration_seconds=12.0
    )
    for ablated in (control, mean):
        assert ablated.reasons == ()
        assert ablated.mean("silent_share") == pytest.approx(intact.mean("silent_share"), abs=0.03)
    assert intact.mean("spontaneous_Hz") > 0.2


def test_weights_left_in_pA_break_it(column):
    """The negative control of the control: what carrying is there for, found by the same bars."""
    intact, control = measure([column], ["shuffle_within"], n_trials=8, carry="none")
    assert not control.valid
    assert control.mean("spontaneous_Hz") > 3 * intact.mean("spontaneous_Hz")
    assert control.mean("silent_share") > intact.mean("silent_share") + 0.1


def test_an_interrupted_table_goes_on(column, tmp_path, monkeypatch):
    def interrupt(_what, done, _total):
        if done == 2:
            raise KeyboardInterrupt

    out, few = tmp_path / "table.md", {"n_trials": 1, "background": "ratio"}
    ablations = ["no_asc", "shuffle_within"]
    with pytest.raises(KeyboardInterrupt):
        measure([column], ablations, out=out, progress=interrupt, **few)
    made, point = [], bench.Bench.point
    monkeypatch.setattr(bench.Bench, "point", lambda *args: made.append(args) or point(*args))
    rows = measure([column], ablations, out=out, **few)
    assert len(made) == 1  # the second ablation
    assert rows == measure([column], ablations, **few)
    write(rows, out, "table")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.json", "table.md"]


@pytest.mark.slow
def test_so_they_do_in_a_column_large_enough_for_the_bars(tmp_path):
    """R = 200 um."""
    folder = pipeline.build(tmp_path / "net", radius=200, seed=1)
    intact, control, mean = measure(
        [folder], ["shuffle_within", "mean(population)"], n_trials=8, calibration_seconds=8.0
    )
    assert control.reasons == ()
    assert mean.reasons == ()
    assert control.mean("silent_share") == pytest.approx(intact.mean("silent_share"), abs=0.02)
