"""Positive control: where diversity is needed, its ablation loses, and by the declared statistics.

Planted (`interval_task`): a task of intervals from 3 to 96 ms, and in each population membranes from 3 to 100
ms. `mean(global)` leaves one time constant of 17 ms, which tells intervals near it apart but hardly 48 from
96 ms. Two shams leave what is needed: `all_but(tau_m, global)` averages everything else, and
`shuffle_within` puts whole cells elsewhere, which changes as many spikes as `mean(global)` but not how well
the task can be solved, because weights are drawn without regard to membranes. Readouts are trained anew for
each network. Seeds draw network, trials and ablation; every condition of a seed has the same input spikes.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
import torch
from interval_task import (
    INTERVALS,
    MODELS,
    N_STEPS,
    POPULATIONS,
    TAU_M,
    correct,
    make_network,
    make_trials,
    run,
)

from v1builder.experiments.ablations import parse_ablation
from v1builder.experiments.operating_point import Judgement, judge, operating_point
from v1builder.experiments.summary import summarise

SEEDS = range(10)
N_TRIALS = 1200  # half of them for the readout's training
SIZES = dict.fromkeys(POPULATIONS, 2 * MODELS)
ONE_TAU_M = float(np.exp(np.log(TAU_M).mean()))  # ms, that of the mean cell: 17.3
LOSES = ("mean(global)", "only(tau_m, global)")
#: And the share of the spikes that they change at least: a sham that does nothing would show nothing.
SHAMS = {"all_but(tau_m, global)": 0.05, "shuffle_within": 0.2}


@dataclasses.dataclass(frozen=True)
class Condition:
    """One network in the trials of its seed."""

    accuracy: float
    of_interval: np.ndarray  # [interval] share of correct answers
    counts: np.ndarray  # [trial, cell] spikes
    point: dict

    @classmethod
    def of(cls, network, trials) -> "Condition":
        spikes = run(network, trials)
        counts = spikes.sum(axis=1)
        rate = counts.mean(axis=0) / (N_STEPS * 1e-3)
        right, label = correct(spikes, trials), trials.label[-trials.n_test :]
        # Nothing fires without input, so the trials are all there is to measure.
        point = operating_point(network, np.stack([rate, rate], axis=1)).record()
        of_interval = np.array([right[label == k].mean() for k in range(len(INTERVALS))])
        return cls(float(right.mean()), of_interval, counts, point)


class Experiment:
    """The intact network and its ablations, over all seeds."""

    def __init__(self, ablations, tau_m: npt.ArrayLike = TAU_M):
        self.of: dict[str, list[Condition]] = {name: [] for name in ("intact", *ablations)}
        for seed in SEEDS:
            network, trials = make_network(seed, tau_m), make_trials(seed, N_TRIALS)
            for name, found in self.of.items():
                ablated = parse_ablation(name)(network, seed=seed)
                found.append(Condition.of(ablated, trials))

    def judgement(self, name: str) -> Judgement:
        points = [condition.point for condition in self.of[name]]
        intact = [condition.point for condition in self.of["intact"]]
        return judge(points, intact, SIZES, keeps_charge=True)

    def found(self) -> dict[str, dict]:
        """Rows of the primary outcome, by ablation."""
        results = [
            {
                "protocol": "retrained readout",
                "ablation": name,
                "seed": seed,
                "accuracy": condition.accuracy,
                "n_trials": N_TRIALS // 2,
                "valid": self.judgement(name).valid,
                "invalid_because": list(self.judgement(name).reasons),
            }
            for name, conditions in self.of.items()
            for seed, condition in zip(SEEDS, conditions, strict=True)
        ]
        rows = summarise(results)["differences"]
        return {row["ablation"]: row for row in rows if row["role"] == "primary"}

    def mean(self, name: str, what: str):
        return np.mean([getattr(condition, what) for condition in self.of[name]], axis=0)

    def operating(self, name: str, what: str) -> float:
        return float(np.mean([condition.point[what] for condition in self.of[name]]))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def planted() -> Experiment:
    return Experiment((*LOSES, *SHAMS))


def test_the_ablation_that_takes_the_planted_diversity_loses(planted):
    found = planted.found()
    for name in LOSES:
        assert found[name]["p_holm"] < 0.05
        assert found[name]["verdict"] == "helps"
        assert found[name]["mean"] < -0.08  # of accuracy .68, chance .17
        assert max(found[name]["per_seed"]) < 0  # in every seed


def test_the_shams_do_not(planted):
    found = planted.found()
    for name, least in SHAMS.items():
        assert found[name]["p_holm"] > 0.05
        assert found[name]["verdict"] in ("equivalent", "not decided")
        assert abs(found[name]["mean"]) < 0.03
        for sham, intact in zip(planted.of[name], planted.of["intact"], strict=True):
            changed = np.abs(sham.counts - intact.counts).sum() / intact.counts.sum()
            assert changed > least


@pytest.mark.parametrize("name", [*LOSES, *SHAMS])
def test_it_is_not_the_operating_point(planted, name):
    """Inside the bars of a comparison, so neither loss nor sham is one of silent cells."""
    assert planted.judgement(name) == Judgement(True, ())
    rate, silent = (
        [planted.operating(which, what) for which in ("intact", name)]
        for what in ("evoked_Hz", "silent_share")
    )
    assert 3 < rate[0] < 7
    assert rate[1] == pytest.approx(rate[0], rel=0.05)
    assert max(silent) < 0.01


def test_what_is_lost_are_intervals_far_from_the_time_constant_that_is_left(planted):
    """12 ms is .69 tau_m, where one time constant does best; 48 and 96 ms leave next to nothing."""
    lost = planted.mean("intact", "of_interval") - planted.mean("mean(global)", "of_interval")
    near, far = INTERVALS.index(12), [INTERVALS.index(48), INTERVALS.index(96)]
    assert abs(lost[near]) < 0.08
    assert (lost[far] > 0.12).all()


def test_an_averaged_time_constant_gives_the_network_made_with_it():
    made = make_network(0, ONE_TAU_M)
    ablated = parse_ablation("only(tau_m, global)")(make_network(0))
    for name in ("input_to_v1", "v1_to_v1"):
        np.testing.assert_allclose(ablated.edges[name].weight, made.edges[name].weight)
    for name in made.membrane.values:
        np.testing.assert_allclose(ablated.membrane.per_cell(name), made.membrane.per_cell(name))


@pytest.mark.parametrize("factor", [0.5, 1.4, 2.0])
def test_no_other_time_constant_does_as_well(planted, factor):
    """It is the diversity that is needed, not another mean."""
    best = [condition.accuracy for condition in planted.of["intact"]]
    one = [
        Condition.of(make_network(seed, factor * ONE_TAU_M), make_trials(seed, N_TRIALS)).accuracy
        for seed in SEEDS
    ]
    assert np.mean(best) - np.mean(one) > 0.08
    assert (np.array(best) > one).all()


def test_where_nothing_is_planted_nothing_is_found():
    """One time constant in the intact network; mean(global) still averages all the rest."""
    experiment = Experiment(("mean(global)",), ONE_TAU_M)
    assert experiment.judgement("mean(global)").valid
    row = experiment.found()["mean(global)"]
    assert row["p_holm"] > 0.05
    assert row["verdict"] in ("equivalent", "not decided")
    changed = [
        (ablated.counts != intact.counts).mean()
        for ablated, intact in zip(*experiment.of.values(), strict=True)
    ]
    assert min(changed) > 0.01


def test_weights_left_in_pA_are_outside_the_bars(planted):
    """Without carrying the mean cell is moved by other PSPs: whatever is lost then says nothing."""
    ablation, seeds = parse_ablation("mean(global)"), SEEDS[:3]
    left = [ablation(make_network(seed), carry="none") for seed in seeds]
    points = [
        Condition.of(network, make_trials(seed, N_TRIALS)).point
        for network, seed in zip(left, seeds, strict=True)
    ]
    intact = [condition.point for condition in planted.of["intact"][: len(seeds)]]
    judgement = judge(points, intact, SIZES, keeps_charge=True)
    assert not judgement.valid
    assert "silent" in " ".join(judgement.reasons)
