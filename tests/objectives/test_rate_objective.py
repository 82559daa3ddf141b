"""Firing rates are compared with recorded ones as the same cells, seen as long, would show them."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from v1builder.load.network import GroupedValues, Network, NodePopulation
from v1builder.objectives.memory import ranked
from v1builder.objectives.rates import RateLoss, RateTargets, rate_targets
from v1builder.objectives.voltage import voltage_loss
from v1builder.schema.errors import DataError
from v1builder.train import stream

#: Recorded in L2/3 Exc and L5 PV on gratings: quantiles .05 .25 .5 .75 .95, Hz.
SLOW = (0.075, 0.25625, 0.6716666667, 1.524166667, 5.740333333)
FAST = (1.772916667, 6.210416667, 12.24541667, 22.19895833, 46.91675)
P = (0.05, 0.25, 0.5, 0.75, 0.95)
TRIALS, STEPS = 16, 200  # 3.2 s per training step


def recorded_rates(n, quantiles):
    return np.interp((np.arange(n) + 0.5) / n, P, quantiles)


def targets(population, rates):
    rates = torch.as_tensor(np.asarray(rates), dtype=torch.float64)
    return RateTargets(torch.as_tensor(population), {"evoked": rates})


def one_window(targets, n_steps=STEPS):
    return RateLoss(targets, {"evoked": slice(0, n_steps)}, dt=1.0)


def poisson(rate, rng, seconds=TRIALS * STEPS / 1000):
    return torch.from_numpy(rng.poisson(np.asarray(rate) * seconds).astype(np.float64))


def losses_of_poisson_cells(rate, target, n_batches, seed=0):
    """The loss of cells that fire Poisson at `rate` [cell], batch after batch."""
    rng = np.random.default_rng(seed)
    loss = one_window(targets(np.zeros(len(rate), np.int64), target))
    return [
        loss({"evoked": poisson(rate, rng)}, TRIALS, stream(seed, "rates", step)).item()
        for step in range(n_batches)
    ]


def distance_of_counts_by_node_id(rate, target, seed=0, n=100):
    """What was compared before: current rates, stably sorted, with the recorded rates themselves."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        current = poisson(rate, rng) / (TRIALS * STEPS / 1000)
        order = current.argsort(stable=True)
        found.append(torch.nn.functional.huber_loss(current[order], torch.as_tensor(target)).item())
    return np.mean(found)


@pytest.mark.parametrize(("quantiles", "before"), [(SLOW, 0.02), (FAST, 0.1)])
def test_poisson_cells_at_the_recorded_rates_have_no_loss(quantiles, before):
    """In expectation: in the first batch, and with memory. The plain distance has one."""
    target = recorded_rates(200, quantiles)
    rate = np.random.default_rng(9).permutation(target)
    plain = distance_of_counts_by_node_id(rate, target)
    assert plain > before
    runs = np.array([losses_of_poisson_cells(rate, target, 30, seed) for seed in range(30)])
    for batches in (runs[:, 0], runs[:, 1:4].mean(axis=1), runs[:, -10:].mean(axis=1)):
        error = batches.std(ddof=1) / math.sqrt(len(batches))
        assert abs(batches.mean()) < 3.5 * error + 1e-3
        assert abs(batches.mean()) < plain / 5


def test_cells_at_other_rates_have_a_loss_of_their_distance():
    """Twice too fast: with a long memory the loss is the Huber distance of the rates themselves."""
    target = recorded_rates(400, FAST)
    late = losses_of_poisson_cells(2 * target, target, 60)[-20:]
    noise = np.random.default_rng(1)
    seconds = TRIALS * STEPS / 1000

    def huber(x):
        return np.where(np.abs(x) < 1, 0.5 * x**2, np.abs(x) - 0.5)

    seen = noise.poisson(2 * target * seconds, (400, 400)) / seconds
    same = noise.poisson(target * seconds, (400, 400)) / seconds
    expected = huber(seen - target).mean() - huber(same - target).mean()
    assert np.mean(late) == pytest.approx(expected, rel=0.02)


def step_size(rate, target, n_batches):
    """Mean gradient of each cell's rate over the last half of the batches, Hz of the Huber distance."""
    rng = np.random.default_rng(3)
    loss = one_window(targets(np.zeros(len(rate), np.int64), target))
    total = torch.zeros(len(rate), dtype=torch.float64)
    for step in range(n_batches):
        counts = poisson(rate, rng).requires_grad_()
        loss({"evoked": counts}, TRIALS, stream(3, "rates", step)).backward()
        assert counts.grad is not None
        if step >= n_batches // 2:
            total += (
                counts.grad * (TRIALS * STEPS / 1000) * len(rate) / (n_batches - n_batches // 2)
            )
    return total


def test_a_cell_is_drawn_to_the_recorded_rate_of_its_rank():
    """Ranks are those of the mean over a minute, so noise does not push cells at their rate about."""
    target = recorded_rates(100, SLOW)
    at_rest = step_size(target, target, 200)
    assert at_rest.abs().mean() < 0.1
    too_slow = step_size(0.5 * target, target, 200)
    fast = target > 1
    # Pulled up by half the target each, 1 Hz at most.
    assert too_slow[fast].numpy() == pytest.approx(-np.minimum(0.5 * target[fast], 1), abs=0.35)
    assert (too_slow[fast] < 0).all()


def test_silent_cells_are_pulled_alike_whatever_their_place_in_the_file():
    """Ranked by node id, the early half of a silent population had low targets, the late half high ones."""
    n = 60
    target = recorded_rates(n, SLOW)
    silent = torch.zeros(n, dtype=torch.float64)
    seconds = TRIALS * STEPS / 1000
    by_seed = []
    for seed in range(200):
        counts = silent.clone().requires_grad_()
        loss = one_window(targets(np.zeros(n, np.int64), target))
        for step in range(3):  # and ties stay ties
            counts.grad = None
            loss({"evoked": counts}, TRIALS, stream(seed, "rates", step)).backward()
        assert counts.grad is not None
        by_seed.append((-counts.grad * seconds * n).numpy())
    pull = np.array(by_seed)
    assert (pull >= 0).all()
    halves = pull[:, : n // 2].mean(axis=1) - pull[:, n // 2 :].mean(axis=1)
    assert abs(halves.mean()) < 3.5 * halves.std(ddof=1) / math.sqrt(len(halves))
    rank = np.corrcoef(pull.mean(axis=0), np.arange(n))[0, 1]
    assert abs(rank) < 0.45  # p < .001 two-sided at 60 cells: .42
    # All the pull there is, not less: silent cells are as far from their targets as they can be.
    by_id = np.minimum(target, 1).mean()
    assert pull.mean() == pytest.approx(by_id, rel=0.1)
    # The negative control: ranked by node id the late half is pulled several times harder.
    assert np.minimum(target, 1)[n // 2 :].mean() > 3 * np.minimum(target, 1)[: n // 2].mean()


def test_a_fast_cell_is_pushed_down_and_a_silent_one_pulled_up():
    loss = one_window(targets([0, 0], [1.0, 10.0]), 1000)
    counts = torch.tensor([0.0, 500.0], dtype=torch.float64, requires_grad=True)  # 31 Hz
    loss({"evoked": counts}, 16, stream(1, "t")).backward()
    assert counts.grad is not None
    assert counts.grad[0] < 0
    assert counts.grad[1] > 0


def test_populations_are_compared_apart():
    """Interleaved populations at each other's rates: every cell is moved towards its own."""
    population = np.tile([0, 1], 50)
    rates = np.concatenate([np.full(50, 2.0), np.full(50, 20.0)])
    loss = one_window(targets(population, rates), 1000)
    counts = torch.from_numpy(np.where(population == 0, 20.0, 2.0) * 16).requires_grad_()
    loss({"evoked": counts}, 16, stream(1, "t")).backward()
    assert counts.grad is not None
    assert (counts.grad[population == 0] > 0).all()
    assert (counts.grad[population == 1] < 0).all()


def test_equal_rates_are_ranked_at_random_unequal_ones_are_not():
    rate = torch.tensor([3.0, 0.0, 0.0, 1.0, 0.0, 9.0])
    population = torch.tensor([1, 0, 0, 0, 0, 1])
    orders = {tuple(ranked(rate, population, stream(s, "t")).tolist()) for s in range(200)}
    assert {order[3:] for order in orders} == {(3, 0, 5)}
    assert {frozenset(order[:3]) for order in orders} == {frozenset({1, 2, 4})}
    assert len(orders) == 6
    assert len({tuple(ranked(rate, population, stream(1, "t")).tolist()) for _ in range(5)}) == 1


def test_the_memory_is_an_exponential_mean_over_a_minute_of_model_time():
    n, seconds = 5, TRIALS * STEPS / 1000
    rng = np.random.default_rng(0)
    rates = rng.uniform(0, 20, (7, n))
    loss = one_window(targets(np.zeros(n, np.int64), np.ones(n)))
    for step, rate in enumerate(rates):
        loss({"evoked": torch.from_numpy(rate * seconds)}, TRIALS, stream(0, step))
    weight = np.exp(-seconds * np.arange(7)[::-1] / 60)
    memory = loss.state_dict()["evoked"]
    mean = memory["total"] / memory["weight"]
    assert mean.numpy() == pytest.approx((weight[:, None] * rates).sum(axis=0) / weight.sum())
    # Poisson cells would scatter in it as in counts over so many seconds.
    expected = seconds * weight.sum() ** 2 / (weight**2).sum()
    assert memory["weight"] ** 2 / memory["noise"] == pytest.approx(expected)


def test_a_remembered_state_goes_on_as_if_nothing_had_happened(tmp_path):
    target = recorded_rates(30, SLOW)
    rng = np.random.default_rng(0)
    counts = [poisson(target, rng) for _ in range(6)]

    def run(loss, steps):
        return [loss({"evoked": counts[s]}, TRIALS, stream(0, "rates", s)).item() for s in steps]

    whole = run(one_window(targets([0] * 30, target)), range(6))
    first = one_window(targets([0] * 30, target))
    run(first, range(3))
    torch.save(first.state_dict(), tmp_path / "memory.pt")
    second = one_window(targets([0] * 30, target))
    second.load_state_dict(torch.load(tmp_path / "memory.pt", weights_only=True))
    assert run(second, range(3, 6)) == whole[3:]


def test_gratings_and_gray_have_targets_of_their_own():
    """Cells at the recorded rates in both windows have no loss; with the two exchanged they have one."""
    n = 300
    evoked, spontaneous = recorded_rates(n, FAST), recorded_rates(n, SLOW)
    population = torch.zeros(n, dtype=torch.int64)
    both = RateTargets(
        population,
        {"evoked": torch.from_numpy(evoked), "spontaneous": torch.from_numpy(spontaneous)},
    )
    windows = {"evoked": slice(50, 200), "spontaneous": slice(0, 50)}

    def mean_loss(evoked, spontaneous):
        rng = np.random.default_rng(0)
        loss = RateLoss(both, windows, dt=1.0)
        found = []
        for step in range(40):
            counts = {
                "evoked": poisson(evoked, rng, TRIALS * 0.15),
                "spontaneous": poisson(spontaneous, rng, TRIALS * 0.05),
            }
            found.append(loss(counts, TRIALS, stream(0, step)).item())
        return np.mean(found)

    assert abs(mean_loss(evoked, spontaneous)) < 0.03
    assert mean_loss(spontaneous, evoked) > 5
    assert RateLoss(both, windows | {"spontaneous": slice(0, 0)}, dt=1.0).windows.keys() == {
        "evoked"
    }


def test_voltage_loss_counts_only_what_leaves_the_range():
    threshold = torch.tensor([10.0, 20.0])
    drive = torch.tensor([[[5.0, 30.0], [-15.0, -10.0]]])
    assert voltage_loss(drive, threshold).item() == pytest.approx((0.5**2 + 0.5**2) / 4)


QUANTILES = {"q05": 1.0, "q25": 2.0, "median": 4.0, "q75": 8.0, "q95": 20.0}
HALF = {name: value / 2 for name, value in QUANTILES.items()}


def reference(*types, n_units=20):
    rows = [
        {"cell_type": kind, "metric": metric, "n_units": n_units, **quantiles}
        for kind in types
        for metric, quantiles in (("mean_rate_Hz", QUANTILES), ("spontaneous_rate_Hz", HALF))
    ]
    return pd.DataFrame(rows)


def network(names):
    ids = np.arange(len(names))
    cells = NodePopulation("v1", ids, ids, {"pop_name": np.array(names)}, pd.DataFrame())
    empty = GroupedValues({}, ids, ())
    return Network({"v1": cells}, {}, "v1", empty, empty, np.zeros(len(names)))


def test_rate_targets_follow_the_published_quantiles():
    found = rate_targets(network(["e23Cux2"] * 2), reference("L2/3 Exc"))
    # Two cells stand at the quantiles .25 and .75.
    assert found.rates["evoked"].tolist() == [2.0, 8.0]
    assert found.rates["spontaneous"].tolist() == [1.0, 4.0]
    assert found.pooled == ()
    found = rate_targets(network(["e23Cux2"]), reference("L2/3 Exc"))
    assert found.rates["evoked"].tolist() == [4.0]


def test_populations_of_the_targets_are_those_of_the_cells():
    names = ["i5Pvalb", "e23Cux2", "i5Pvalb", "e23Cux2", "e23Cux2"]
    slow = reference("L2/3 Exc")
    fast = reference("L5 PV").assign(q25=100.0, median=100.0, q75=100.0, q95=100.0, q05=100.0)
    found = rate_targets(network(names), pd.concat([slow, fast]))
    assert found.population.tolist() == [1, 0, 1, 0, 0]
    assert found.rates["evoked"][3:].tolist() == [100.0, 100.0]
    assert (found.rates["evoked"][:3] <= 20).all()


def test_types_with_few_units_are_pooled_and_named():
    table = pd.concat([reference("L2/3 SST", n_units=18), reference("L4 SST", n_units=9)])
    found = rate_targets(network(["i23Sst", "i4Sst"]), table)
    assert found.pooled == ("L4 SST",)
    # Both types have the same quantiles here, so pooling changes nothing.
    assert found.rates["evoked"].tolist() == pytest.approx([4.0, 4.0], rel=0.01)


@pytest.mark.parametrize("unknown", ["i5Pvalb", "PyrL5"])
def test_a_population_without_recorded_rates_is_named(unknown):
    with pytest.raises(DataError, match=f"'{unknown}'") as error:
        rate_targets(network(["e23Cux2", unknown]), reference("L2/3 Exc"), "net/in_vivo.csv")
    assert "net/in_vivo.csv" in str(error.value)
    assert "rate_weight = 0" in str(error.value)
