import torch
from scipy import stats

from v1builder.lgn import poisson_background, poisson_spikes


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


def test_background_keeps_its_mean_rate():
    counts = poisson_background((5000, 100), 250.0, 1.0, generator())
    assert counts.shape == (5000, 100)
    assert abs(counts.double().mean().item() - 0.25) < 4 * (0.25 / counts.numel()) ** 0.5
