"""Published experiments: their trials, their cells, their statistics, and the command that runs them."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))

from benchmarks.reproduce import __main__ as command  # noqa: E402
from benchmarks.reproduce import (  # noqa: E402
    interval_discrimination,
    japanese_vowels,
    match_to_sample,
    observed_recall,
    page,
    records,
    statistics,
    store_recall,
    winston,
    winston_sine,
)
from benchmarks.reproduce.experiments import EXPERIMENTS  # noqa: E402
from benchmarks.reproduce.training import window_kernel  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def quiet(_):
    pass


# Trials


def test_store_recall_asks_for_the_value_that_came_with_store():
    size = store_recall.Sizes(symbols=10, symbol_ms=40, p=0.3, rate_hz=200)
    trials = store_recall.draw_trials(40, size, generator())
    counts = trials.spikes.float().reshape(40, 10, 40, 4, 10).sum((2, 4))  # trial, symbol, group
    zero, one, store, recall = (counts[..., group] > 0 for group in range(4))
    assert (recall == trials.recall).all()
    assert (zero ^ one == ~recall).all()
    held, since = torch.full((40,), -1), torch.zeros(40, dtype=torch.long)
    for symbol in range(10):
        since += 1
        asked = trials.recall[:, symbol]
        assert (trials.value[:, symbol] == held)[asked].all()
        assert (trials.delay[:, symbol] == since)[asked].all()
        held = torch.where(store[:, symbol], one[:, symbol].long(), held)
        since = torch.where(store[:, symbol], 0, since)
    assert trials.recall.sum() > 30


def test_store_recall_cannot_be_solved_without_memory():
    """The value after STORE is the stored one in half of the cases, and stored values are balanced."""
    size = store_recall.Sizes(symbols=30, symbol_ms=1, p=0.3)
    trials = store_recall.draw_trials(400, size, generator())
    right = trials.value[trials.recall].float()
    assert right.mean().item() == pytest.approx(0.5, abs=0.05)


def test_the_bit_of_observed_recall_ends_the_asked_delay_before_the_question():
    size = replace(observed_recall.Sizes(), delays_ms=(20, 300), rate_hz=1000, background_hz=0)
    x, bit = observed_recall.draw_trials(torch.tensor([20, 300] * 10), size, generator())
    groups = x.reshape(20, x.shape[1], 3, 10).any(3)
    for trial, delay in enumerate([20, 300] * 10):
        shown = groups[trial, :, bit[trial]].nonzero()
        asked = groups[trial, :, 2].nonzero()
        assert len(shown) == len(asked) == 100
        assert asked[0] - shown[-1] - 1 == delay
        assert asked[-1] == x.shape[1] - 1
        assert not groups[trial, :, 1 - bit[trial]].any()
    assert 0 < bit.float().mean() < 1


def test_half_of_the_samples_match():
    size = match_to_sample.Sizes(noise=0.0)
    x, match = match_to_sample.draw_trials(200, size, generator())
    assert x.shape == (200, 2500, 24)
    same = (x[:, 600] - x[:, 2100]).abs().amax(1) < 1e-6
    assert (same == (match == 1)).all()
    assert match.float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert not x[:, 1000:2000].any()


def test_the_longer_interval_is_the_answer():
    size = interval_discrimination.Sizes(noise=0.0)
    x, answer = interval_discrimination.draw_trials(200, size, generator())
    lengths = (x > 0.5).sum(1)
    assert ((lengths[:, 1] > lengths[:, 0]) == (answer == 1)).all()
    assert (lengths[:, 0] != lengths[:, 1]).all()
    last = (x[:, :, 1] > 0.5).float().argmax(1) + lengths[:, 1]
    assert (last == x.shape[1] - size.decision_ms).all()
    only_second = ((lengths[:, 1] > 450) == (answer == 1)).float().mean().item()
    assert only_second == pytest.approx(0.75, abs=0.1)  # as the page says


def test_the_six_sines_are_the_published_ones():
    x, target = winston_sine.sines(winston_sine.Sizes())
    np.testing.assert_allclose(x[:, 0, 0], np.arange(6) / 6 + 0.25, rtol=1e-6)
    f = 0.08 * (0.6 / 0.08) ** (np.arange(6) / 5)
    t = 0.05 * np.arange(100)
    np.testing.assert_allclose(target[..., 0], np.sin(2 * np.pi * f[:, None] * t), atol=1e-5)


def test_series_of_the_uea_archive_are_read():
    text = "#head\n@classLabel true 1 2\n@data\n1.0,2.0,3.0:4,5,6:2\n7,8:9,10:1\n"
    series, labels = japanese_vowels.read_ts(text)
    assert series[0].tolist() == [[1, 4], [2, 5], [3, 6]]
    assert series[1].shape == (2, 2)
    assert labels == [1, 0]


# Cells


def test_a_spike_of_an_adaptive_cell_raises_its_threshold_as_published():
    """By beta (1 - e^(-1/2000)) = .0005 where the threshold is .01: 5 %, which decays with 2 s."""
    size = store_recall.Sizes(cells=3)
    layer = store_recall.make_layer("SFA", size, seed=1)
    state = layer.initial_state(1)
    state = replace(state, U=torch.full_like(state.U, 100.0))
    silent = torch.zeros(1, 1, 40)
    spikes, state = layer(silent, state)
    assert spikes.all()
    V_th = 10.0
    assert state.th_spike[0].tolist() == pytest.approx([0.05 * V_th] * 3, rel=1e-2)
    for _ in range(4):
        _, state = layer(torch.zeros(1, 500, 40), state)
    assert state.th_spike[0].tolist() == pytest.approx([0.05 * V_th / np.e] * 3, rel=2e-2)


def test_a_published_weight_moves_the_voltage_as_published():
    """By (1 - e^(-1/20)) w over a threshold of .01, but for what leaks while the current flows."""
    layer = store_recall.make_layer("LIF", store_recall.Sizes(cells=4), seed=1)
    with torch.no_grad():
        for edges in layer.network.edges.values():
            edges.weight.zero_()
        layer.network.edges["input_to_hidden"].weight[0] = 0.1 * store_recall.weight_scale()
    x = torch.zeros(1, 12, 40)
    x[0, 0, 0] = 1
    peak = 0.0
    state = None
    for step in range(12):
        _, state = layer(x[:, step : step + 1], state)
        peak = max(peak, state.U[0, 0].item())
    assert peak / 10 == pytest.approx(0.1 * (1 - np.exp(-1 / 20)) / 0.01, rel=0.2)


@pytest.mark.parametrize(("inputs", "moved"), [(True, "weight_in"), (False, "recurrent")])
def test_the_voltage_of_winstons_cells_moves_by_the_published_weight(inputs, moved):
    """V <- W x + W_lat s of 20 steps ago, in mV: first without any recurrence, then by recurrence alone."""
    size = winston_sine.Sizes(cells=4)
    layer = winston.make_layer("homogeneous", 1, size, seed=1)
    recurrent = layer.network.edges["hidden_to_hidden"].weight
    with torch.no_grad():
        unit_in, unit_lat = (one["lr"] for one in winston.groups(layer, 1.0)[:2])
        layer.weight_in.zero_()
        recurrent.zero_()
        if inputs:
            layer.weight_in.fill_(0.01 * unit_in)
        else:
            recurrent.fill_(0.01 * unit_lat)
        rest, _ = layer(torch.zeros(1, 1, 1))
        x = torch.zeros(1, 3 if inputs else 30, 1)
        x[0, 0] = 1.0
        base = layer.initial_state(1)
        _, state = layer(x, base)
        recurrent.zero_()
        layer.weight_in.zero_()
        _, quiet_state = layer(x, base)
    found = (state.U - quiet_state.U)[0, 0].item()
    s = torch.sigmoid(torch.tensor(-1.0)).item()  # of a cell at rest, threshold 1 mV, sigma_V 1 mV
    assert rest[0, 0, 0].item() == pytest.approx(s, rel=0.05)
    if inputs:
        # a step of reset by s V follows
        assert found == pytest.approx(0.01 * (1 - s), rel=0.1)
    else:
        # 4 sources for 8 to 10 steps, of which the reset leaves 1/s steps: the fixed point 4 W s / s
        assert 0.3 * 0.04 < found < 1.3 * 0.04


# Reading


def test_the_mean_of_filtered_spikes_is_that_of_the_filter():
    spikes = (torch.rand(2, 60, 3, generator=generator()) < 0.2).float()
    trace, traces = torch.zeros(2, 3), []
    keep = np.exp(-1 / 20)
    for step in range(60):
        trace = keep * trace + (1 - keep) * spikes[:, step]
        traces.append(trace)
    expected = torch.stack(traces[40:55]).mean(0)
    found = torch.einsum("btn,t->bn", spikes[:, :55], window_kernel(40, 55, 20.0))
    assert torch.allclose(found, expected, atol=1e-6)
    reader = store_recall.Reader(3, 20)
    by_symbol = reader(spikes)
    kernel = 20 * window_kernel(20, 40, 20.0)
    last = reader.linear(torch.einsum("btn,t->bn", spikes[:, 20:], kernel))
    assert torch.allclose(by_symbol[:, -1], last, atol=1e-5)


# Statistics


def test_intervals_hold_the_mean_as_often_as_they_say():
    rng = np.random.default_rng(0)
    for n, kind in ((4, "t"), (12, "BCa")):
        held = 0
        for _ in range(30):
            found = statistics.estimate(rng.normal(1.0, 0.5, n).tolist())
            assert found.kind == kind
            held += found.low <= 1.0 <= found.high
        assert held >= 25  # of 28 or 29 expected
    assert statistics.estimate([0.5]).low is None


@pytest.mark.parametrize(
    ("accuracy", "expected"),
    [
        ({50.0: 0.9, 100.0: 0.8, 200.0: 0.7}, 150.0),
        ({50.0: 0.6, 100.0: 0.9}, 0.0),
        ({50.0: 0.9, 100.0: 0.8}, 100.0),
        ({50.0: 1.0, 100.0: 0.5, 200.0: 0.9}, 75.0),
    ],
)
def test_the_longest_delay_is_where_recall_first_falls_below_the_level(accuracy, expected):
    assert statistics.longest_delay(accuracy) == pytest.approx(expected)


def test_differences_are_paired_by_seed():
    assert statistics.paired({1: 0.9, 2: 0.8, 4: 0.1}, {2: 0.7, 1: 0.5, 3: 0.0}) == pytest.approx(
        [0.4, 0.1]
    )


# The command


class Counted(type(EXPERIMENTS["mnist1d"])):
    """An experiment that costs nothing."""

    name = "counted"
    modes = ("homogeneous", "heterogeneous")
    runs = 0

    def run(self, mode, seed, size, say):
        type(self).runs += 1
        return {"accuracy": 0.5 + 0.01 * seed + 0.1 * (mode == "heterogeneous")}


def test_what_is_there_is_not_made_again_and_the_page_has_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(EXPERIMENTS, "counted", Counted())
    arguments = ["counted", "--seeds", "2", "--size", "short", "--out", str(tmp_path)]
    assert command.main(arguments) == 0
    assert command.main([*arguments[:2], "3", *arguments[3:]]) == 0
    assert Counted.runs == 6
    record = json.loads((tmp_path / "counted/short/heterogeneous-2.json").read_text())
    assert record["settings"]["cells"] == 24
    assert record["made_with"]["torch"] == torch.__version__
    text = page.section(EXPERIMENTS["counted"], tmp_path)
    assert "| heterogeneous | - | 0.62 (0.595 to 0.645, t) | 3 |" in text
    assert "| heterogeneous - homogeneous | - | +0.1 (+0.1 to +0.1, t) | 3 |" in text
    assert "there already" in capsys.readouterr().out
    changed = {**Counted.sizes, "short": replace(Counted.sizes["short"], cells=25)}
    monkeypatch.setattr(Counted, "sizes", changed)
    assert records.read_records(tmp_path, EXPERIMENTS["counted"], "short") == []


def test_settings_with_several_values_are_found_again(tmp_path):
    """A tuple comes back from a file as a list."""
    experiment = EXPERIMENTS["observed_recall"]
    file = records.record_file(tmp_path, experiment, "short", "GLIF1", 1)
    file.parent.mkdir(parents=True)
    settings = records.settings_of(experiment.sizes["short"])
    file.write_text(json.dumps({"settings": settings, "mode": "GLIF1", "seed": 1}))
    assert records.stored(file, settings) is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stor_recall"], "unknown experiment"),
        (["mnist1d", "--modes", "LSTM"], "has no mode 'LSTM'"),
        (["mnist1d", "--size", "huge"], "has no size 'huge'"),
        ([], "name an experiment"),
    ],
)
def test_arguments_that_are_wrong(arguments, message, capsys):
    with pytest.raises(SystemExit):
        command.arguments(arguments)
    assert message in capsys.readouterr().err


def test_the_committed_page_is_that_of_the_committed_records(tmp_path):
    page.write(records.RESULTS, tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == page.PAGE.read_text()


# Networks


@pytest.mark.parametrize(
    ("name", "mode", "above"),
    [
        ("store_recall", "LIF", 0.75),
        ("observed_recall", "GLIF1", 0.62),
        ("match_to_sample", "static", 0.6),
        ("interval_discrimination", "static", 0.58),
        pytest.param("mnist1d", "heterogeneous", 0.14, marks=pytest.mark.slow),
        pytest.param("winston_digits", "learned", 0.2, marks=pytest.mark.slow),
    ],
)
def test_a_small_network_learns_the_short_experiment(name, mode, above):
    """Better than guessing by two standard errors of the tested answers or more."""
    experiment = EXPERIMENTS[name]
    if name == "mnist1d":
        pytest.importorskip("mnist1d")
    found = experiment.run(mode, 1, experiment.sizes["short"], quiet)
    assert found["accuracy"] > above
    json.dumps(found)


def test_smooth_cells_learn_sines():
    experiment = EXPERIMENTS["winston_sine"]
    found = experiment.run("homogeneous", 1, experiment.sizes["short"], quiet)
    assert found["mse"] < 0.7 * found["losses"][0]


def test_refined_cells_are_those_that_have_learned():
    size = EXPERIMENTS["winston_sine"].sizes["short"]
    learned = winston.make_layer("learned", 1, size, seed=1)
    with torch.no_grad():
        for parameter in learned.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator()))
    refined = winston.make_layer("refined", 1, size, 501, learned)
    expected, found = learned.to_network().membrane, refined.arrays.membrane
    for name in ("C_m", "V_th", "asc_amps", "asc_decay", "asc_r"):
        np.testing.assert_allclose(found.per_cell(name), expected.per_cell(name), rtol=1e-6)
    weights = {id(refined.weight_in), id(refined.network.edges["hidden_to_hidden"].weight)}
    assert {id(one) for one in refined.parameters()} == weights


@pytest.mark.slow
def test_adaptation_holds_a_bit_longer_than_integration():
    """Salaj et al. 2021, figure 2B, at half of the times: SFA beats LIF, which forgets within 500 ms."""
    experiment = EXPERIMENTS["store_recall"]
    size = experiment.sizes["halved"]
    late = {}
    for mode in ("SFA", "LIF"):
        by_delay = experiment.run(mode, 1, size, quiet)["by_delay"]
        right, n = np.sum([by_delay[d] for d in by_delay if int(d) >= 3], axis=0)
        late[mode] = right / n
    assert late["SFA"] > late["LIF"] + 0.15
    assert late["LIF"] < 0.7
