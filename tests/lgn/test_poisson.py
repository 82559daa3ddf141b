import pytest
import torch
from scipy import stats

from v1builder.lgn import modulated_poisson_spikes, poisson_spikes


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_counts_are_poisson_at_every_rate():
    rates = torch.tensor([0.0, 2.0, 40.0, 250.0, 900.0]).expand(20_000, 5)
    counts = poisson_spikes(rates, 1.0, generator()).numpy()
    assert counts[:, 0].sum() == 0
    for unit, expected in enumerate([0.002, 0.04, 0.25, 0.9], start=1):
        observed = [(counts[:, unit] == k).sum() for k in range(2)] + [(counts[:, unit] >= 2).sum()]
        p = [stats.poisson.pmf(k, expected) for k in range(2)]
        model = [20_000 * share for share in (*p, 1 - sum(p))]
        if model[2] < 5:
            observed, model = (
                [observed[0], observed[1] + observed[2]],
                [model[0], model[1] + model[2]],
            )
        assert stats.chisquare(observed, model).pvalue > 1e-3, f"{expected} events per bin"


def test_spikes_follow_the_rate_in_time():
    rates = torch.zeros(1000, 50)
    rates[300:600] = 100.0
    counts = poisson_spikes(rates, 0.5, generator())
    assert counts[:300].sum() == 0
    assert counts[600:].sum() == 0
    expected = 300 * 50 * 100 * 0.0005
    assert abs(counts.sum().item() - expected) < 4 * expected**0.5


def test_units_and_steps_are_independent():
    counts = poisson_spikes(torch.full((4000, 30), 200.0), 1.0, generator()).double()
    correlation = torch.corrcoef(counts.T) - torch.eye(30)
    assert correlation.abs().max() < 5 / 4000**0.5
    later = torch.corrcoef(torch.stack([counts[:-1].flatten(), counts[1:].flatten()]))[0, 1]
    assert abs(later) < 5 / counts.numel() ** 0.5


def test_same_seed_same_spikes():
    rates = torch.rand(2, 300, 40) * 50
    first, again = (poisson_spikes(rates, 1.0, generator(7)) for _ in range(2))
    other = poisson_spikes(rates, 1.0, generator(8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.dtype == torch.uint8
    assert first.shape == rates.shape


def test_an_empty_population_has_no_spikes():
    assert poisson_spikes(torch.zeros(10, 0), 1.0, generator()).shape == (10, 0)
    assert poisson_spikes(torch.ones(4), 1.0, generator(), repeat=(0, 3)).shape == (0, 3, 4)


@pytest.mark.parametrize("per_unit", [False, True])
def test_repeated_rates_give_the_spikes_of_rates_spread_over_time(per_unit):
    """The same draws: so noise of constant inputs is what it was when their rates were spread out."""
    rates = torch.arange(100.0) if per_unit else torch.full((100,), 250.0)
    spread = poisson_spikes(rates.expand(6, 50, 100), 1.0, generator(3))
    assert torch.equal(poisson_spikes(rates, 1.0, generator(3), repeat=(6, 50)), spread)


def test_repeated_rates_are_independent_poisson_counts_of_their_mean():
    rates = torch.tensor([0.0, 3.0, 250.0])
    counts = poisson_spikes(rates, 1.0, generator(), repeat=(20, 2000)).double()
    assert counts.shape == (20, 2000, 3)
    for unit, rate in enumerate([0.0, 0.003, 0.25]):
        column = counts[:, :, unit]
        assert abs(column.sum() - rate * 40_000) <= 4 * (rate * 40_000) ** 0.5
        assert column.var() == pytest.approx(rate, rel=0.3)
    # Trials and steps differ by chance alone: counts per trial scatter as Poisson counts do.
    per_trial = counts[:, :, 2].sum(dim=1).numpy()
    dispersion = ((per_trial - 500) ** 2 / 500).sum()
    assert stats.chi2.sf(dispersion, 20) > 1e-3
    assert stats.chi2.cdf(dispersion, 20) > 1e-3


def test_rates_that_are_modulated_together_are_poisson_in_every_bin():
    """Mean and variance of every unit in every bin are its rate times the factor."""
    rates, factor = torch.tensor([0.0, 20.0, 300.0]), torch.tensor([0.5, 0.0, 2.0])
    factor = factor.expand(20_000, 3)
    counts = modulated_poisson_spikes(rates, factor, 1.0, generator()).double()
    assert counts.shape == (20_000, 3, 3)
    expected = factor[0][:, None] * rates / 1000
    error = (expected / 20_000) ** 0.5
    assert ((counts.mean(dim=0) - expected).abs() <= 4 * error).all()
    assert counts.var(dim=0) == pytest.approx(expected.numpy(), rel=0.06)
    joint = torch.corrcoef(counts[:, 2].T[1:])[0, 1]
    assert joint.abs() < 5 / 20_000**0.5


def test_modulated_rates_of_no_unit_and_of_many_events():
    assert modulated_poisson_spikes(torch.zeros(3), torch.ones(2, 4), 1.0, generator()).sum() == 0
    many = modulated_poisson_spikes(torch.tensor([5e5]), torch.ones(9), 1.0, generator())
    assert many.dtype == torch.float32
    assert many.mean() == pytest.approx(500, rel=0.1)
