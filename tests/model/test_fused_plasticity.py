"""Short-term plasticity in the fused backend: the reference's numbers, every output, every gradient."""

from dataclasses import replace

import pytest
import torch
from cases import (
    TOLERANCE,
    PlasticCase,
    assert_close,
    assert_same_for_any_number_of_threads,
    compare,
    outputs,
)

from v1builder.model.backends import get_backend, reference
from v1builder.model.backends.cpu import passes
from v1builder.model.surrogate import SURROGATE_KINDS, Surrogate
from v1builder.schema.errors import ConfigError

fused = get_backend("fused")


@pytest.mark.parametrize("kind", SURROGATE_KINDS)
@pytest.mark.parametrize("detach_reset", [False, True])
def test_every_surrogate(kind, detach_reset):
    compare(fused, PlasticCase(), surrogate=Surrogate(kind, 0.5, 0.7), detach_reset=detach_reset)


@pytest.mark.parametrize("batch", [1, 2, 8, 9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batches_in_both_precisions(batch, dtype):
    compare(fused, PlasticCase(batch=batch, steps=25, dtype=dtype))


@pytest.mark.parametrize(
    "sites", [{None: 50, "lgn": 0, "bkg": 0}, {None: 0, "lgn": 25, "bkg": 0}, {None: 7, "lgn": 1, "bkg": 9}]
)  # fmt: skip
def test_sites_of_some_sources_only(sites):
    compare(fused, PlasticCase(sites=sites))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_all_edges_static_or_plastic(share):
    case = PlasticCase(share=share)
    compare_those_with_a_gradient(case)


def compare_those_with_a_gradient(case):
    expected, got = case.run(reference), case.run(fused)
    assert torch.equal(got.spikes, expected.spikes)
    assert_close(outputs(got), outputs(expected), TOLERANCE[case.dtype])
    assert_close(case.gradients(got), case.gradients(expected), TOLERANCE[case.dtype])


def test_no_facilitation():
    compare_those_with_a_gradient(PlasticCase(facilitation="none"))


def test_a_narrow_surrogate_sees_spikes_it_gives_no_slope():
    """Then the release of a spike matters although the spike itself has no gradient."""
    compare(fused, PlasticCase(), surrogate=Surrogate("boxcar", 0.5, 0.05))


def test_inputs_larger_than_a_spike_change_the_sites_once():
    case = PlasticCase()
    assert bool((case.inputs["lgn"] > 1).any())
    compare(fused, case)


def test_several_blocks_of_cells():
    sites = {None: 6000, "lgn": 25, "bkg": 9}
    compare(
        fused,
        PlasticCase(sites=sites, cells=4500, edges=60000, steps=12, batch=2, receptors=2, delays=2),
    )


@pytest.mark.parametrize(
    "wanted",
    ["weight 0", "weight 1", "weight 2", "P11_fast", "V_th", "site U", "P_fac", "u", "x", "lgn"],
)
def test_gradient_of_one_argument_alone(wanted):
    case = PlasticCase(steps=20)
    for name, leaf in case.leaves.items():
        leaf.requires_grad_(name == wanted)
    got = case.gradients(case.run(fused))
    assert list(got) == [wanted]
    assert bool(got[wanted].any())
    assert_close(got, case.gradients(case.run(reference)), 1e-9)


def test_without_gradients_the_bytes_are_the_same():
    """No segments then, so nothing is snapshot and nothing replayed."""
    case = PlasticCase(dtype=torch.float32)
    with torch.no_grad():
        plain = case.run(fused)
    for name, value in outputs(case.run(fused)).items():
        assert torch.equal(outputs(plain)[name], value), name


def test_same_bytes_for_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(passes, "THREADED_FROM", 0)
    sites = {None: 6000, "lgn": 25, "bkg": 9}
    case = PlasticCase(
        sites=sites, cells=4500, edges=60000, steps=12, receptors=2, dtype=torch.float32
    )
    assert_same_for_any_number_of_threads(fused, case)


def test_backward_twice_gives_the_same_and_arguments_are_left_alone():
    case = PlasticCase()
    before = {name: leaf.detach().clone() for name, leaf in case.leaves.items()}
    loss = case.run(fused).spikes.sum()
    leaves = list(case.leaves.values())
    first = torch.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True)
    second = torch.autograd.grad(loss, leaves, allow_unused=True)
    for a, b in zip(first, second, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)
    for name, leaf in case.leaves.items():
        assert torch.equal(leaf.detach(), before[name]), name


def missing_coefficients(case):
    return {"plasticity": None}


def few_sites(case):
    return {"state": replace(case.state, u=case.state.u[:, 1:])}


def foreign_site(case):
    case.projections[0] = replace(
        case.projections[0], source_index=case.projections[0].source_index + 30
    )
    return {}


def foreign_source(case):
    case.projections[1] = replace(
        case.projections[1], site_source=case.projections[1].site_source + 3
    )
    return {}


def overlapping_sites(case):
    case.projections[2] = replace(case.projections[2], first_site=0)
    return {}


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (missing_coefficients, "coefficients"),
        (few_sites, "state of the sites"),
        (foreign_site, "source_index"),
        (foreign_source, "site_source"),
        (overlapping_sites, "first_site"),
    ],
)
def test_one_message_for_what_does_not_fit(damage, word):
    case = PlasticCase(steps=5)
    changes = damage(case)
    with pytest.raises(ConfigError, match=word) as caught:
        case.run(fused, **changes)
    assert len(caught.value.problems) == 1
