import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lgn_nodes import CLASSES, lgn_nodes

from v1builder.lgn import LGN, LGN_CLASSES, FactoredMovie, Raster
from v1builder.lgn.kernels import cosine_bump_kernels, first_lobe
from v1builder.lgn.spatial import receptive_fields
from v1builder.schema.errors import ConfigError, NetworkError


@pytest.fixture(scope="module")
def nodes():
    return lgn_nodes(2, seed=1)


@pytest.fixture(scope="module")
def movie():
    return torch.rand(900, 80, 120, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_gray_gives_the_spontaneous_rate_of_the_class(nodes):
    rates = LGN(nodes).rates(torch.zeros(5, 80, 120))
    expected = [LGN_CLASSES[name].spontaneous_rate for name in CLASSES for _ in range(2)]
    assert torch.allclose(rates, torch.tensor(expected).expand(5, -1))


def test_there_are_fourteen_classes():
    assert set(LGN_CLASSES) == set(CLASSES)
    assert len(LGN_CLASSES) == 14


@pytest.mark.parametrize("sizes", [[900], [1, 7, 400, 492], [300, 300, 300]])
def test_streaming_gives_the_rates_of_the_whole_movie(nodes, movie, sizes):
    lgn = LGN(nodes, dtype=torch.float64)
    streamed = torch.cat(list(lgn.stream(movie.split(sizes))))
    assert torch.allclose(streamed, lgn.rates(movie), rtol=0, atol=1e-10)


def test_a_stream_remembers_nothing_of_the_one_before(nodes, movie):
    lgn = LGN(nodes, dtype=torch.float64)
    first, again = (torch.cat(list(lgn.stream(movie.split(170)))) for _ in range(2))
    assert torch.equal(first, again)


def test_a_movie_longer_than_a_block_is_causal_convolution(nodes):
    """Against a direct sum for one unit, over the seam between blocks."""
    lgn = LGN(nodes, dtype=torch.float64)
    frames = torch.rand(1, 80, 120, dtype=torch.float64)
    course = (
        torch.rand(2600, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.5
    )
    rates = lgn.rates(FactoredMovie(frames, course))
    unit = 0
    signal = (course[:, 0] * lgn.frame_drive(frames)[0, unit]).numpy()
    kernel = lgn._kernels[unit].numpy()
    expected = np.convolve(signal, kernel)[: len(signal)] + lgn.offset[unit].item()
    assert np.allclose(rates[:, unit].numpy(), np.maximum(expected, 0), rtol=0, atol=1e-10)


def test_a_factored_movie_is_its_dense_one(nodes, movie):
    lgn = LGN(nodes, dtype=torch.float64)
    factored = FactoredMovie(movie[:3].double(), movie[:200, 0, :3].double())
    assert torch.allclose(lgn.rates(factored), lgn.rates(factored.dense()), rtol=0, atol=1e-10)
    by_parts = lgn.rates_of(lgn.frame_drive(factored.frames), lgn.course_response(factored.course))
    assert torch.allclose(by_parts, lgn.rates(factored), rtol=0, atol=1e-10)


def test_a_movie_by_index_shows_its_frames_and_gray(movie):
    shown = FactoredMovie.of_index(movie[:2], torch.tensor([-1, 0, 1, 1, -1])).dense()
    expected = torch.stack(
        [torch.zeros(80, 120), movie[0], movie[1], movie[1], torch.zeros(80, 120)]
    )
    assert torch.equal(shown, expected)


def test_inactive_units_are_silent_and_the_others_unchanged(nodes, movie):
    active = np.array([27, 3, 24, 8])
    some, every = LGN(nodes, active=active).rates(movie[:50]), LGN(nodes).rates(movie[:50])
    assert torch.allclose(some[:, active], every[:, active], atol=1e-5)
    some[:, active] = 0
    assert some.sum() == 0


@given(
    weight=st.tuples(st.floats(1, 10), st.floats(-4, -0.1)),
    first=st.floats(5, 60),
    ratio=st.floats(1.1, 3),
    delay=st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted),
)
@settings(max_examples=25, deadline=None)
def test_each_bump_has_the_norm_of_its_weight(weight, first, ratio, delay):
    def kernel(a, b):
        return cosine_bump_kernels(
            np.array([[a, b]]), np.array([[first, first * ratio]]), np.array([delay], dtype=float)
        )

    assert np.isclose(np.linalg.norm(kernel(weight[0], 0.0)), weight[0])
    assert np.isclose(np.linalg.norm(kernel(0.0, weight[1])), -weight[1])
    assert np.allclose(kernel(*weight), kernel(weight[0], 0.0) + kernel(0.0, weight[1]))
    assert np.all(kernel(*weight)[0, : delay[0]] == 0)


def test_first_lobe_ends_where_the_kernel_turns_negative():
    kernel = np.array([[0.0, 1.0, 3.0, 2.0, 0.5, -0.5, -2.0, -1.0, 0.0]])
    end, area = first_lobe(kernel)
    assert (end[0], area[0]) == (5, 6.5)


@given(
    x=st.floats(-5, 125),
    y=st.floats(-5, 85),
    size=st.floats(2, 9),
    pixels_per_degree=st.sampled_from([0.5, 1, 2]),
)
@settings(max_examples=50, deadline=None)
def test_a_receptive_field_sums_to_one_around_its_centre(x, y, size, pixels_per_degree):
    raster = Raster(pixels_per_degree=pixels_per_degree)
    field = receptive_fields(np.array([x]), np.array([y]), np.array([size]), raster).toarray()
    field = field.reshape(raster.shape)
    if field.sum() == 0:
        assert not (0 <= x < 119 and 0 <= y < 79)
        return
    assert np.isclose(field.sum(), 1)
    assert (field >= 0).all()
    reach = 4 * size / 3 + 2 / pixels_per_degree
    if reach < x < 118 - reach and reach < y < 78 - reach:
        assert np.isclose((field.sum(axis=0) * raster.x).sum(), x)
        assert np.isclose((field.sum(axis=1) * raster.y).sum(), y)
        spread = np.sqrt((field.sum(axis=0) * (raster.x - x) ** 2).sum())
        assert abs(spread - size / 3) < 0.5 / pixels_per_degree


def without(nodes, name):
    attributes = {key: values for key, values in nodes.attributes.items() if key != name}
    return dataclasses.replace(nodes, attributes=attributes)


def changed(nodes, name, row, value):
    values = nodes.attributes[name].copy()
    values[row] = value
    return dataclasses.replace(nodes, attributes=nodes.attributes | {name: values})


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda n: without(n, "spatial_size"), "lack the attribute 'spatial_size'"),
        (lambda n: without(n, "weight_non_dom_1"), "lack the attribute 'weight_non_dom_1'"),
        (lambda n: changed(n, "x", 4, np.nan), "'x' is not finite"),
        (lambda n: changed(n, "kpeaks_dom_0", 0, np.inf), "'kpeaks_dom_0' is not finite"),
        (lambda n: changed(n, "sf_sep", 25, np.nan), "'sf_sep' is not finite"),
        (lambda n: changed(n, "weight_dom_0", 3, -1.0), "first bump's weight must be positive"),
        (lambda n: changed(n, "kpeaks_dom_0", 3, 500.0), "peak must be positive and before"),
        (lambda n: changed(n, "delay_non_dom_0", 26, 80.0), "nor the first longer than the second"),
        (lambda n: changed(n, "weight_non_dom_1", 24, 1.0), "cannot be given the latency"),
        (lambda n: changed(n, "model_template", 0, "lgnmodel:sON_TF3"), "did you mean 'sON_TF"),
    ],
)
def test_a_broken_node_is_named(nodes, broken, message):
    with pytest.raises(NetworkError, match=message):
        LGN(broken(nodes))


def test_frames_of_another_size_are_refused(nodes):
    with pytest.raises(ConfigError, match="80 rows and 120 columns"):
        LGN(nodes).rates(torch.zeros(10, 120, 80))


@pytest.mark.parametrize(
    "argument", [{"dt": 0.0}, {"pixels_per_degree": -1.0}, {"field": (120.0, 0.0)}]
)
def test_a_size_that_is_not_positive_is_refused(nodes, argument):
    with pytest.raises(ConfigError, match="must be positive"):
        LGN(nodes, **argument)


def test_composite_units_prefer_gratings_that_move_along_their_tuning_angle():
    """Ties the angles of LGN nodes and of frames together: 45 deg is not -45 deg, nor 225 deg."""
    units = lgn_nodes(30, seed=2, margin=20.0)
    names = units.attributes["pop_name"].astype(str)
    tuning = np.deg2rad(units.attributes["tuning_angle"])
    lgn = LGN(units, dtype=torch.float64)
    y, x = torch.as_tensor(lgn.raster.y)[:, None], torch.as_tensor(lgn.raster.x)
    cycle = 2 * torch.pi * 4 * torch.arange(750, dtype=torch.float64) / 1000
    course = torch.stack([torch.cos(cycle), -torch.sin(cycle)], dim=1)

    def modulation(angle):
        phase = 2 * torch.pi * 0.06 * (x * np.cos(angle) + y * np.sin(angle))
        movie = FactoredMovie(torch.stack([torch.sin(phase), torch.cos(phase)]), course)
        return lgn.rates(movie)[500:].std(dim=0).numpy()

    angles = np.deg2rad(np.arange(0, 360, 22.5))
    response = np.stack([modulation(angle) for angle in angles])
    direction = np.angle(np.exp(1j * angles) @ response * np.exp(-1j * tuning))
    orientation = np.angle(np.exp(2j * angles) @ response * np.exp(-2j * tuning)) / 2
    assert np.rad2deg(np.abs(orientation[names == "sONsOFF_001"]).max()) < 5
    assert np.rad2deg(np.abs(direction[names == "sONtOFF_001"]).max()) < 5
