"""Selectivities are compared as recordings of the same cells would show them, and move the right way."""

import dataclasses

import numpy as np
import pytest
import torch
from columns import N_E, N_I, network, seen, setting, units

from v1builder.analysis.tuning import dsi_vector, osi_vector
from v1builder.objectives.dsi import DSISettings
from v1builder.objectives.osi import OSISettings
from v1builder.schema.errors import ConfigError, DataError

N = N_E + N_I
DIRECTIONS = np.arange(8) * 45.0
THETA = np.deg2rad(DIRECTIONS)


def tuned(rng, rate=4.0, depth=0.6, n=N):
    """[direction, cell] Hz: a cosine of the orientation, of depth 2 OSI, round a preferred one."""
    preferred = rng.uniform(0, np.pi, n)
    return rate * (1 + depth * np.cos(2 * (THETA[:, None] - preferred)))


def fed(objective, where, rates, rng, n_batches, n_trials=16, grad=False):
    """Show batches of Poisson cells, two trials of each direction; the last value, and its gradient."""
    window = where.task.windows[-1]
    seconds = (window.stop - window.start) / 1000
    conditions = where.task.settings._sets("train")[1]
    value, spikes = None, None
    for step in range(n_batches):
        trials = where.task.draw(n_trials, "train", torch.Generator().manual_seed(step))
        of = conditions[trials.condition].numpy()
        counts = rng.poisson(rates[of] * seconds)
        spikes = torch.zeros(n_trials, where.task.n_steps, rates.shape[1], dtype=torch.float64)
        spikes[:, window.start] = torch.from_numpy(counts.astype(float))
        spikes.requires_grad_(grad)
        value = objective(seen(spikes, trials.condition, seed=step))
    if grad:
        value.backward()
        return value.item(), spikes.grad[:, window.start], of
    return value.item()


@pytest.mark.parametrize(
    ("settings", "index"), [(OSISettings, osi_vector), (DSISettings, dsi_vector)]
)
@pytest.mark.parametrize("n_batches", [8, 40])
def test_an_index_is_as_large_as_after_240_seconds(settings, index, n_batches):
    """Also when a quarter of that was seen, when raw indices of untuned cells are twice as large."""
    rng = np.random.default_rng(1)
    rates = np.tile(tuned(rng), (1, 2))
    where = setting(of=network(2 * N_E, 2 * N_I))
    objective = settings().make(where)
    fed(objective, where, rates, rng, n_batches)
    shown = objective._remembered()[0].numpy()
    recorded = np.concatenate(
        [index(rng.poisson(rates * 30.0) / 30.0, DIRECTIONS) for _ in range(5)]
    )
    expected = np.sqrt((recorded**2).mean())
    found = np.sqrt((shown**2).mean())
    untuned = settings is DSISettings
    if n_batches == 8 and untuned:
        raw = index(rng.poisson(rates * 8.0) / 8.0, DIRECTIONS)
        assert found < 0.8 * np.sqrt((raw**2).mean())
        assert found < 1.5 * expected
        return
    assert found == pytest.approx(expected, rel=0.12)
    if n_batches == 40:  # then the noise of single cells is that of the recordings, too
        assert shown.std() == pytest.approx(recorded.std(), rel=0.2)


def at(osi, rng):
    """[direction, cell] rates at these orientation indices."""
    preferred = rng.uniform(0, np.pi, len(osi))
    return 6 * (1 + 2 * osi * np.cos(2 * (THETA[:, None] - preferred)))


def test_cells_tuned_as_recorded_ones_cost_little_untuned_ones_much():
    """As recorded: an index that counts of 240 s show. 0 cannot be: which cell is which stays chance."""
    rng = np.random.default_rng(2)
    of = network(300, 100)
    where = setting(of=of)
    table = where.units[where.units["split"] == "target"]
    kinds = {"L2/3 Exc": 300, "L2/3 PV": 100}
    osi = np.concatenate(
        [
            np.quantile(table[table["cell_type"] == kind]["osi"], (np.arange(n) + 0.5) / n)
            for kind, n in kinds.items()
        ]
    ).clip(max=0.49)  # of a cosine .5 is the most
    found = {}
    for name, own in {"recorded": osi, "half": osi / 2, "flat": np.full(400, 0.02)}.items():
        found[name] = fed(OSISettings().make(where), where, at(own, rng), rng, 40)
    assert found["recorded"] < 0.03
    assert found["half"] > 4 * found["recorded"]
    assert found["flat"] > 8 * found["recorded"]


def test_spikes_at_the_preferred_orientation_are_asked_for_where_cells_are_too_flat():
    rng = np.random.default_rng(3)
    where = setting()
    preferred = np.repeat(np.pi / 2, N)  # 90 and 270 degrees
    flat = 6 * (1 + 0.15 * np.cos(2 * (THETA[:, None] - preferred)))
    _, grad, of = fed(OSISettings().make(where), where, flat, rng, 30, grad=True)
    wanted = -grad.numpy().mean(axis=1)  # by trial
    best, worst = np.isin(of, (2, 6)), np.isin(of, (0, 4))
    assert wanted[best].mean() > 0 > wanted[worst].mean()
    sharp = 6 * (1 + 0.98 * np.cos(2 * (THETA[:, None] - preferred)))
    _, grad, of = fed(OSISettings().make(where), where, sharp, rng, 30, grad=True)
    too_sharp = -grad.numpy().mean(axis=1)
    assert too_sharp[best].mean() < 0 < too_sharp[worst].mean()
    # Moved along the gradient the index itself moves so: by its derivative.
    step = 0.05 * np.array([wanted[of == k].mean() for k in range(8)])[:, None]
    step = step / np.abs(step).max()
    assert osi_vector(flat + step, DIRECTIONS).mean() > osi_vector(flat, DIRECTIONS).mean()


def test_silent_cells_have_no_index_and_are_left_to_the_rates():
    rng = np.random.default_rng(4)
    where = setting()
    rates = tuned(rng)
    rates[:, ::2] = 0.0
    value, grad, _ = fed(OSISettings().make(where), where, rates, rng, 10, grad=True)
    assert np.isfinite(value)
    assert not grad[:, ::2].any()
    assert grad[:, 1::2].abs().sum() > 0


def test_it_says_nothing_before_all_directions_were_seen():
    where = setting()
    objective = OSISettings().make(where)
    spikes = torch.ones(4, where.task.n_steps, N, dtype=torch.float64)
    directions = where.task.settings._sets("train")[1]
    few = torch.nonzero(directions < 4)[:4, 0]
    assert objective(seen(spikes, few)).item() == 0


@pytest.mark.parametrize(("change", "error", "said"), [
    ({"task": "orientation_discrimination"}, ConfigError, "drifting gratings in 8"),
    ({"task": "grating_tuning", "n_directions": 4}, ConfigError, "0, 90, 180, 270"),
    ({"with_units": False}, DataError, "no recorded units"),
    ({"of": network(7, 7)}, ConfigError, "too narrow for tuning to 8 directions"),
    ({"judged": np.arange(N) < 7}, ConfigError, "larger core_radius_um"),
])  # fmt: skip
def test_what_it_cannot_look_at_is_one_message(change, error, said):
    with pytest.raises(error, match=said) as found:
        OSISettings().make(setting(**change))
    assert len(found.value.problems) == 1


def test_a_class_without_recordings_is_named():
    where = setting()
    where = dataclasses.replace(where, units=units().query("cell_type != 'L2/3 PV'"))
    with pytest.raises(DataError, match="'i23Pvalb'") as found:
        OSISettings().make(where)
    assert len(found.value.problems) == 1


def test_blind_networks_are_refused():
    from columns import sources

    blind = {"bkg": sources()["bkg"]}
    with pytest.raises(ConfigError, match="no input sees"):
        OSISettings().make(setting(inputs=blind))
