"""Lyapunov exponents against closed forms: the logistic map has ln 2, a linear map its spectral radius."""

import math

import numpy as np
import pytest
import torch

from v1builder.analysis.divergence import growth_rate, lyapunov_exponents, pushed


def logistic(x):
    return 4 * x * (1 - x)


@pytest.fixture
def linear():
    matrix = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return matrix / 3


def radii(matrix):
    """Moduli of the eigenvalues, from the largest."""
    return torch.linalg.eigvals(matrix).abs().sort(descending=True).values


def exponents(step, x, n_steps, **options):
    generator = torch.Generator().manual_seed(0)
    return lyapunov_exponents(step, x, n_steps, generator=generator, **options)


def test_the_logistic_map_has_ln_2():
    start = torch.tensor([0.3], dtype=torch.float64)
    found = exponents(lambda x, _k: logistic(x), start, 3000, transient=10)
    assert found.item() == pytest.approx(math.log(2), rel=0.02)


def test_a_linear_map_has_the_logarithm_of_its_spectral_radius(linear):
    found = exponents(lambda x, _k: linear @ x, torch.ones(6, dtype=torch.float64), 1500,
                      transient=300, n_exponents=1)  # fmt: skip
    assert found[0].item() == pytest.approx(math.log(radii(linear)[0]), abs=2e-3)


def test_all_exponents_add_up_to_the_change_of_volume(linear):
    found = exponents(lambda x, _k: linear @ x, torch.ones(6, dtype=torch.float64), 200,
                      n_exponents=6)  # fmt: skip
    assert found.sum().item() == pytest.approx(torch.logdet(linear @ linear).item() / 2, rel=1e-9)
    assert (found.diff() < 0.02).all()  # in their order


def test_a_driven_map_gets_the_number_of_its_step():
    """Growth by 2 and by 1/8 in turn: ln(1/4)/2 a step."""
    factor = torch.tensor([2.0, 0.125], dtype=torch.float64)
    found = exponents(lambda x, k: factor[k % 2] * x, torch.ones(2, dtype=torch.float64), 10)
    assert found.item() == pytest.approx(math.log(0.25) / 2)


def test_tangents_are_pushed_by_the_derivative():
    x = torch.tensor([0.4, -1.2], dtype=torch.float64)
    tangents = torch.tensor([[1.0, 0.5], [0.0, 2.0]], dtype=torch.float64)

    def step(x):
        return torch.stack([x[0] * x[1], torch.sin(x[0])])

    after, found = pushed(step, x, tangents)
    jacobian = torch.tensor([[-1.2, 0.4], [math.cos(0.4), 0.0]], dtype=torch.float64)
    torch.testing.assert_close(after, step(x))
    torch.testing.assert_close(found, jacobian @ tangents)


def test_twins_of_the_logistic_map_part_at_ln_2():
    """1000 pairs 1e-9 apart, until they are as far apart as any two points."""
    x = np.random.default_rng(0).uniform(0.1, 0.9, 1000)
    y, distance = x + 1e-9, []
    for _ in range(60):
        x, y = logistic(x), logistic(y)
        distance.append(np.abs(x - y))
    found = growth_rate(np.stack(distance, axis=1), 1.0, start=3, resolution=1e-15)
    assert found.rate / 1000 == pytest.approx(math.log(2), rel=0.05)
    assert 20 < found.stop < 40  # ln(1e9) / ln 2 = 30 steps


def test_twins_of_a_linear_map_close_at_its_spectral_radius(linear):
    radius = radii(linear)[0].item()
    matrix = linear.numpy() * 0.8 / radius
    difference, distance = np.random.default_rng(1).normal(size=(6, 20)), []
    for _ in range(120):
        distance.append(np.linalg.norm(difference, axis=0))
        difference = matrix @ difference
    found = growth_rate(np.stack(distance, axis=1), 2.0, start=20, resolution=1e-9)
    assert found.rate * 2 / 1000 == pytest.approx(math.log(0.8), rel=0.03)
    assert found.stop < 110  # not fitted where it is rounding


@pytest.mark.parametrize(
    ("distance", "reason"),
    [
        (np.zeros((3, 50)), "the twins do not differ"),
        (np.ones((3, 8)), "fewer than 10 steps"),
        (np.concatenate([np.full((1, 4), 1e-3), np.ones((1, 60))], axis=1), "no time to grow"),
    ],
)
def test_no_growth_is_no_number(distance, reason):
    found = growth_rate(distance, 1.0)
    assert math.isnan(found.rate)
    assert reason in found.reason
