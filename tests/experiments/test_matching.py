import numpy as np
import pytest

from v1builder.experiments.matching import match_rates, with_bias
from v1builder.schema.errors import ConfigError


def recurrent_rates(n, seed, coupling, gain=1.0):
    """Rates of coupled threshold-soft populations under two drives; a fixed point by relaxation."""
    rng = np.random.default_rng(seed)
    sign = np.where(rng.random(n) < 0.4, -1, 1)
    weight = np.abs(rng.normal(size=(n, n))) * sign * coupling / np.sqrt(n)
    drive = rng.normal(-1, 0.7, n)

    def measure(bias):
        rates = []
        for evoked in (0.0, 0.8):
            r = np.zeros(n)
            for _ in range(600):
                u = drive + evoked + gain * bias + weight @ r / 10
                r += 0.05 * (np.minimum(8 / 1.5 * np.log1p(np.exp(1.5 * u)), 300) - r)
            rates.append(r)
        return np.array(rates).T

    return measure


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("coupling", [0.0, 0.5, 1.0])
def test_coupled_populations_are_matched(seed, coupling):
    measure = recurrent_rates(22, seed, coupling)
    hidden = np.random.default_rng(seed + 100).normal(0, 0.7, 22)
    target = measure(hidden)
    result = match_rates(measure, target, scale=1.0)
    assert result.success
    assert result.converged.shape == (22,)
    mean = measure(result.bias).mean(
        axis=1
    )  # what is claimed is measured at the bias that is returned
    np.testing.assert_array_equal(measure(result.bias), result.rates)
    wanted = target.mean(axis=1)
    assert (np.abs(mean - wanted) <= np.maximum(0.05 * wanted, 0.05)).all()
    if coupling == 0:
        assert result.n_measurements <= 6


def test_a_tighter_tolerance_finds_the_hidden_currents():
    measure = recurrent_rates(6, 1, 0.5, gain=0.01)  # 1 unit of drive = 100 pA
    hidden = np.array([60.0, -40, 20, 90, -10, 0])
    result = match_rates(measure, measure(hidden), scale=100.0, tolerance=1e-4, floor=1e-4)
    assert result.success
    np.testing.assert_allclose(result.bias, hidden, atol=0.5)
    assert np.abs(result.relative_error).max() < 0.02


def test_nothing_to_do_is_one_measurement_and_no_bias():
    measure = recurrent_rates(4, 0, 0.5)
    result = match_rates(measure, measure(np.zeros(4)), scale=1.0)
    assert result.n_measurements == 1
    assert not result.bias.any()
    assert result.success


def test_an_impossible_target_is_reported_and_does_not_stop_the_others():
    measure = recurrent_rates(5, 3, 0.0)
    target = measure(np.array([0.5, -0.5, 1, 0.3, 0.0]))
    target[2] = 1000.0  # rates saturate at 300 Hz
    result = match_rates(measure, target, scale=1.0)
    assert not result.success
    np.testing.assert_array_equal(result.converged, [True, True, False, True, True])
    assert result.error[2] < -600


def test_deaf_populations_are_not_claimed():
    target = np.array([[5.0, 10.0], [1.0, 2.0]])
    result = match_rates(lambda bias: np.full((2, 2), 3.0), target, scale=1.0)
    assert not result.converged.any()
    assert result.n_measurements <= 30
    result = match_rates(lambda bias: np.zeros((2, 2)), target, scale=1.0)
    assert not result.converged.any()


def test_a_silent_target_is_met_by_the_absolute_floor():
    measure = recurrent_rates(3, 0, 0.0)
    target = measure(np.zeros(3))
    target[1] = 0.0
    result = match_rates(measure, target, scale=1.0)
    assert result.success
    assert 0 < result.rates[1].mean() <= 0.05
    assert result.bias[1] < 0
    assert np.isnan(result.relative_error[1]).all()


def test_each_population_may_have_its_own_floor():
    """Rates come in steps of 1 Hz, as if counted from one cell in one second."""

    def measure(bias):
        return np.round(np.exp(bias))[:, None]

    target = np.array([[2.4], [2.4]])
    result = match_rates(measure, target, scale=1.0, floor=np.array([0.5, 0.1]))
    np.testing.assert_array_equal(result.converged, [True, False])


def test_conditions_are_averaged_for_matching_and_reported_apart():
    def measure(bias):
        return np.exp(bias)[:, None] * np.array([[1.0, 2.0]])

    target = np.array([[5.0, 1.0]])  # mean 3, but with the conditions the other way round
    result = match_rates(measure, target, scale=1.0)
    assert result.success
    assert result.rates.mean() == pytest.approx(3.0, rel=0.05)
    np.testing.assert_allclose(result.relative_error, [[-0.6, 3.0]], atol=0.25)


def test_coarse_scatter_ends_in_an_honest_answer():
    measure = recurrent_rates(8, 2, 0.5)
    noise = np.random.default_rng(0)
    result = match_rates(
        lambda bias: measure(bias) * noise.lognormal(0, 0.3, (8, 2)),
        measure(np.full(8, 0.5)),
        scale=1.0,
    )
    allowed = np.maximum(0.05 * result.target.mean(axis=1), 0.05)
    np.testing.assert_array_equal(result.converged, np.abs(result.error) <= allowed)
    assert not result.success


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target": np.array([1.0, 2.0])}, "target rates are not valid"),
        ({"target": np.array([[-1.0]])}, "target rates are not valid"),
        ({"scale": 0.0}, "scale must be positive"),
        ({"tolerance": 0.0}, "tolerance must be positive"),
        ({"max_measurements": 0}, "no measurement"),
        ({"measure": lambda bias: np.full((1, 1), np.nan)}, "other than rates"),
        ({"measure": lambda bias: np.ones((2, 1))}, "other than rates"),
    ],
)
def test_wrong_arguments(change, said):
    arguments = {"measure": lambda bias: np.ones((1, 1)), "target": np.ones((1, 1)), "scale": 1.0}
    arguments |= change
    with pytest.raises(ConfigError, match=said):
        match_rates(arguments.pop("measure"), arguments.pop("target"), **arguments)


def test_bias_of_a_network(network):
    biased = with_bias(with_bias(network, np.array([1.0, 2, 3, 4])), np.array([0.5, 0, 0, 0]))
    pop = network.cells.attributes["pop_name"]
    assert set(biased.bias_current[pop == "e23Cux2"]) == {1.5}
    assert set(biased.bias_current[pop == "i4Sst"]) == {4.0}
    assert not network.bias_current.any()
    assert biased.provenance["bias_currents_pA"][0] == {
        "e23Cux2": 1.0,
        "e4Rorb": 2.0,
        "i23Pvalb": 3.0,
        "i4Sst": 4.0,
    }
    with pytest.raises(ConfigError, match="wrong number of bias currents"):
        with_bias(network, np.ones(3))
