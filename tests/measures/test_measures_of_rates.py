"""Mean rate, silent share, spread of rates, unequal cells, spikes per trial: by hand."""

import numpy as np
import pytest
from recorded import cells_of, design_of, whole

from v1builder.measures import MEASURES
from v1builder.measures.groups import measured_groups

#: Trials, steps of .5 ms.
SHAPE = 4, 250
SECONDS = 4 * 250 * 0.5 / 1000


def measured(name, counts, level="network", cells=None):
    """Values of a measure of cells that spike `counts` times in all."""
    spikes = np.zeros((*SHAPE, len(counts)), bool)
    for cell, count in enumerate(counts):
        spikes[..., cell].reshape(-1)[:count] = True
        assert spikes[..., cell].sum() == count
    cells = cells_of(("e23Cux2", "VisL23", len(counts))) if cells is None else cells
    measure = MEASURES[name](design_of(spikes, cells, dt=0.5))
    measure.see(whole(spikes))
    return measure.values(measured_groups(cells, level))


def test_mean_rate():
    cells = cells_of(("e23Cux2", "VisL23", 3), ("e4Rorb", "VisL4", 1))
    counts = [0, 4, 8, 20]
    assert measured("mean_rate", counts, cells=cells).value == [8 / SECONDS]
    found = measured("mean_rate", counts, "population", cells)
    assert (found.value.tolist(), found.n.tolist()) == ([4 / SECONDS, 20 / SECONDS], [3, 1])
    found = measured("mean_rate", counts, "cell", cells)
    assert found.value.tolist() == [count / SECONDS for count in counts]


def test_silent_share():
    found = measured("silent_share", [0, 4, 0, 0, 1])
    assert (found.value.tolist(), found.n.tolist()) == ([0.6], [5])


def test_spikes_per_trial():
    found = measured("spikes_per_trial", [0, 4, 8, 30])
    assert (found.value.tolist(), found.n.tolist()) == ([42 / 4], [4])


def test_rate_cv_is_within_populations_and_weighted_by_their_size():
    """Rates of 1 and 3 alternating have a CV of .5, equal ones of 0; a population of 19 does not count."""
    cells = cells_of(("e23Cux2", "VisL23", 40), ("e4Rorb", "VisL4", 20), ("i4Sst", "VisL4", 19))
    counts = [1, 3] * 20 + [200] * 20 + list(range(19))
    assert measured("rate_cv", counts, cells=cells).value == pytest.approx([0.5 * 40 / 60])
    found = measured("rate_cv", counts, "population", cells)
    assert found.value.tolist() == pytest.approx([0.5, 0.0, np.nan], nan_ok=True)
    assert found.n.tolist() == [40, 20, 0]
    assert found.reason == ("", "", "no population of at least 20 cells")
    found = measured("rate_cv", counts, "layer", cells)
    assert found.value.tolist() == pytest.approx([0.5, 0.0])
    assert found.n.tolist() == [40, 20]
    silent = measured("rate_cv", [0] * 79, "network", cells)
    assert silent.reason == ("no population of at least 20 cells fires",)


def test_top10_share():
    """Equal cells: a tenth. One cell alone: everything. Of ten cells one is the top."""
    assert measured("top10_share", [5] * 30).value == pytest.approx([0.1])
    assert measured("top10_share", [0] * 19 + [7]).value == [1.0]
    assert measured("top10_share", [*range(9), 64]).value == pytest.approx([64 / 100])
    assert measured("top10_share", [1] * 9).reason == ("fewer than 10 cells",)
    assert measured("top10_share", [0] * 10).reason == ("no spikes",)
