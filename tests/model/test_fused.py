"""The fused backend gives the reference's numbers: every output, every gradient."""

import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import (
    Case,
    PlasticCase,
    assert_close,
    assert_same_for_any_number_of_threads,
    compare,
    map_floats,
    outputs,
    with_instant_synapses,
    with_levels,
    with_smooth_cells,
)

from v1builder.model.backends import get_backend, graded, reference
from v1builder.model.backends.cpu import edges, passes, smooth
from v1builder.model.backends.plan import plan_edges
from v1builder.model.neurons.glif import Propagators
from v1builder.model.surrogate import SURROGATE_KINDS, Surrogate
from v1builder.schema.errors import ConfigError

fused = get_backend("fused")


@pytest.mark.parametrize("kind", SURROGATE_KINDS)
@pytest.mark.parametrize("detach_reset", [False, True])
def test_every_surrogate(kind, detach_reset):
    compare(fused, Case(), surrogate=Surrogate(kind, 0.5, 0.7), detach_reset=detach_reset)


@pytest.mark.parametrize("batch", [1, 2, 8, 9])
@pytest.mark.parametrize("receptors", [1, 10])
def test_batches_and_receptors(batch, receptors):
    compare(fused, Case(batch=batch, receptors=receptors, steps=20, delays=2))


@pytest.mark.parametrize("current", ["constant", "in time", None])
def test_shapes_of_the_current(current):
    compare(fused, Case(current=current, float_input=False))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(3))
def test_both_precisions(dtype, seed):
    compare(fused, Case(seed=seed, dtype=dtype))


def test_delays_longer_than_the_rollout():
    case = Case(steps=5, delays=9, batch=2)
    got, expected = case.run(fused), case.run(reference)
    assert_close(outputs(got), outputs(expected), 1e-9)
    assert_close(case.gradients(got), case.gradients(expected), 1e-9)


def test_several_blocks_of_cells():
    compare(fused, Case(cells=4500, edges=60000, steps=12, batch=2, receptors=2, delays=2))


def dense(case, delay=2, receptor=1):
    """The case with an edge from every source to every cell, all of one delay to one port."""
    generator = torch.Generator().manual_seed(3)
    n = len(case.leaves["V_th"])
    for i, old in enumerate(case.projections):
        source = torch.arange(old.n_source, dtype=torch.int32).repeat_interleave(n)
        case.projections[i] = replace(
            old,
            source_index=source,
            target_index=torch.arange(n, dtype=torch.int32).repeat(old.n_source),
            receptor=torch.full((len(source),), receptor, dtype=old.receptor.dtype),
            delay_steps=torch.full((len(source),), delay, dtype=old.delay_steps.dtype),
        )
        weight = torch.randn(len(source), generator=generator, dtype=torch.float64)
        scale = case.weights[i].detach().abs().mean()
        case.weights[i] = case._leaf(f"weight {i}", weight.to(case.weights[i]) * scale)
    return case


def dense_slot(case):
    projections, state = case.projections, case.state
    shape = (state.U.shape[1], state.pending.shape[3], state.pending.shape[0])
    return plan_edges(projections, shape, torch.device("cpu"), fused.kernels()).dense_slot


@pytest.mark.parametrize("batch", [1, 3, 8, 11])
@pytest.mark.parametrize("blocks", [1, 2])
def test_dense_edges(batch, blocks, monkeypatch):
    monkeypatch.setattr(edges, "_count_blocks", lambda *_: blocks)
    case = dense(Case(batch=batch, cells=43, steps=25))
    assert dense_slot(case) >= 0
    compare(fused, case)


def test_edges_that_are_nearly_dense():
    case = dense(Case(cells=43))
    one = case.projections[0]
    delays = one.delay_steps.clone()
    delays[100] = 1
    case.projections[0] = replace(one, delay_steps=delays)
    assert dense_slot(case) == -1
    compare(fused, case)


@pytest.mark.parametrize("n_asc", [1, 3])
def test_any_number_of_after_spike_currents(n_asc):
    compare(fused, Case(n_asc=n_asc, steps=20))


def test_two_projections_of_one_source():
    case = Case()
    case.projections += [case.projections[0], replace(case.projections[1])]
    case.weights += [case._leaf("more", case.weights[0].detach() * 0.3)]
    case.weights += [case._leaf("even more", case.weights[1].detach() * -0.2)]
    compare(fused, case)


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


@pytest.mark.parametrize(
    "case", [Case(steps=30), PlasticCase(steps=30), with_levels(Case(steps=30))]
)
def test_a_rollout_continues_where_another_stopped(case):
    whole, joined = case.run(fused), case.run_in_two(fused, at=13)
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


@pytest.mark.parametrize("all_to_all", [False, True])
def test_same_bytes_for_any_number_of_threads(all_to_all, monkeypatch):
    monkeypatch.setattr(passes, "THREADED_FROM", 0)
    size = {"cells": 300, "batch": 11} if all_to_all else {"cells": 4500, "edges": 60000}
    case = Case(**size, steps=12, receptors=2, dtype=torch.float32)
    if all_to_all:
        case = dense(case)
    assert_same_for_any_number_of_threads(fused, case)


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


def test_a_model_it_cannot_compute_is_refused():
    case = with_smooth_cells(PlasticCase(steps=5))
    with pytest.raises(ConfigError, match="short-term plasticity"):
        case.run(fused)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("detach_reset", [False, True])
def test_smooth_cells(batch, dtype, detach_reset):
    case = with_smooth_cells(Case(batch=batch, dtype=dtype, n_asc=batch))
    compare(fused, case, detach_reset=detach_reset)


@pytest.mark.parametrize("current", ["constant", "in time", None])
def test_currents_into_smooth_cells(current):
    compare(fused, with_smooth_cells(Case(current=current, float_input=False)))


def test_smooth_cells_along_dense_and_along_few_edges(monkeypatch):
    for dense_from in (0.0, 2.0):
        monkeypatch.setattr(graded, "_DENSE_FROM", dense_from)
        compare(fused, with_smooth_cells(Case(delays=3)))


def test_smooth_cells_are_the_same_bytes_for_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(smooth, "_THREADED_FROM", 0)
    case = with_smooth_cells(Case(cells=300, edges=4000, steps=12, dtype=torch.float32))
    assert_same_for_any_number_of_threads(fused, case)


@pytest.mark.parametrize("batch", [1, 3, 9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exponential_currents_and_delta_synapses(batch, dtype):
    compare(fused, with_instant_synapses(Case(batch=batch, steps=25, dtype=dtype)))


def test_exponential_currents_alone():
    case = with_instant_synapses(Case())
    case.propagators = replace(case.propagators, U_jump=None)
    del case.leaves["U_jump"]
    compare(fused, case)


def test_they_in_a_network_of_levels_and_plasticity_in_several_blocks():
    how = {"cells": 4500, "edges": 60000, "steps": 8, "batch": 2, "receptors": 2, "delays": 2}
    sites = {None: 6000, "lgn": 25, "bkg": 9}
    compare(fused, with_instant_synapses(with_levels(PlasticCase(sites=sites, **how))))


def test_a_device_it_cannot_use_names_the_alternative():
    case = Case(steps=5)
    p = map_floats(lambda _, x: x.to("meta"), case.propagators)
    with pytest.raises(ConfigError, match="backend 'reference'"):
        case.run(fused, propagators=Propagators(**{f.name: getattr(p, f.name) for f in fields(p)}))


def test_the_number_of_threads_that_torch_was_given_stays():
    """In a process of its own, because numba starts its threads once."""
    script = (
        "import torch; torch.set_num_threads(1)\n"
        "from cases import Case\nfrom v1builder.model.backends import get_backend\n"
        "Case(steps=2).run(get_backend('fused')); print(torch.get_num_threads())"
    )
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parent, env=environment,
    )  # fmt: skip
    assert done.stdout.split() == ["1"]
