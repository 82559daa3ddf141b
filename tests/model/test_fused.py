"""The fused backend gives the reference's numbers: every output, every gradient."""

import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from v1builder.model import glif
from v1builder.model.backends import _fused_forward, fused, reference
from v1builder.model.rollout import (
    Projection,
    Propagators,
    Rollout,
    State,
)
from v1builder.model.surrogate import SURROGATE_KINDS, Surrogate
from v1builder.schema.errors import ConfigError

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
N_INPUT = {"lgn": 20, "bkg": 7}


def floats(instance):
    """Names of the fields that hold floating point numbers (not None, not of size 0)."""
    values = {f.name: getattr(instance, f.name) for f in fields(instance)}
    tensors = {name: v for name, v in values.items() if isinstance(v, Tensor)}
    return [name for name, v in tensors.items() if v.is_floating_point() and v.numel()]


def map_floats(function, instance):
    changed = {name: function(name, getattr(instance, name)) for name in floats(instance)}
    return replace(instance, **changed)


class Case:
    """A random network whose cells spike a lot, with a non-zero initial state."""

    def __init__(
        self, seed=0, batch=3, steps=40, cells=37, receptors=3, delays=4, edges=600,
        dtype=torch.float64, current="full", float_input=True, n_asc=2,
    ):  # fmt: skip
        g = self.generator = torch.Generator().manual_seed(seed)
        self.steps, self.dtype = steps, dtype
        b, n, r, a, d = batch, cells, receptors, n_asc, delays

        def u(low, high, *shape):
            return low + (high - low) * torch.rand(*shape, generator=g, dtype=torch.float64)

        def integer(low, high, *shape):
            return torch.randint(low, high, shape, generator=g, dtype=torch.int32)

        parameters = glif.GlifParameters(
            C_m=u(50, 150, n), g=u(2, 8, n), V_th=u(10, 20, n), V_reset=u(-2, 0, n),
            t_ref=u(1, 5, n), asc_amps=u(-20, 0, n, a), asc_decay=u(0.003, 0.1, n, a),
            asc_r=u(0.5, 1, n, a), tau_syn_fast=u(1, 4, n, r), tau_syn_slow=u(4, 8, n, r),
            amp_slow=u(0, 0.5, n, r),
        )  # fmt: skip
        state = State(
            U=u(0, 5, b, n), asc=u(-5, 0, b, n, a), refractory=integer(0, 3, b, n),
            y1_fast=u(0, 1, b, n, r), y2_fast=u(0, 10, b, n, r), y1_slow=u(0, 1, b, n, r),
            y2_slow=u(0, 10, b, n, r), current=u(0, 20, b, n), pending=u(0, 30, d, b, n, r),
            th_spike=u(0, 1, b, n), th_voltage=u(0, 1, b, n), u=u(0, 1, b, 0), x=u(0, 1, b, 0),
        )  # fmt: skip
        self.projections, weights = [], []
        for name, n_source in {None: n, **N_INPUT}.items():
            self.projections.append(
                Projection(
                    name, n_source, integer(0, n_source, edges), integer(0, n, edges),
                    integer(0, r, edges), integer(1, d + 1, edges),
                )
            )  # fmt: skip
            weights.append(u(-40, 60, edges))
        self.inputs = {k: u(0, 1, b, steps, m) < 0.1 for k, m in N_INPUT.items()}
        shape = {"full": (b, steps, n), "constant": (1, 1, n), "in time": (1, steps, n)}.get(
            current
        )
        self.leaves: dict[str, Tensor] = {}
        self.propagators = map_floats(self._leaf, glif.propagators(parameters, 1.0))
        self.state = map_floats(self._leaf, state)
        self.weights = [self._leaf(f"weight {k}", w) for k, w in enumerate(weights)]
        self.current = None if shape is None else self._leaf("current", u(0, 80, *shape))
        if float_input:
            self.inputs["lgn"] = self._leaf("lgn", 1.5 * self.inputs["lgn"].double())

    def _leaf(self, name, tensor):
        leaf = self.leaves[name] = tensor.to(self.dtype).requires_grad_()
        return leaf

    def run(self, backend, surrogate=None, detach_reset=False, **changes) -> Rollout:
        arguments = {
            "propagators": self.propagators, "projections": self.projections,
            "weights": self.weights, "inputs": self.inputs, "current": self.current,
            "state": self.state, "n_steps": self.steps, "record_voltage": True,
        } | changes  # fmt: skip
        return backend.rollout(
            **arguments, surrogate=surrogate or Surrogate(width=0.7), detach_reset=detach_reset
        )

    def gradients(self, rollout: Rollout, names=None) -> dict[str, Tensor]:
        """Of a loss in which every entry of every output has its own random coefficient."""
        g = torch.Generator().manual_seed(1)
        loss = torch.zeros((), dtype=self.dtype)
        for output in outputs(rollout).values():
            factor = torch.rand(output.shape, generator=g, dtype=torch.float64).to(output)
            loss = loss + (output * factor).sum()
        leaves = {k: v for k, v in self.leaves.items() if v.requires_grad}
        return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def outputs(rollout: Rollout) -> dict[str, Tensor]:
    of_state = {name: getattr(rollout.state, name) for name in floats(rollout.state)}
    recorded = {"spikes": rollout.spikes, "voltage": rollout.voltage, "drive": rollout.drive}
    return {k: v for k, v in recorded.items() if v is not None} | of_state


def assert_close(got: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float):
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        scale = float(value.detach().abs().max())
        error = float((got[name] - value).detach().abs().max())
        assert error <= tolerance * scale, f"{name}: {error:.2e} of {scale:.2e}"


def compare(case: Case, backend=fused, **how):
    """A backend against the reference: outputs, and gradients of all that has one."""
    expected, got = case.run(reference, **how), case.run(backend, **how)
    assert expected.spikes.sum() > 20
    assert torch.equal(got.spikes, expected.spikes)
    assert torch.equal(got.state.refractory, expected.state.refractory)
    tolerance = TOLERANCE[case.dtype]
    assert_close(outputs(got), outputs(expected), tolerance)
    gradients = case.gradients(expected)
    assert all(bool(g.any()) for g in gradients.values())
    assert_close(case.gradients(got), gradients, tolerance)


@pytest.mark.parametrize("kind", SURROGATE_KINDS)
@pytest.mark.parametrize("detach_reset", [False, True])
def test_every_surrogate(kind, detach_reset):
    compare(Case(), surrogate=Surrogate(kind, 0.5, 0.7), detach_reset=detach_reset)


@pytest.mark.parametrize("batch", [1, 2, 8, 9])
@pytest.mark.parametrize("receptors", [1, 10])
def test_batches_and_receptors(batch, receptors):
    compare(Case(batch=batch, receptors=receptors, steps=20, delays=2))


@pytest.mark.parametrize("current", ["constant", "in time", None])
def test_shapes_of_the_current(current):
    compare(Case(current=current, float_input=False))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(3))
def test_both_precisions(dtype, seed):
    compare(Case(seed=seed, dtype=dtype))


def test_delays_longer_than_the_rollout():
    case = Case(steps=5, delays=9, batch=2)
    got, expected = case.run(fused), case.run(reference)
    assert_close(outputs(got), outputs(expected), 1e-9)
    assert_close(case.gradients(got), case.gradients(expected), 1e-9)


def test_several_blocks_of_cells():
    compare(Case(cells=4500, edges=60000, steps=12, batch=2, receptors=2, delays=2))


@pytest.mark.parametrize("n_asc", [1, 3])
def test_any_number_of_after_spike_currents(n_asc):
    compare(Case(n_asc=n_asc, steps=20))


def test_two_projections_of_one_source():
    case = Case()
    case.projections += [case.projections[0], replace(case.projections[1])]
    case.weights += [case._leaf("more", case.weights[0].detach() * 0.3)]
    case.weights += [case._leaf("even more", case.weights[1].detach() * -0.2)]
    compare(case)


@pytest.mark.parametrize("wanted", ["weight 0", "P11_fast", "V_th", "U", "pending", "current"])
def test_gradient_of_one_argument_alone(wanted):
    case = Case(steps=20)
    for name, leaf in case.leaves.items():
        leaf.requires_grad_(name == wanted)
    got = case.gradients(case.run(fused))
    assert list(got) == [wanted]
    assert_close(got, case.gradients(case.run(reference)), 1e-9)


def test_a_loss_on_the_spikes_alone():
    case = Case()
    losses = [
        case.run(b, record_voltage=False).spikes.mean(1).square().sum() for b in (fused, reference)
    ]
    names = ("weight 0", "weight 1", "P33", "P21_slow")
    leaves = [case.leaves[name] for name in names]
    got, expected = (dict(zip(names, torch.autograd.grad(x, leaves), strict=True)) for x in losses)
    assert_close(got, expected, 1e-9)


def test_a_rollout_continues_where_another_stopped():
    case = Case(steps=30)
    whole = case.run(fused)

    def part(state, steps):
        inputs = {k: v[:, steps] for k, v in case.inputs.items()}
        current = case.current[:, steps]
        return case.run(
            fused, state=state, inputs=inputs, current=current, n_steps=current.shape[1]
        )

    first = part(case.state, slice(0, 13))
    second = part(first.state, slice(13, 30))
    joined = replace(
        second,
        **{
            k: torch.cat([getattr(first, k), getattr(second, k)], 1)
            for k in ("spikes", "voltage", "drive")
        },
    )
    for name, value in outputs(whole).items():
        assert torch.equal(outputs(joined)[name], value), name
    assert_close(case.gradients(joined), case.gradients(whole), 1e-12)


def test_backward_twice_gives_the_same():
    case = Case()
    loss = case.run(fused).spikes.sum()
    leaves = list(case.leaves.values())
    first = torch.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True)
    second = torch.autograd.grad(loss, leaves, allow_unused=True)
    for a, b in zip(first, second, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)


def test_same_bytes_for_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(_fused_forward, "THREADED_FROM", 0)
    case = Case(cells=4500, edges=60000, steps=12, receptors=2, dtype=torch.float32)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            rollout = case.run(fused)
            results.append(outputs(rollout) | case.gradients(rollout))
    finally:
        torch.set_num_threads(before)
    for name, value in results[0].items():
        assert torch.equal(results[1][name], value), name


def test_arguments_are_left_alone():
    case = Case(steps=10)
    before = {name: leaf.detach().clone() for name, leaf in case.leaves.items()}
    refractory = case.state.refractory.clone()
    case.gradients(case.run(fused))
    assert torch.equal(case.state.refractory, refractory)
    for name, leaf in case.leaves.items():
        assert torch.equal(leaf.detach(), before[name]), name


def test_a_network_without_edges():
    case = Case(float_input=False)
    for backend in (reference, fused):
        rollout = case.run(backend, projections=[], weights=[], inputs={})
        if backend is reference:
            expected = rollout
    assert torch.equal(rollout.spikes, expected.spikes)
    assert_close(outputs(rollout), outputs(expected), 1e-12)


def half(case):
    case.weights[0] = case.weights[0].detach().half()


def short_input(case):
    case.inputs["bkg"] = case.inputs["bkg"][:, :-1]


def wide_current(case):
    case.current = torch.zeros(1, 1, 5, dtype=torch.float64)


def long_delay(case):
    case.projections[1] = replace(
        case.projections[1], delay_steps=case.projections[1].delay_steps + np.int32(3)
    )


def foreign_target(case):
    case.projections[0] = replace(
        case.projections[0], target_index=case.projections[0].target_index + np.int32(1)
    )


def few_weights(case):
    case.weights[2] = case.weights[2][:-1]


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (half, "float16"),
        (short_input, "input 'bkg'"),
        (wide_current, "current"),
        (long_delay, "delay_steps"),
        (foreign_target, "target_index"),
        (few_weights, "weights from bkg"),
    ],
)
def test_one_message_for_what_does_not_fit(damage, word):
    case = Case(steps=5)
    damage(case)
    with pytest.raises(ConfigError, match=word) as caught:
        case.run(fused)
    assert len(caught.value.problems) == 1


def with_delta_synapses(case):
    return {
        "propagators": replace(case.propagators, U_jump=torch.ones_like(case.propagators.P31_fast))
    }


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        (with_delta_synapses, "delta synapses"),
    ],
)
def test_a_model_it_cannot_compute_is_refused(changes, word):
    case = Case(steps=5)
    with pytest.raises(ConfigError, match=word):
        case.run(fused, **changes(case))


def test_a_device_it_cannot_use_names_the_alternative():
    case = Case(steps=5)
    p = map_floats(lambda _, x: x.to("meta"), case.propagators)
    with pytest.raises(ConfigError, match="backend 'reference'"):
        case.run(fused, propagators=Propagators(**{f.name: getattr(p, f.name) for f in fields(p)}))


def test_the_number_of_threads_that_torch_was_given_stays():
    """In a process of its own, because numba starts its threads once."""
    script = (
        "import torch; torch.set_num_threads(1)\n"
        "from test_fused import Case, fused\n"
        "Case(steps=2).run(fused); print(torch.get_num_threads())"
    )
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parent, env=environment,
    )  # fmt: skip
    assert done.stdout.split() == ["1"]
