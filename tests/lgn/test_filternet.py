"""Our LGN gives the rates of BMTK FilterNet 1.2.0, for every class, on the same SONATA nodes."""

import numpy as np
import pytest
import torch
from lgn_nodes import CLASSES, lgn_nodes

from v1builder.lgn import LGN
from v1builder.verify.lgn import filternet_cells, filternet_rates

PER_CLASS = 3
SHAPE = (80, 120)
# Relative to the class's peak rate. Both evaluate the same sums, so only rounding is left.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6}


@pytest.fixture(scope="module")
def nodes():
    return lgn_nodes(PER_CLASS, seed=3)


@pytest.fixture(scope="module")
def cells(nodes, tmp_path_factory):
    return filternet_cells(nodes, tmp_path_factory.mktemp("filternet"))


def grating(theta, sf, tf, n_steps=700, onset=50, dt=1.0, shape=SHAPE, pixels_per_degree=1.0):
    y, x = (np.arange(n) / pixels_per_degree for n in shape)
    angle = np.deg2rad(theta)
    along = x * np.cos(angle) + y[:, None] * np.sin(angle)
    t = np.arange(n_steps - onset)[:, None, None] * dt / 1000
    movie = np.zeros((n_steps, *shape))
    movie[onset:] = 0.8 * np.sin(2 * np.pi * (sf * along - tf * t))
    return movie


def flash(n_steps=600):
    movie = np.zeros((n_steps, *SHAPE))
    movie[100:200] = 1.0
    movie[350:450] = -1.0
    return movie


def noise(n_steps=300):
    return np.random.default_rng(5).uniform(-1, 1, (n_steps, *SHAPE))


MOVIES = {
    "drifting 0 deg, .04 cpd, 2 Hz": lambda: grating(0, 0.04, 2),
    "drifting 45 deg, .05 cpd, 4 Hz": lambda: grating(45, 0.05, 4),
    "drifting 160 deg, .08 cpd, 8 Hz": lambda: grating(160, 0.08, 8),
    "drifting 270 deg, .02 cpd, 15 Hz": lambda: grating(270, 0.02, 15),
    "static 45 deg, .05 cpd": lambda: grating(45, 0.05, 0),
    "static 100 deg, .16 cpd": lambda: grating(100, 0.16, 0),
    "full-field flash": flash,
    "white noise": noise,
}


def assert_agrees(ours, theirs, tolerance):
    for i, name in enumerate(CLASSES):
        mine, reference = (
            rates[:, i * PER_CLASS : (i + 1) * PER_CLASS] for rates in (ours, theirs)
        )
        assert reference.std() > 0.01, f"{name} does not respond: the comparison says nothing"
        error = np.abs(mine - reference).max() / reference.max()
        assert error < tolerance, f"{name}: relative error {error:.2g}"
        correlation = np.corrcoef(mine.ravel(), reference.ravel())[0, 1]
        assert correlation > 1 - 1e-9, f"{name}: correlation {correlation}"


@pytest.mark.parametrize("name", MOVIES)
def test_rates_are_filternets_for_every_class(nodes, cells, name):
    movie = MOVIES[name]()
    theirs = filternet_rates(cells, movie)
    for dtype, tolerance in TOLERANCE.items():
        ours = LGN(nodes, dtype=dtype).rates(torch.as_tensor(movie)).double().numpy()
        assert_agrees(ours, theirs, tolerance)


@pytest.mark.parametrize("dt", [0.5, 2.0])
def test_other_frame_rates(nodes, cells, dt):
    movie = grating(30, 0.05, 4, n_steps=int(500 / dt), onset=10, dt=dt)
    ours = LGN(nodes, dt=dt, dtype=torch.float64).rates(torch.as_tensor(movie)).numpy()
    assert_agrees(ours, filternet_rates(cells, movie, dt=dt), 1e-10)


@pytest.mark.parametrize(("shape", "field", "pixels_per_degree"), [
    ((81, 120), (120.0, 81.0), 1.0),
    ((81, 121), (121.0, 81.0), 1.0),
    ((120, 180), (120.0, 80.0), 1.5),
    ((240, 360), (120.0, 80.0), 3.0),
])  # fmt: skip
def test_rasters_with_odd_sides_and_other_resolutions(
    nodes, cells, shape, field, pixels_per_degree
):
    movie = grating(30, 0.05, 4, 300, shape=shape, pixels_per_degree=pixels_per_degree)
    lgn = LGN(nodes, field=field, pixels_per_degree=pixels_per_degree, dtype=torch.float64)
    rows, columns = (np.arange(n) / pixels_per_degree for n in shape)
    theirs = filternet_rates(cells, movie, row_range=rows, col_range=columns)
    assert_agrees(lgn.rates(torch.as_tensor(movie)).numpy(), theirs, 1e-10)


@pytest.mark.slow
def test_filternets_full_kernel_agrees_as_well(nodes, cells):
    """FilterNet's default evaluation multiplies whole spatiotemporal kernels."""
    movie = grating(45, 0.05, 4, 120, onset=10)
    some = slice(None, None, PER_CLASS)
    ours = LGN(nodes, dtype=torch.float64).rates(torch.as_tensor(movie)).numpy()[:, some]
    theirs = filternet_rates(cells[some], movie, separable=False)
    assert np.abs(ours - theirs).max() < 1e-10
