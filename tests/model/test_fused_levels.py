"""GLIF levels 2, 4 and 5 in the fused backend: the reference's numbers, every output, every gradient."""

import pytest
import torch
from cases import Case, PlasticCase, assert_close, compare, with_levels

from v1builder.model.backends import get_backend, reference
from v1builder.model.surrogate import SURROGATE_KINDS, Surrogate

fused = get_backend("fused")


@pytest.mark.parametrize("kind", SURROGATE_KINDS)
@pytest.mark.parametrize("detach_reset", [False, True])
def test_every_surrogate(kind, detach_reset):
    compare(
        fused, with_levels(Case()), surrogate=Surrogate(kind, 0.5, 0.7), detach_reset=detach_reset
    )


@pytest.mark.parametrize("batch", [1, 2, 8, 9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batches_in_both_precisions(batch, dtype):
    compare(fused, with_levels(Case(batch=batch, steps=25, dtype=dtype)))


@pytest.mark.parametrize("current", ["constant", "in time", None])
def test_shapes_of_the_current(current):
    compare(fused, with_levels(Case(current=current, float_input=False)))


def test_together_with_plasticity():
    compare(fused, with_levels(PlasticCase()))


def test_several_blocks_of_cells():
    compare(
        fused, with_levels(Case(cells=4500, edges=60000, steps=12, batch=2, receptors=2, delays=2))
    )


@pytest.mark.parametrize(
    "wanted", ["weight 0", "V_th", "th_spike_decay", "th_voltage_per_pA", "th_voltage", "current"]
)
def test_gradient_of_one_argument_alone(wanted):
    case = with_levels(Case(steps=20))
    for name, leaf in case.leaves.items():
        leaf.requires_grad_(name == wanted)
    got = case.gradients(case.run(fused))
    assert bool(got[wanted].any())
    assert_close(got, case.gradients(case.run(reference)), 1e-9)
