"""What an ablation does to activity, in a column large enough for the bars: looked at before any accuracy."""

import pytest

from v1builder import pipeline
from v1builder.experiments.operating_table import measure


def test_cells_that_are_moved_or_averaged_leave_the_operating_point_where_it_is(tmp_path):
    """R = 200 um, untrained, no bias currents; with weights left in pA 40 % of the cells were silent."""
    folder = pipeline.build(tmp_path / "net", radius=200, seed=1)
    intact, control, mean = measure(
        [folder], ["shuffle_within", "mean(population)"], n_trials=8, calibration_seconds=8.0
    )
    assert control.reasons == ()
    assert mean.reasons == ()
    assert control.mean("silent_share") == pytest.approx(intact.mean("silent_share"), abs=0.02)
    assert intact.mean("spontaneous_Hz") > 0.2


def test_weights_left_in_pA_break_it(tmp_path):
    """The negative control of the control: what carrying is there for, found by the same bars."""
    folder = pipeline.build(tmp_path / "net", radius=50, seed=1)
    intact, control = measure([folder], ["shuffle_within"], n_trials=8, carry="none")
    assert not control.valid
    assert control.mean("spontaneous_Hz") > 3 * intact.mean("spontaneous_Hz")
    assert control.mean("silent_share") > intact.mean("silent_share") + 0.1
