"""What every measure must do, whoever wrote it: this file tests a new one the moment its file exists."""

import numpy as np
import pandas as pd
import pytest
from recorded import N_CELLS, POPULATIONS, cells_of, design_of, parts, whole

from v1builder.load.groups import Groups
from v1builder.measures import MEASURES, measure_named
from v1builder.measures.groups import GROUP_LEVELS, measured_groups
from v1builder.measures.measure import NEEDS
from v1builder.schema.errors import ConfigError

N_STEPS = 300
DIRECTIONS = np.append(np.arange(16) * 22.5, np.nan)
CONTRASTS = np.append(np.tile([0.1, 0.8], 8), np.nan)
#: Two directions often, the others and one still condition seldom.
CONDITION = np.repeat(np.arange(17), [12, 12, *[2] * 14, 4])
N_TRIALS = len(CONDITION)
CHANGE = 50


@pytest.fixture(scope="module")
def observed():
    """Spikes at many rates, tuned, with silent cells and a gain that wanders in every trial."""
    rng = np.random.default_rng(0)
    condition = rng.permutation(CONDITION)
    angle = np.deg2rad(np.nan_to_num(DIRECTIONS[condition]))[:, None]
    rate = rng.gamma(1.0, 0.03, N_CELLS) * (1 + np.cos(angle - rng.uniform(0, 7, N_CELLS)))
    rate *= rng.gamma(1.0, 1.0, (len(DIRECTIONS), N_CELLS))[condition]
    rate[:, 5:8] = 0.0
    shape = N_TRIALS, N_STEPS, N_CELLS
    return {
        "spikes": rng.random(shape) < rate[:, None] * wandering(rng, 60.0)[:, :, None],
        "condition": condition,
        "voltage": rng.normal(-65.0, 5.0, shape),
        "currents": rng.normal(0.0, 50.0, (*shape, 3)),
    }


def wandering(rng, tau):
    """[trial, step] exp of an Ornstein-Uhlenbeck process."""
    noise = rng.normal(size=(N_TRIALS, N_STEPS))
    for step in range(1, N_STEPS):
        keep = np.exp(-1 / tau)
        noise[:, step] = keep * noise[:, step - 1] + np.sqrt(1 - keep**2) * noise[:, step]
    return np.exp(0.7 * noise)


def in_vivo():
    """Recordings of the types of the cells."""
    quantiles = {"q05": 0.1, "q25": 0.2, "median": 0.3, "q75": 0.5, "q95": 0.9}
    of_metric = {"mean_rate_Hz": 50.0, "osi": 1.0, "dsi": 1.0}
    return pd.DataFrame(
        {"cell_type": cell_type, "metric": metric, "n_units": 20}
        | {name: scale * value for name, value in quantiles.items()}
        for metric, scale in of_metric.items()
        for cell_type in ("L2/3 Exc", "L2/3 PV", "L4 Exc")
    )


@pytest.fixture(scope="module")
def design(observed):
    return design_of(
        observed["spikes"],
        cells_of(*POPULATIONS),
        directions=DIRECTIONS,
        contrasts=CONTRASTS,
        t_ref=np.linspace(1.05, 8.4, N_CELLS),
        change=CHANGE,
        in_vivo=in_vivo(),
    )


@pytest.fixture(params=list(MEASURES.values()), ids=list(MEASURES))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def made(observed):
    """Makes a measure; one that compares, with a network that has lost some of the spikes."""
    lost = np.random.default_rng(1).random(observed["spikes"].shape) < 0.2
    other = observed | {"spikes": observed["spikes"] & ~lost}

    def make(kind, design):
        measure = kind(design)
        if kind.compares:
            measure.reference = kind(design)
            measure.reference.see(whole(**other))
        return measure

    return make


def seen(measure, activities):
    for activity in activities:
        measure.see(activity)
    return measure


def levels(kind, design):
    return {level: measured_groups(design.cells, level) for level in kind.groups}


def assert_same(a, b, exactly=True):
    if exactly:
        np.testing.assert_array_equal(a.value, b.value)
    else:
        np.testing.assert_allclose(a.value, b.value, rtol=1e-9)
    np.testing.assert_array_equal(a.n, b.n)
    assert a.reason == b.reason


def test_it_says_what_it_is(kind):
    assert kind.name
    assert kind.name.isidentifier()
    assert kind.unit.strip() == kind.unit != ""
    assert (kind.__doc__ or "").strip()
    assert kind.needs
    assert set(kind.needs) <= set(NEEDS)
    assert kind.groups
    assert set(kind.groups) <= set(GROUP_LEVELS)
    assert isinstance(kind.streaming, bool)


def test_one_value_or_one_reason_for_every_group(kind, design, observed, made):
    measure = seen(made(kind, design), [whole(**observed)])
    some = False
    for groups in levels(kind, design).values():
        found = measure.values(groups)
        assert len(found.value) == len(found.n) == len(found.reason) == len(groups)
        for value, n, reason, size in zip(
            found.value, found.n, found.reason, groups.sizes, strict=True
        ):
            assert np.isfinite(value) == (reason == "")
            assert (0 < n <= size) if reason == "" else n == 0
            some |= reason == ""
    assert some


def test_the_same_again(kind, design, observed, made):
    """Asked twice, and made twice."""
    one, two = (seen(made(kind, design), [whole(**observed)]) for _ in range(2))
    for groups in levels(kind, design).values():
        assert_same(one.values(groups), two.values(groups))
        assert_same(one.values(groups), one.values(groups))


def test_a_curve_is_of_the_same_groups(kind, design, observed, made):
    measure = seen(made(kind, design), [whole(**observed)])
    groups = measured_groups(design.cells, "layer")
    curve = measure.curve(groups)
    assert bool(curve) == (kind.axis is not None)
    assert list(curve) == sorted(curve)
    for found in curve.values():
        assert len(found.value) == len(found.n) == len(found.reason) == len(groups)
        for value, n, reason in zip(found.value, found.n, found.reason, strict=True):
            assert np.isfinite(value) == (reason == "") == (n > 0)
    assert not curve or np.isfinite([found.value for found in curve.values()]).any()


def test_parts_are_the_whole(kind, design, observed, made):
    """However a run cuts it into batches and segments; and what is asked for on the way disturbs nothing."""
    if not kind.streaming:
        pytest.skip("it is given everything at once")
    at_once = seen(made(kind, design), [whole(**observed)])
    exactly = set(kind.needs) == {"spikes"}
    for trials, steps in ((5, 17), (1, N_STEPS), (N_TRIALS, 1)):
        measure = made(kind, design)
        activities = list(parts(trials_at_once=trials, steps_at_once=steps, **observed))
        for number, activity in enumerate(activities):
            measure.see(activity)
            if number in (0, len(activities) // 2):
                measure.values(measured_groups(design.cells, kind.groups[0]))
        for groups in levels(kind, design).values():
            assert_same(measure.values(groups), at_once.values(groups), exactly)


def test_the_order_of_trials_does_not_matter(kind, design, observed, made):
    order = np.random.default_rng(1).permutation(N_TRIALS)
    at_once = seen(made(kind, design), [whole(**observed)])
    turned = seen(
        made(kind, design),
        parts(trials_at_once=N_TRIALS, steps_at_once=N_STEPS, order=order, **observed),
    )
    exactly = set(kind.needs) == {"spikes"}
    for groups in levels(kind, design).values():
        assert_same(turned.values(groups), at_once.values(groups), exactly)


def test_groups_without_cells_have_no_value(kind, design, observed, made):
    measure = seen(made(kind, design), [whole(**observed)])
    groups = measured_groups(design.cells, "population")
    with_empty = Groups(groups.of_cell, (*groups.labels, "nobody"))
    found, expected = measure.values(with_empty), measure.values(groups)
    assert found.reason[-1] == "no cells"
    assert np.isnan(found.value[-1])
    assert found.n[-1] == 0
    np.testing.assert_array_equal(found.value[:-1], expected.value)


def test_nothing_observed_is_no_number(kind, design):
    found = kind(design).values(measured_groups(design.cells, "network"))
    assert np.isnan(found.value).all()
    assert all(found.reason)


def test_silence_is_no_error(kind, design, observed, made):
    silent = observed | {"spikes": np.zeros_like(observed["spikes"])}
    found = seen(made(kind, design), [whole(**silent)]).values(
        measured_groups(design.cells, "network")
    )
    assert np.isfinite(found.value[0]) == (found.reason[0] == "")


def test_an_unknown_measure_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'fano_factor'"):
        measure_named("fano_facter")


def test_layers_and_the_network_are_groups(design):
    layers = measured_groups(design.cells, "layer")
    assert (layers.labels, layers.sizes.tolist()) == (("VisL23", "VisL4"), [54, 8])
    assert measured_groups(design.cells, "network").sizes.tolist() == [N_CELLS]
    with pytest.raises(ConfigError, match="did you mean 'layer'"):
        measured_groups(design.cells, "layers")
