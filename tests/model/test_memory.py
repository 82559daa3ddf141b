"""The estimate of memory against measured peaks; segments chosen for a budget change nothing but memory."""

import os
import subprocess
import sys

import pytest
import torch

from v1builder.model import memory
from v1builder.model.memory import GIB, Costs, choose_segment
from v1builder.model.network import load
from v1builder.schema.errors import ConfigError

BATCH, STEPS = 4, 120


@pytest.fixture(scope="module")
def folder(small_column):
    return small_column


def model_of(folder, **options):
    return load(folder, **{"backend": "reference", "dtype": torch.float64} | options)


def inputs_of(model, batch=BATCH, steps=STEPS):
    source = torch.Generator().manual_seed(3)
    return {
        name: (torch.rand(batch, steps, size, generator=source) < 0.1).to(torch.uint8)
        for name, size in model.input_sizes.items()
    }


def gradients(model):
    model(inputs_of(model)).spikes.square().mean().backward()
    return {name: p.grad for name, p in model.named_parameters()}


def budget_for(model, segment):
    """GiB of the process with which segments of this length just fit."""
    need = Costs.of(model, record_voltage=False, inputs=inputs_of(model)).need(
        BATCH, STEPS, segment
    )
    return (memory.in_use(torch.device("cpu")) + need.total * 1.02) / GIB


@pytest.mark.parametrize("wanted", [60, 15])
def test_the_segment_keeps_within_the_budget_and_the_gradient_is_the_same(
    folder, wanted, monkeypatch
):
    model = model_of(folder, checkpoint_steps="auto")
    used = memory.in_use(torch.device("cpu"))
    monkeypatch.setattr(memory, "in_use", lambda _device: used)  # not that of this test's arrays
    model.memory_budget = budget_for(model, wanted)
    found = gradients(model)
    ((key, chosen),) = model._segments.items()
    assert key == (BATCH, STEPS, False, True)
    costs = Costs.of(model, record_voltage=False, inputs=inputs_of(model))
    assert wanted <= chosen < STEPS
    assert used + costs.need(BATCH, STEPS, chosen).total <= model.memory_budget * GIB
    longer = next(n for n in (-(-STEPS // k) for k in range(STEPS, 0, -1)) if n > chosen)
    assert used + costs.need(BATCH, STEPS, longer).total > model.memory_budget * GIB
    for name, value in gradients(model_of(folder)).items():
        assert torch.allclose(found[name], value, rtol=1e-9, atol=1e-12 * value.abs().max()), name


def test_with_enough_memory_nothing_is_recomputed(folder):
    model = model_of(folder, checkpoint_steps="auto", memory_budget=1000.0)
    model(inputs_of(model))
    assert list(model._segments.values()) == [STEPS]


def test_too_much_is_one_error_with_what_would_fit(folder, monkeypatch):
    model = model_of(folder, checkpoint_steps="auto")
    used = memory.in_use(torch.device("cpu"))
    monkeypatch.setattr(memory, "in_use", lambda _device: used)
    costs = Costs.of(model, record_voltage=True, inputs=inputs_of(model))
    model.memory_budget = (used + costs.least(2, STEPS).total * 1.01) / GIB
    with pytest.raises(ConfigError, match="more memory than there is") as caught:
        model(inputs_of(model), record_voltage=True)
    (problem,) = caught.value.problems
    assert f"{BATCH} samples, {STEPS} steps" in problem.where
    for way in ("a batch of at most 2 ", " steps", "float32", "GiB in all"):
        assert way in problem.fix, way
    model(inputs_of(model, batch=2), record_voltage=True)


def test_voltages_nobody_can_afford_are_named(folder, monkeypatch):
    model = model_of(folder, checkpoint_steps="auto")
    used = memory.in_use(torch.device("cpu"))
    monkeypatch.setattr(memory, "in_use", lambda _device: used)
    silent = Costs.of(model, record_voltage=False, inputs=inputs_of(model))
    model.memory_budget = (used + silent.least(BATCH, STEPS).total * 1.01) / GIB
    with pytest.raises(ConfigError, match="voltage_weight = 0"):
        model(inputs_of(model), record_voltage=True)
    model(inputs_of(model))


def test_what_is_kept_per_step_is_what_autograd_keeps(folder):
    """The reference keeps the same of every step, so two lengths give the bytes of any third."""
    model = model_of(folder)
    step = Costs.of(model, record_voltage=False, inputs=inputs_of(model)).step
    kept = [memory._kept(model, n, False) for n in (8, 40)]
    assert kept[1] - kept[0] == pytest.approx(32 * step, rel=0.02)


def test_without_gradients_only_the_outputs_count(folder):
    model = model_of(folder)
    with torch.no_grad():
        costs = Costs.of(model, record_voltage=False, inputs=inputs_of(model))
        assert (costs.step, costs.optimizer) == (0, 0)
        assert choose_segment(model, inputs_of(model), BATCH, STEPS, False, None) == STEPS
    assert Costs.of(model, record_voltage=False, inputs=inputs_of(model)).step > 0


@pytest.mark.parametrize(
    "options",
    [
        {"checkpoint_steps": "atuo"},
        {"memory_budget": 4.0},
        {"checkpoint_steps": "auto", "memory_budget": 0.0},
    ],
)
def test_a_wrong_setting_is_refused(folder, options):
    with pytest.raises(ConfigError, match=r"checkpoint_steps"):
        model_of(folder, **options)


PEAK = """
import sys, torch
from v1builder.model.network import load
from v1builder.model import memory
torch.set_num_threads(1)
batch, steps = map(int, sys.argv[3:])
model = load(sys.argv[1], backend=sys.argv[2])

rates = {"bkg": 0.25, "lgn": 0.005}
source = torch.Generator().manual_seed(1)

def inputs(batch, steps):
    return {
        name: torch.stack(
            [torch.empty(steps, size, dtype=torch.uint8).bernoulli_(rates[name], generator=source)
             for _ in range(batch)]
        )
        for name, size in model.input_sizes.items()
    }

def once(shown):
    model(shown).spikes.square().mean().backward()
    model.zero_grad()

once(inputs(1, 3))  # compile
shown = inputs(batch, steps)
need = memory.Costs.of(model, False, shown).need(batch, steps)
open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
before = memory.in_use(torch.device("cpu"))
once(shown)
peak = next(x for x in open("/proc/self/status") if x.startswith("VmHWM")).split()[1]
print(need.total, need.edges, int(peak) * 1024 - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize(("backend", "batch", "steps"), [("fused", 32, 600), ("reference", 8, 200)])
def test_the_estimate_is_the_measured_peak(folder, backend, batch, steps):
    command = [sys.executable, "-c", PEAK, str(folder), backend, str(batch), str(steps)]
    # Freed memory goes back at once, so that the peak is what is used and not what malloc holds.
    malloc = {"MALLOC_MMAP_THRESHOLD_": "16384", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(
        command, env=os.environ | malloc, capture_output=True, text=True, check=True
    )
    total, edges, peak = map(float, done.stdout.split())
    # The plan of the edges was made by the first call, and part of it is in use already.
    assert total - edges < 1.15 * peak
    assert total > 0.85 * peak
