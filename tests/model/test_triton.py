"""The Triton backend gives the reference's numbers: every output, every gradient.

On a machine with a CUDA device the kernels run there; elsewhere in Triton's interpreter on the CPU, which
takes some milliseconds per program and operation, so the cases are small. That they compile for a GPU is
tested without one.
"""

import logging
import os
import subprocess
import sys
from dataclasses import fields, is_dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from cases import (
    Case,
    PlasticCase,
    assert_close,
    compare,
    outputs,
    with_instant_synapses,
    with_levels,
)
from networks import random_network
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from v1builder.model import backends
from v1builder.model.backends import cuda as member
from v1builder.model.backends import get_backend, plan, reference
from v1builder.model.network import V1Network
from v1builder.model.neurons.glifr import SmoothPropagators, SmoothSpike
from v1builder.model.surrogate import SURROGATE_KINDS, Surrogate
from v1builder.schema.errors import ConfigError

if find_spec("triton") is None:
    pytest.skip("Triton is not installed", allow_module_level=True)


def interpret(patch: pytest.MonkeyPatch) -> None:
    if not torch.cuda.is_available():
        patch.setenv("TRITON_INTERPRET", "1")


# Triton decides at import whether kernels are interpreted. Other tests do not use it, but may have made
# torch import it, and then it is imported anew (but for its library, which would not stand that).
with pytest.MonkeyPatch.context() as patch:
    interpret(patch)
    if "TRITON_INTERPRET" in os.environ:
        for module in list(sys.modules):
            if module.partition(".")[0] == "triton" and not module.startswith("triton._C"):
                del sys.modules[module]
    from v1builder.model.backends.cuda import kernels, launch

fused, gpu = backends.BACKENDS["fused"], backends.BACKENDS["triton"]
DEVICE = "cpu" if launch.INTERPRETED else "cuda"
SMALL = {"batch": 2, "steps": 7, "cells": 180, "receptors": 2, "delays": 2, "edges": 2000}


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
    """The first launch imports more of Triton."""
    interpret(monkeypatch)


def on(case: Case, device: str = DEVICE) -> Case:
    """The case on a device, its leaves with it."""
    moved: dict[int, Tensor] = {}
    for name, leaf in case.leaves.items():
        case.leaves[name] = leaf.detach().to(device).requires_grad_(leaf.requires_grad)
        moved[id(leaf)] = case.leaves[name]

    def move(value):
        if isinstance(value, Tensor):
            return moved.get(id(value), value.to(device))
        if isinstance(value, dict):
            return {k: move(v) for k, v in value.items()}
        if isinstance(value, list):
            return [move(v) for v in value]
        if is_dataclass(value):
            return replace(value, **{f.name: move(getattr(value, f.name)) for f in fields(value)})
        return value

    for name in (
        "propagators",
        "state",
        "projections",
        "weights",
        "inputs",
        "current",
        "plasticity",
    ):
        if hasattr(case, name):
            setattr(case, name, move(getattr(case, name)))
    return case


def small(kind=Case, **how) -> Case:
    sites = {"sites": {None: 30, "lgn": 25, "bkg": 9}} if kind is PlasticCase else {}
    return on(kind(**SMALL | sites | how))


def small_with_levels(kind=Case, **how) -> Case:
    sites = {"sites": {None: 30, "lgn": 25, "bkg": 9}} if kind is PlasticCase else {}
    return on(with_levels(kind(**SMALL | sites | how)))


@pytest.mark.parametrize("kind", SURROGATE_KINDS)
def test_every_surrogate(kind):
    how = {"detach_reset": kind in ("boxcar", "sigmoid")}
    compare(gpu, small(), surrogate=Surrogate(kind, 0.5, 0.7), **how)


@pytest.mark.parametrize(("batch", "current"), [(1, "constant"), (3, "in time"), (2, None)])
def test_batches_and_shapes_of_the_current(batch, current):
    steps = 14 if current is None else 7
    compare(gpu, small(batch=batch, current=current, float_input=False, steps=steps))


def test_a_batch_larger_than_a_tile(monkeypatch):
    monkeypatch.setattr(launch, "MOST_SAMPLES", 2)
    compare(gpu, small(PlasticCase, batch=3))


@pytest.mark.parametrize(("receptors", "n_asc"), [(1, 1), (3, 3)])
def test_receptors_and_after_spike_currents(receptors, n_asc):
    compare(gpu, small(receptors=receptors, n_asc=n_asc))


@pytest.mark.parametrize(
    "make",
    [small, lambda **how: small_with_levels(PlasticCase, **how)],
    ids=["static", "levels and plasticity"],
)
def test_float32(make):
    compare(gpu, make(dtype=torch.float32))


@pytest.mark.parametrize("detach_reset", [False, True])
def test_levels(detach_reset):
    compare(gpu, small_with_levels(), detach_reset=detach_reset)


def test_plasticity_with_a_narrow_surrogate():
    """Then the release of a spike matters although the spike itself has no gradient."""
    compare(gpu, small(PlasticCase, steps=12), surrogate=Surrogate("boxcar", 0.5, 0.05))


def test_sites_of_some_sources_only():
    case = on(PlasticCase(sites={None: 0, "lgn": 25, "bkg": 0}, **SMALL | {"float_input": False}))
    compare(gpu, case)


def test_several_tiles_of_cells_and_rows():
    compare(gpu, small(cells=1100, edges=9000, steps=7, delays=1, batch=1))


def test_two_projections_of_one_source():
    case = Case(**SMALL)
    case.projections += [case.projections[0], replace(case.projections[1])]
    case.weights += [case._leaf("more", case.weights[0].detach() * 0.3)]
    case.weights += [case._leaf("even more", case.weights[1].detach() * -0.2)]
    compare(gpu, on(case))


@pytest.mark.parametrize("wanted", ["weight 0", "P11_fast", "V_th", "pending", "u", "lgn"])
def test_gradient_of_one_argument_alone(wanted):
    case = small(PlasticCase if wanted == "u" else Case)
    for name, leaf in case.leaves.items():
        leaf.requires_grad_(name == wanted)
    got = case.gradients(case.run(gpu))
    assert list(got) == [wanted]
    assert_close(got, case.gradients(case.run(reference)), 1e-9)


def test_delays_longer_than_the_rollout():
    case = small(steps=4, delays=9)
    got, expected = case.run(gpu), case.run(reference)
    assert_close(outputs(got), outputs(expected), 1e-9)
    assert_close(case.gradients(got), case.gradients(expected), 1e-9)


def test_a_network_without_edges():
    case = small(float_input=False)
    got, expected = (
        case.run(backend, projections=[], weights=[], inputs={}) for backend in (gpu, reference)
    )
    assert torch.equal(got.spikes, expected.spikes)
    assert_close(outputs(got), outputs(expected), 1e-12)


def test_a_rollout_continues_where_another_stopped():
    case = small_with_levels(PlasticCase)
    whole, joined = case.run(gpu), case.run_in_two(gpu, at=3)
    assert_close(outputs(joined), outputs(whole), 1e-12)
    assert_close(case.gradients(joined), case.gradients(whole), 1e-9)


def test_backward_twice_gives_the_same_and_arguments_are_left_alone():
    case = small(PlasticCase)
    case.leaves = {k: v for k, v in case.leaves.items() if "1" not in k or "weight" in k}
    before = {name: leaf.detach().clone() for name, leaf in case.leaves.items()}
    for leaf in case.leaves.values():
        leaf.requires_grad_(True)
    loss = case.run(gpu).spikes.sum()
    leaves = [leaf for name, leaf in case.leaves.items() if not name.startswith(("P", "y"))]
    first = torch.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True)
    second = torch.autograd.grad(loss, leaves, allow_unused=True)
    for a, b in zip(first, second, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)
    for name, leaf in case.leaves.items():
        assert torch.equal(leaf.detach(), before[name]), name


def test_a_checkpointed_rollout_keeps_nothing_and_has_the_same_gradient():
    case = small_with_levels(PlasticCase, float_input=False)
    kept = []

    def pack(tensor):
        kept.append(tensor.numel())
        return tensor

    def spikes():
        return case.run(gpu).spikes

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = checkpoint(spikes, use_reentrant=False).square().sum()
    assert sum(kept) <= loss.numel() + case.steps * case.state.U.numel()  # the spikes themselves
    leaves = [*case.weights, case.leaves["V_th"]]
    gradients = torch.autograd.grad(loss, leaves)
    expected = torch.autograd.grad(spikes().square().sum(), leaves)
    for a, b in zip(gradients, expected, strict=True):
        assert_close({"gradient": a}, {"gradient": b}, 1e-12)


def test_a_network_learns_the_same(glif_models, kinetics):
    network = random_network(glif_models, kinetics, drive=3.0)
    inputs = {"lgn": torch.rand(2, 9, 10, generator=torch.Generator().manual_seed(0)) < 0.5}
    found = []
    for backend in ("reference", "triton"):
        learned = ("C_m", "tau_syn_fast", "v1_to_v1.weight", "lgn_to_v1.weight")
        model = V1Network(network, backend=backend, trainable=learned, dtype=torch.float64)
        model.to(DEVICE)
        spikes = model({name: x.to(DEVICE) for name, x in inputs.items()}).spikes
        spikes.mean(1).square().sum().backward()
        found.append({name: p.grad for name, p in model.named_parameters()} | {"z": spikes})
    assert found[0]["z"].sum() > 5
    assert_close(found[1], found[0], 1e-9)


def test_a_plan_is_made_once():
    case = small(steps=2)
    shape = (180, 2, 2)
    device = case.state.U.device
    of_triton = kernels.CudaKernels()
    made = plan.plan_edges(case.projections, shape, device, of_triton)
    again = kernels.CudaKernels()
    assert plan.plan_edges(case.projections, shape, device, again) is made
    assert plan.plan_edges(list(case.projections[:2]), shape, device, of_triton) is not made


@pytest.mark.parametrize("backend", [reference, fused, gpu], ids=["reference", "fused", "triton"])
def test_autocast_changes_no_number(backend):
    """A decay of 3 333 ms per step of 1 ms is 1 in bfloat16: then currents would never decay."""
    case = Case(**SMALL | {"dtype": torch.float32})
    slow = torch.full_like(case.propagators.asc_decay, 0.9997).detach()
    assert slow.bfloat16().eq(1).all()
    case.propagators = replace(case.propagators, asc_decay=case._leaf("asc_decay", slow))
    if backend is not fused:
        case = on(case)
    device = case.state.U.device.type
    plain = case.run(backend)
    expected = outputs(plain) | case.gradients(plain)
    with torch.autocast(device, dtype=torch.bfloat16):
        cast = case.run(backend)
        got = outputs(cast) | case.gradients(cast)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name].dtype == torch.float32, name
        if device == "cpu":
            assert torch.equal(got[name], value), name
        else:  # atomic sums
            assert_close({name: got[name]}, {name: value}, 1e-4)


def test_the_interpreter_is_a_way_to_run_it_by_name():
    assert isinstance(get_backend("triton"), member.Triton)


def test_without_a_device_or_triton_the_name_is_an_error(monkeypatch):
    monkeypatch.setattr(launch, "INTERPRETED", False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="no CUDA device"):
        get_backend("triton")
    monkeypatch.setattr(member, "_triton_version", lambda: "3.1.0")
    with pytest.raises(ConfigError, match=r"triton 3.1.0 is installed.*3.6 or newer"):
        get_backend("triton")
    monkeypatch.setattr(backends, "find_spec", lambda name: None if name == "triton" else object())
    with pytest.raises(ConfigError, match=r"v1builder\[gpu\]") as caught:
        get_backend("triton")
    assert "backend 'reference' or 'auto'" in str(caught.value)
    assert len(caught.value.problems) == 1


def test_tensors_elsewhere_are_an_error(monkeypatch):
    monkeypatch.setattr(kernels, "INTERPRETED", False)
    with pytest.raises(ConfigError, match="on cpu") as caught:
        Case(**SMALL).run(gpu)
    assert "'reference', or 'fused'" in str(caught.value)
    assert len(caught.value.problems) == 1


def halved(case):
    case.weights[0] = case.weights[0].detach().half()


def long_delay(case):
    delay = case.projections[1].delay_steps
    case.projections[1] = replace(case.projections[1], delay_steps=delay + torch.ones_like(delay))


def few_weights(case):
    case.weights[2] = case.weights[2][:-1]


@pytest.mark.parametrize(
    ("damage", "word"),
    [(halved, "float16"), (long_delay, "delay_steps"), (few_weights, "weights from bkg")],
)
def test_one_message_for_what_does_not_fit(damage, word):
    case = small(steps=2)
    damage(case)
    with pytest.raises(ConfigError, match=word) as caught:
        case.run(gpu)
    assert len(caught.value.problems) == 1


def smooth(p):
    return SmoothPropagators(**vars(p), smooth=SmoothSpike(1.0, 0.5))


def test_a_model_it_cannot_compute_is_refused_by_name():
    case = small(steps=2)
    with pytest.raises(ConfigError, match="graded signal"):
        case.run(gpu, propagators=smooth(case.propagators))


def test_exponential_currents_and_delta_synapses():
    case = with_instant_synapses(Case(**SMALL))
    compare(gpu, on(case))


def test_auto_takes_the_fastest_that_can(monkeypatch, caplog):
    def on_device(device, uncompiled=None):
        device = SimpleNamespace(type=device)
        return SimpleNamespace(device=device, uncompiled=uncompiled, graded=False)

    assert backends._choose(on_device("cuda"), False) == ("triton", None)
    assert backends._choose(on_device("cpu"), False) == ("fused", None)
    assert backends._choose(on_device("mps"), False) == ("reference", "tensors on mps")
    name, reason = backends._choose(on_device("cuda", "a graded signal"), False)
    assert name == "reference"
    assert "a graded signal" in reason
    monkeypatch.setattr(backends, "find_spec", lambda name: None if name == "triton" else object())
    name, reason = backends._choose(on_device("cuda"), False)
    assert name == "reference"
    assert "triton is missing" in reason


def test_auto_says_once_why_it_took_the_reference(monkeypatch, caplog):
    monkeypatch.setattr(backends, "_said", set())
    case = PlasticCase(steps=2)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            case.run(get_backend("auto"), propagators=smooth(case.propagators))
    (said,) = [record.getMessage() for record in caplog.records]
    assert "the reference backend computes this model" in said
    assert "short-term plasticity" in said


COMPILE = """
import sys, torch
from triton.backends.compiler import GPUTarget
from triton.runtime import JITFunction, driver

class H100:  # as far as the compiler asks
    def get_current_device(self): return 0
    def get_current_stream(self, device): return 0
    def get_current_target(self): return GPUTarget("cuda", 90, 32)
    def get_active_torch_device(self): return torch.device("cpu")

driver.set_active(H100())
compiled = set()
launch = JITFunction.run

def compile_only(self, *args, **options):
    kernel = launch(self, *args, **options | {"warmup": True})
    assert kernel.asm["cubin"]
    if self.fn.__name__ in ("cells", "sites_step", "replay", "replay_sites"):
        assert "fma." not in kernel.asm["ptx"]  # the same bytes when a step is repeated
    compiled.add(self.fn.__name__)

JITFunction.run = compile_only
from cases import Case, PlasticCase, with_instant_synapses, with_levels
from v1builder.model.backends import BACKENDS
from v1builder.model.backends.cuda.kernels import CudaKernels

CudaKernels.check = lambda self, tensors: None
gpu = BACKENDS["triton"]
for case in (
    Case(steps=3, batch=8, dtype=torch.float32),
    with_instant_synapses(with_levels(PlasticCase(steps=3, batch=1, dtype=torch.float32))),
    with_levels(PlasticCase(steps=3, batch=40, dtype=torch.float64)),
):
    case.gradients(case.run(gpu))
print(*sorted(compiled))
"""


@pytest.mark.slow
def test_the_kernels_compile_for_a_gpu(tmp_path):
    """Without one: in a process of its own, with a driver that only answers the compiler's questions."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], capture_output=True, text=True, check=False,
        cwd=Path(__file__).parent, env=environment | {"TRITON_CACHE_DIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == [
        "cells", "cells_adjoint", "deliver", "list_cells", "list_sites", "pull_sites", "pull_units",
        "replay", "replay_sites", "replay_synapses", "sites_adjoint", "sites_step",
    ]  # fmt: skip


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [1, 8, 40])
@pytest.mark.parametrize("kind", [Case, PlasticCase])
def test_on_a_gpu(kind, batch, dtype):
    compare(gpu, on(kind(batch=batch, steps=30, dtype=dtype), "cuda"))
    compare(gpu, on(with_levels(kind(batch=batch, steps=30, dtype=dtype)), "cuda"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gradients_on_a_gpu_have_the_same_bytes_for_the_same_forward_pass():
    case = on(Case(cells=4500, edges=60000, steps=12, dtype=torch.float32), "cuda")
    loss, weights = case.run(gpu).spikes.square().sum(), case.weights
    first = torch.autograd.grad(loss, weights, retain_graph=True)
    second = torch.autograd.grad(loss, weights)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
