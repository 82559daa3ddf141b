"""GLIF levels 2, 4 and 5 in the fused backend: the reference's numbers, every output, every gradient."""

from dataclasses import replace

import pytest
import torch
from test_fused import Case, assert_close, compare, map_floats, outputs
from test_fused_plasticity import PlasticCase

from v1builder.model.backends import fused, reference
from v1builder.model.rollout import ThresholdDynamics
from v1builder.model.surrogate import SURROGATE_KINDS, Surrogate


def with_levels(case):
    """The same case with a threshold that moves and a reset that depends on the voltage."""
    n = case.propagators.V_th.shape

    def u(low, high):
        return low + (high - low) * torch.rand(n, generator=case.generator, dtype=torch.float64)

    dynamics = ThresholdDynamics(
        voltage_reset_fraction=u(-0.2, 0.7), th_spike_add=u(0, 6), th_spike_decay=u(0.8, 0.99),
        th_spike_refractory=u(0.5, 1), th_voltage_decay=u(0.8, 0.99),
        th_voltage_per_mV=u(0, 0.05), th_voltage_per_pA=u(-0.002, 0.004),
    )  # fmt: skip
    threshold = map_floats(case._leaf, dynamics)
    case.propagators = replace(case.propagators, threshold=threshold)
    return case


@pytest.mark.parametrize("kind", SURROGATE_KINDS)
@pytest.mark.parametrize("detach_reset", [False, True])
def test_every_surrogate(kind, detach_reset):
    compare(with_levels(Case()), surrogate=Surrogate(kind, 0.5, 0.7), detach_reset=detach_reset)


@pytest.mark.parametrize("batch", [1, 2, 8, 9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batches_in_both_precisions(batch, dtype):
    compare(with_levels(Case(batch=batch, steps=25, dtype=dtype)))


@pytest.mark.parametrize("current", ["constant", "in time", None])
def test_shapes_of_the_current(current):
    compare(with_levels(Case(current=current, float_input=False)))


def test_together_with_plasticity():
    compare(with_levels(PlasticCase()))


def test_several_blocks_of_cells():
    compare(with_levels(Case(cells=4500, edges=60000, steps=12, batch=2, receptors=2, delays=2)))


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


def test_a_rollout_continues_where_another_stopped():
    case = with_levels(Case(steps=30))
    whole, state, parts = case.run(fused), case.state, []
    for steps in (slice(0, 13), slice(13, 30)):
        current = case.current[:, steps]
        inputs = {k: v[:, steps] for k, v in case.inputs.items()}
        parts.append(
            case.run(fused, state=state, inputs=inputs, current=current, n_steps=current.shape[1])
        )
        state = parts[-1].state
    joined = {
        k: torch.cat([getattr(part, k) for part in parts], 1)
        for k in ("spikes", "voltage", "drive")
    }
    joined = replace(parts[-1], **joined)
    for name, value in outputs(whole).items():
        assert torch.equal(outputs(joined)[name], value), name
    assert_close(case.gradients(joined), case.gradients(whole), 1e-12)
