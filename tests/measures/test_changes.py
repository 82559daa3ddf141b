"""Cells before and after a change: known voltages with spikes, known rates, and a running network."""

import numpy as np
import pytest
import torch
from handmade import make_network
from recorded import cells_of, design_of, parts, whole

from v1builder.load.groups import Groups
from v1builder.measures import MEASURES, Design, Measurement, Window
from v1builder.measures.groups import measured_groups
from v1builder.model import V1Network
from v1builder.model.observation import observe
from v1builder.schema.errors import ConfigError

N_TRIALS, N_STEPS, CHANGE = 6, 300, 100
#: mV by which cells change.
STEP = np.array([3.0, 1.001, 0.999, 0.0, -0.999, -1.001, -8.0])
CELLS = cells_of(("e23Cux2", "VisL23", 4), ("e5ET", "VisL5", 3))
T_REF = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.7])
SHARES = ("depolarised_share", "hyperpolarised_share")
RATES = ("rate_doubled_share", "rate_halved_share")


@pytest.fixture(scope="module")
def recorded():
    """Steps with noise of mean 0; V_m is far off in spikes and after them, and more so after the change."""
    rng = np.random.default_rng(0)
    shape = N_TRIALS, N_STEPS, len(STEP)
    voltage = np.full(shape, -60.0)
    voltage[:, CHANGE:] += STEP
    spikes = np.zeros(shape, bool)
    held = np.ceil(T_REF).astype(int)
    for trial in range(N_TRIALS):
        for cell, steps in enumerate(held):
            start = 1 + trial
            while start < N_STEPS:
                spikes[trial, start, cell] = True
                voltage[trial, start : start + steps + 1, cell] = -90.0
                start += steps + rng.integers(4, 30 if start < CHANGE else 9)
    free = voltage != -90.0
    for part in (slice(0, CHANGE), slice(CHANGE, N_STEPS)):
        noise = np.where(free, rng.normal(0, 4, shape), 0.0)[:, part]
        voltage[:, part] += np.where(
            free[:, part], noise - noise.sum((0, 1)) / free[:, part].sum((0, 1)), 0.0
        )
    return {"spikes": spikes, "voltage": voltage}


def measured(name, recorded, cells=CELLS, pieces=None, **more):
    more = {"t_ref": T_REF, "change": CHANGE} | more
    measure = MEASURES[name](design_of(recorded["spikes"], cells, **more))
    for part in [whole(**recorded)] if pieces is None else parts(**recorded, **pieces):
        measure.see(part)
    return measure


@pytest.mark.parametrize("pieces", [None, {"trials_at_once": 4, "steps_at_once": 7}])
def test_spikes_do_not_count_in_a_change_of_voltage(recorded, pieces):
    """The steps to the last digit, though cells are at the reset for much of the time."""
    value, _ = measured("voltage_change", recorded, pieces=pieces).of_cells()
    np.testing.assert_allclose(value, STEP, atol=1e-9)
    naive = recorded["voltage"][:, CHANGE:].mean((0, 1)) - recorded["voltage"][:, :CHANGE].mean(
        (0, 1)
    )
    assert (naive < STEP - 1).all()


@pytest.mark.parametrize("dt", [0.5, 1.0, 2.0])
def test_a_refractory_time_is_whole_steps(dt):
    """As the cells count them: 3 ms are 2 steps of 2 ms."""
    voltage = np.full((1, 40, 1), -60.0)
    spikes = np.zeros((1, 40, 1), bool)
    spikes[0, [5, 30]] = True
    n_held = int(np.ceil(3.0 / dt))
    for start in (5, 30):
        voltage[0, start : start + n_held + 1] = -99.0
    one = measured("voltage_change", {"spikes": spikes, "voltage": voltage}, cells_of(("e4", "VisL4", 1)),
                   t_ref=np.array([3.0]), dt=dt, change=20)  # fmt: skip
    assert one.of_cells()[0] == pytest.approx([0.0])
    voltage[0, 30 + n_held + 1] = -80.0  # the step after counts
    assert one.of_cells()[0] == pytest.approx([0.0])
    again = measured("voltage_change", {"spikes": spikes, "voltage": voltage}, cells_of(("e4", "VisL4", 1)),
                     t_ref=np.array([3.0]), dt=dt, change=20)  # fmt: skip
    assert again.of_cells()[0] == pytest.approx([-20.0 / (20 - n_held - 1)])


def test_shares_are_those_of_more_than_a_millivolt(recorded):
    groups = measured_groups(CELLS, "population")
    found = {name: measured(name, recorded).values(groups) for name in SHARES}
    np.testing.assert_allclose(found[SHARES[0]].value, [2 / 4, 0.0])
    np.testing.assert_allclose(found[SHARES[1]].value, [0.0, 2 / 3])
    assert found[SHARES[0]].n.tolist() == [4, 3]
    assert all(MEASURES[name].counts_cells for name in (*SHARES, *RATES, "silent_share"))


def test_cells_that_are_always_refractory_are_not_counted(recorded):
    refractory = T_REF.copy()
    refractory[[0, 4, 5, 6]] = 1000.0
    groups = measured_groups(CELLS, "population")
    found = measured(SHARES[0], recorded, t_ref=refractory).values(groups)
    assert (found.value[0], found.n[0]) == (pytest.approx(1 / 3), 3)
    assert found.reason == ("", "the cells are refractory all the time")


def test_rates_that_double_and_halve():
    """6 spikes in 100 steps are 12 in 200: over 24 double, under 6 halve; silence before is no ratio."""
    before = np.array([6, 6, 6, 6, 6, 0, 6])
    after = np.array([24, 25, 12, 6, 5, 9, 0])
    spikes = np.zeros((2, N_STEPS, 7), bool)
    for cell in range(7):
        spikes[0, : before[cell], cell] = True
        spikes[1, CHANGE : CHANGE + after[cell], cell] = True
    cells = cells_of(("e23Cux2", "VisL23", 7))
    one = Groups(np.zeros(7, np.int64), ("all",))
    chosen = [
        measured(name, {"spikes": spikes}, cells)
        .values(Groups(np.arange(7), tuple("abcdefg")))
        .value
        for name in RATES
    ]
    np.testing.assert_array_equal(chosen[0], [0, 1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(chosen[1], [0, 0, 0, 0, 1, 0, 1])
    found = measured(RATES[1], {"spikes": spikes}, cells).values(one)
    assert (found.value[0], found.n[0]) == (pytest.approx(2 / 7), 7)


@pytest.mark.parametrize("name", ["voltage_change", *SHARES, *RATES])
def test_without_a_change_there_is_no_value(recorded, name):
    found = measured(name, recorded, change=None).values(measured_groups(CELLS, "network"))
    assert np.isnan(found.value).all()
    assert found.reason == ("what is shown does not change in this window",)


def test_in_a_network_what_is_clipped_is_what_is_held():
    """V_m of a refractory cell is that of its reset; without it the measure has what a free cell has."""
    network = make_network()
    model = V1Network(network, dtype=torch.float64)
    t_ref = network.membrane.per_cell("t_ref")
    generator = torch.Generator().manual_seed(1)
    current = 600 * torch.rand(2, N_STEPS, 24, generator=generator, dtype=torch.float64)
    inputs = {"lgn": torch.zeros(2, N_STEPS, 6, dtype=torch.uint8)}
    with torch.no_grad():
        run = model(inputs, current=current, record_voltage=True)
    spikes, voltage = run.spikes.numpy(), run.voltage.numpy() + model.cells.E_L.numpy()
    free = np.ones_like(spikes, bool)
    for trial, step, cell in zip(*spikes.nonzero(), strict=True):
        held = voltage[trial, step : step + int(np.ceil(t_ref[cell])) + 1, cell]
        assert (held == held[0]).all()
        free[trial, step : step + len(held), cell] = False
    assert 0.5 < free.mean() < 0.95
    means = [
        np.where(free, voltage, 0)[:, part].sum((0, 1)) / free[:, part].sum((0, 1))
        for part in (slice(2, CHANGE), slice(CHANGE, 250))
    ]
    design = Design(network.cells, model.dt, N_STEPS, t_ref=t_ref)
    window = {"w": Window(slice(2, 250), change=CHANGE)}
    measurement = Measurement(["voltage_change"], design, window, levels=["cell"])
    observe(model, inputs, [measurement.observer()], current=current, steps=33)
    value = np.array([row.value for row in measurement.rows()])
    assert not spikes[:, :2].any()  # a spike before the window would not be known
    np.testing.assert_allclose(value, means[1] - means[0], atol=1e-9)


def test_a_window_of_some_conditions_sees_only_their_trials():
    network = make_network()
    model = V1Network(network, dtype=torch.float64)
    current = torch.zeros(4, 90, 24, dtype=torch.float64)
    current[1] += 900
    current[3] += 1500
    inputs = {"lgn": torch.zeros(4, 90, 6, dtype=torch.uint8)}
    design = Design(network.cells, model.dt, 90)
    windows = {
        "all": slice(0, 90),
        "odd": Window(slice(0, 90), (1, 3)),
        "one": Window(slice(0, 90), (3,)),
        "none": Window(slice(0, 90), (7,)),
    }
    names = ["mean_rate", "voltage_change"]
    measurement = Measurement(names, design, windows, levels=["network"])
    for batch in (slice(0, 3), slice(3, 4)):
        own = {name: part[batch] for name, part in inputs.items()}
        shown = np.arange(4)[batch]
        observe(model, own, [measurement.observer(shown)], current=current[batch], steps=17)
    rows = {row.window: row for row in measurement.rows() if row.measure == "mean_rate"}
    with torch.no_grad():
        spikes = model(inputs, current=current).spikes.numpy()
    rate = spikes.mean(axis=(1, 2)) * 1000
    assert rows["all"].value == pytest.approx(rate.mean())
    assert rows["odd"].value == pytest.approx(rate[[1, 3]].mean())
    assert rows["one"].value == pytest.approx(rate[3])
    assert rows["none"].reason == "nothing was observed"
    with pytest.raises(ConfigError, match="the change is not within its window"):
        Measurement(names, design, {"w": Window(slice(0, 50), change=50)})
