"""Balance of excitation and inhibition against closed forms: two sines of known lag."""

import numpy as np
import pytest
from recorded import design_of, parts, whole

from v1builder.measures import measure_named
from v1builder.measures.groups import measured_groups

PERIOD, N_STEPS = 50, 1000
E_MEAN, I_MEAN = 60.0, 30.0


def sines(lag, n_cells=1, n_trials=2):
    """E = 60 + 20 sin wt on two ports, |I| = 30 + 10 sin w(t - lag) on a third."""
    t = np.arange(N_STEPS)
    w = 2 * np.pi / PERIOD
    E, I = E_MEAN + 20 * np.sin(w * t), I_MEAN + 10 * np.sin(w * (t - lag))  # noqa: E741
    ports = np.stack([0.25 * E, -I, 0.75 * E], axis=-1)
    return np.broadcast_to(ports[None, :, None], (n_trials, N_STEPS, n_cells, 3)).copy()


def value_of(name, currents, dt=1.0, cut=None):
    silent = np.zeros(currents.shape[:3])
    design = design_of(silent, dt=dt)
    measure = measure_named(name)(design)
    given = {"spikes": silent, "currents": currents}
    activities = (
        [whole(**given)] if cut is None else parts(trials_at_once=1, steps_at_once=cut, **given)
    )
    for activity in activities:
        measure.see(activity)
    found = measure.values(measured_groups(design.cells, "network"))
    return found.value[0], found.reason[0]


@pytest.mark.parametrize("lag", [-8, 0, 3, 11])
def test_two_sines(lag):
    """The share is that of the means, the correlation cos(w lag), the lag itself."""
    currents = sines(lag)
    assert value_of("excitation_share", currents)[0] == pytest.approx(60 / 90)
    expected = np.cos(2 * np.pi * lag / PERIOD)
    assert value_of("ei_correlation", currents)[0] == pytest.approx(expected, abs=1e-9)
    assert value_of("ei_lag", currents)[0] == lag


@pytest.mark.parametrize("cut", [7, 10, 400])
def test_a_lag_goes_across_the_parts_of_a_trial(cut):
    assert value_of("ei_lag", sines(3), cut=cut)[0] == 3
    assert value_of("ei_lag", sines(-8), cut=cut)[0] == -8


def test_lags_are_in_ms():
    assert value_of("ei_lag", sines(10), dt=0.5)[0] == 5.0
    assert value_of("ei_lag", sines(6), dt=2.0)[0] == 12.0


def test_lags_do_not_go_across_trials():
    """Inhibition copies the excitation of the trial before: nothing of that is correlation within trials."""
    rng = np.random.default_rng(0)
    E = rng.uniform(0, 1, (400, 40))
    I = np.vstack([E[:1], E[:-1]])  # noqa: E741
    value, _ = value_of("ei_correlation", np.stack([E, -I], axis=-1)[:, :, None], cut=8)
    assert abs(value) < 0.05


def test_no_inhibition_is_no_correlation():
    currents = sines(0)
    currents[..., 1] = 0
    assert value_of("excitation_share", currents)[0] == 1.0
    for name in ("ei_correlation", "ei_lag"):
        value, reason = value_of(name, currents)
        assert np.isnan(value)
        assert "does not vary" in reason
    value, reason = value_of("excitation_share", 0 * currents)
    assert (np.isnan(value), reason) == (True, "no synaptic currents")


def test_a_peak_beyond_the_lags_is_none():
    """A slow rise: the correlation is largest at the end of the lags."""
    t = np.arange(N_STEPS, dtype=float)
    E, I = np.sin(t / 200), np.sin((t - 100) / 200)  # noqa: E741
    currents = np.stack([2 + E, -2 - I], axis=-1)[None, :, None]
    value, reason = value_of("ei_lag", currents)
    assert np.isnan(value)
    assert "no peak" in reason
