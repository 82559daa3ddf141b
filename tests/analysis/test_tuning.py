import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v1builder.analysis.tuning import (
    dsi_pref_null,
    dsi_vector,
    osi_pref_orth,
    osi_vector,
    preferred_direction,
)
from v1builder.schema.errors import ConfigError

EIGHT = np.arange(8) * 45.0
INDICES = (osi_vector, dsi_vector, osi_pref_orth, dsi_pref_null)


def curve(directions, mean, first=0.0, second=0.0, at=0.0):
    """mean + first cos(theta - at) + second cos 2(theta - at), one cell."""
    angle = np.deg2rad(directions - at)
    return (mean + first * np.cos(angle) + second * np.cos(2 * angle))[:, None]


@settings(deadline=None)
@given(
    st.floats(0, 360),
    st.floats(0, 0.5),
    st.floats(0, 0.5),
    st.sampled_from([8, 12, 16]),
    st.floats(0.01, 100),
)
def test_vector_indices_of_cosine_tuning_are_half_the_modulation(at, first, second, n, mean):
    """sum r e^(ik theta) of m + a cos k(theta - at) is n a/2, and sum r is n m."""
    directions = np.arange(n) * 360 / n
    rates = curve(directions, mean, first * mean, second * mean, at)
    np.testing.assert_allclose(dsi_vector(rates, directions), first / 2, atol=1e-9)
    np.testing.assert_allclose(osi_vector(rates, directions), second / 2, atol=1e-9)


def test_contrast_indices_of_cosine_tuning():
    """At the preferred direction: R_pref = m + a + b, R_null = m - a + b, R_orth = m - b."""
    rates = curve(EIGHT, 10.0, 3.0, 4.0, at=90.0)
    np.testing.assert_allclose(osi_pref_orth(rates, EIGHT), (17 - 6) / (17 + 6))
    np.testing.assert_allclose(dsi_pref_null(rates, EIGHT), (17 - 11) / (17 + 11))
    np.testing.assert_array_equal(preferred_direction(rates, EIGHT), [90.0])


def test_the_two_definitions_differ_as_documented():
    rates = curve(EIGHT, 1.0, second=1.0, at=45.0)
    assert osi_vector(rates, EIGHT) == pytest.approx(0.5)
    assert osi_pref_orth(rates, EIGHT) == pytest.approx(1.0)


def test_extremes():
    rates = np.zeros((8, 4))
    rates[3, 0] = 5.0  # one direction only
    rates[[1, 5], 1] = 2.0  # one orientation only
    rates[:, 2] = 7.0  # no preference; cell 3 is silent
    np.testing.assert_allclose(osi_vector(rates, EIGHT), [1, 1, 0, np.nan], atol=1e-12)
    np.testing.assert_allclose(dsi_vector(rates, EIGHT), [1, 0, 0, np.nan], atol=1e-12)
    np.testing.assert_allclose(osi_pref_orth(rates, EIGHT), [1, 1, 0, np.nan])
    np.testing.assert_allclose(dsi_pref_null(rates, EIGHT), [1, 0, 0, np.nan])
    np.testing.assert_array_equal(preferred_direction(rates, EIGHT), [135, 45, 0, np.nan])


@settings(deadline=None)
@given(st.lists(st.floats(0, 100), min_size=8, max_size=8), st.integers(0, 7), st.floats(0.1, 10))
def test_indices_lie_in_range_and_ignore_scale_and_rotation(values, turn, scale):
    rates = np.array(values)[:, None]
    if 0 < rates.sum() < 1e-6:
        return
    second, first = sorted(values)[-2:]
    if 0 < first - second < 1e-9 * first:
        return  # which direction is preferred is then a matter of rounding
    for index in INDICES:
        value = index(rates, EIGHT)[0]
        assert np.isnan(value) == (rates.sum() == 0)
        if not np.isnan(value):
            assert -1e-12 <= value <= 1 + 1e-12
            assert index(rates * scale, EIGHT)[0] == pytest.approx(value, abs=1e-9)
            if len(set(values)) == 8:
                assert index(np.roll(rates, turn, axis=0), EIGHT)[0] == pytest.approx(
                    value, abs=1e-9
                )


def test_what_is_not_defined_is_refused():
    four, six = np.arange(4) * 90.0, np.arange(6) * 60.0
    with pytest.raises(ConfigError, match="4 directions"):
        osi_vector(np.ones((4, 1)), four)
    assert osi_pref_orth(np.ones((4, 1)), four) == 0
    with pytest.raises(ConfigError, match="90 degrees"):
        osi_pref_orth(np.ones((6, 1)), six)
    assert dsi_pref_null(np.ones((6, 1)), six) == 0
    with pytest.raises(ConfigError, match="180 degrees"):
        dsi_pref_null(np.ones((5, 1)), np.arange(5) * 72.0)
    for index in INDICES:
        with pytest.raises(ConfigError, match="spaced by"):
            index(np.ones((8, 1)), np.arange(8) * 22.5)
        with pytest.raises(ConfigError, match="none negative"):
            index(-np.ones((8, 1)), EIGHT)
        with pytest.raises(ConfigError, match="none negative"):
            index(np.ones((7, 1)), EIGHT)
