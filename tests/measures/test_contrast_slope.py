"""The slope of the contrast response of spikes with known rates."""

import numpy as np
import pytest
from recorded import cells_of, design_of, parts, whole

from v1builder.measures.contrast_slope import ContrastSlope
from v1builder.measures.groups import measured_groups

CONTRASTS = np.array([0.05, 0.1, 0.2, 0.4, 0.8])
N_STEPS = 500  # so that a spike per trial is 2 Hz
CELLS = cells_of(("i1Htr3a", "VisL1", 1), ("i23Sst", "VisL23", 2), ("i23Vip", "VisL23", 2))


def spikes_of(counts):
    """[trial, step, cell] with these counts [trial, cell]."""
    return np.arange(N_STEPS)[None, :, None] < np.asarray(counts)[:, None]


def measure_of(counts, condition, contrasts, cells=None):
    spikes = spikes_of(counts)
    measure = ContrastSlope(design_of(spikes, cells, contrasts=contrasts))
    measure.see(whole(spikes, condition=condition))
    return measure


def test_a_line_in_octaves_has_its_slope_and_groups_that_of_their_mean():
    """Whole spikes per doubling; with directions that differ, and trials without a contrast between."""
    octave = np.log2(CONTRASTS / 0.05)
    lines = np.stack([20 + 0 * octave, 5 + 3 * octave, 9 + octave, 10 - octave, 8 - 2 * octave], 1)
    contrasts = np.append(np.repeat(CONTRASTS, 2), [np.nan, 0.0])
    condition = np.tile(np.arange(12), 2)
    np.random.default_rng(0).shuffle(condition)
    counts = np.where(condition[:, None] < 10, lines[np.minimum(condition // 2, 4)], 99).astype(int)
    # Two directions of a contrast differ; their mean is on the line.
    counts[condition == 0] += 2
    counts[condition == 1] -= 2
    measure = measure_of(counts, condition, contrasts, CELLS)
    np.testing.assert_allclose(measure.of_cells()[0], [0, 6, 2, -2, -4], atol=1e-12)
    found = measure.values(measured_groups(CELLS, "class"))
    assert dict(zip(measured_groups(CELLS, "class").labels, found.value, strict=True)) == (
        pytest.approx({"Htr3a": 0.0, "Sst": 4.0, "Vip": -3.0})
    )


def test_it_is_the_line_of_least_squares():
    rng = np.random.default_rng(1)
    contrasts = np.array([0.05, 0.1, 0.2, 0.4, 0.6, 0.8])
    counts = rng.integers(0, 30, (24, 3))
    condition = np.arange(24) % 6
    value, _ = measure_of(counts, condition, contrasts).of_cells()
    means = np.stack([counts[condition == k].mean(axis=0) * 2.0 for k in range(6)])
    np.testing.assert_allclose(value, np.polyfit(np.log2(contrasts), means, 1)[0])


def test_parts_of_unequal_trials_are_the_whole():
    rng = np.random.default_rng(2)
    spikes = rng.random((9, 60, 4)) < 0.2
    condition = np.array([0, 1, 2, 0, 0, 2, 1, 1, 1])
    design = design_of(spikes, contrasts=np.array([0.1, 0.2, 0.9]))
    one, several = ContrastSlope(design), ContrastSlope(design)
    one.see(whole(spikes, condition=condition))
    for part in parts(spikes, 4, 13, condition=condition):
        several.see(part)
    np.testing.assert_array_equal(one.of_cells()[0], several.of_cells()[0])


@pytest.mark.parametrize(
    ("contrasts", "condition", "reason"),
    [
        (None, [0, 1], "nothing that was shown has a contrast"),
        (np.array([0.0, np.nan]), [0, 1], "nothing that was shown has a contrast"),
        (np.array([0.8, 0.8]), [0, 1], "all that was shown has the same contrast (0.8)"),
        (np.array([0.05, 0.8]), [1, 1], "no trial with contrast 0.05"),
    ],
)
def test_what_cannot_be_said_has_a_reason(contrasts, condition, reason):
    value, said = measure_of(np.ones((2, 3), int), condition, contrasts).of_cells()
    assert np.isnan(value).all()
    assert said == reason
