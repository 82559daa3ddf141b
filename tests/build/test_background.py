import numpy as np
import pytest
from scipy import stats

from v1builder.build.background import background_edges
from v1builder.schema.errors import ConfigError
from v1builder.schema.recipe import BackgroundRecipe


def test_every_cell_receives_four_different_units():
    blocks = list(background_edges(40_000, 1, BackgroundRecipe()))
    assert len(blocks) > 1
    source, target = (np.concatenate(part) for part in zip(*blocks, strict=True))
    np.testing.assert_array_equal(target, np.repeat(np.arange(40_000), 4))
    assert np.all(np.diff(source.reshape(-1, 4), axis=1) > 0)
    assert stats.chisquare(np.bincount(source, minlength=100)).pvalue > 1e-3
    other = next(iter(background_edges(40_000, 2, BackgroundRecipe())))[0]
    assert np.any(other != blocks[0][0])


def test_more_units_per_cell_than_units():
    with pytest.raises(ConfigError, match="5 of 3"):
        next(iter(background_edges(10, 1, BackgroundRecipe(n_units=3, n_per_cell=5))))
