"""GLIF and GLIFR layers: shapes, state, gradients, backends, what is saved, what is refused."""

import copy

import numpy as np
import pytest
import torch

from v1builder.layers import GLIF, GLIFR, allen_cells
from v1builder.schema.errors import ConfigError

F64 = torch.float64
BATCH, STEPS, IN, HIDDEN = 2, 60, 4, 12


def numbers(steps=STEPS, seed=0, dtype=F64):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(BATCH, steps, IN, generator=generator, dtype=F64).to(dtype)


def spike_trains(steps=STEPS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(BATCH, steps, IN, generator=generator) < 0.3


def layer_of(kind=GLIF, **options):
    options = {"seed": 1, "dtype": F64, "backend": "reference"} | options
    return kind(IN, HIDDEN, **options)


def input_of(layer, **options):
    return spike_trains(**options) if layer.input == "spikes" else numbers(**options)


KINDS = {
    "dense": {},
    "none": {"recurrent": None},
    "sparse": {"recurrent": 0.25, "delay": (1.0, 6.0)},
    "spikes": {"input": "spikes", "input_delay": 2.0},
    "dale": {"dale": True},
    "plastic": {"plasticity": {"U": np.linspace(0.2, 0.8, HIDDEN), "tau_rec": 100, "tau_fac": 20}},
    "level 5": {"level": 5, "bias": 2.0},
}


@pytest.fixture(params=list(KINDS))
def options(request):
    return KINDS[request.param]


def test_shapes_both_ways(options):
    layer, turned = layer_of(**options), layer_of(**options, batch_first=False)
    x = input_of(layer)
    spikes, state = layer(x)
    assert spikes.shape == (BATCH, STEPS, HIDDEN)
    assert spikes.dtype == F64
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    other, _ = turned(x.transpose(0, 1))
    assert torch.equal(other.transpose(0, 1), spikes)
    assert state.U.shape == (BATCH, HIDDEN)


def test_state_carried_is_one_long_run(options):
    layer = layer_of(**options)
    x = input_of(layer)
    whole, end = layer(x)
    first, state = layer(x[:, :23])
    second, after = layer(x[:, 23:], state.detach())
    assert whole[:, 23:].sum() > 0
    assert torch.equal(torch.cat([first, second], 1), whole)
    for name in ("U", "asc", "pending", "current"):  # W x of a part of the steps rounds otherwise
        torch.testing.assert_close(getattr(after, name), getattr(end, name), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_fused_gives_the_numbers_of_the_reference(options, dtype):
    trainable = ["C_m", "V_th", *(["tau_syn_fast"] if options.get("recurrent", 1) else [])]
    gradients = {}
    for backend in ("reference", "fused"):
        layer = layer_of(**options, trainable=trainable, backend=backend, dtype=dtype)
        x = input_of(layer)
        x = x.to(dtype).requires_grad_()
        spikes, state = layer(x)
        factor = torch.linspace(0, 1, spikes.numel(), dtype=dtype).view_as(spikes)
        ((spikes * factor).sum() + state.U.sum()).backward()
        found = {name: p.grad for name, p in layer.named_parameters()}
        gradients[backend] = {"input": x.grad, "spikes": spikes.detach()} | found
    expected, got = gradients.values()
    assert torch.equal(expected.pop("spikes"), got.pop("spikes"))
    for name, gradient in expected.items():
        assert gradient.abs().max() > 0, name
        error = (got[name] - gradient).abs().max() / gradient.abs().max()
        assert error < (1e-9 if dtype == F64 else 1e-4), name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_triton_gives_the_numbers_of_the_reference(options):
    found = {}
    for device, backend in (("cpu", "reference"), ("cuda", "auto")):
        layer = layer_of(**options, device=device, backend=backend)
        spikes, state = layer(input_of(layer).to(device))
        (spikes.sum() + state.U.sum()).backward()
        found[device] = [spikes.detach().cpu(), *(p.grad.cpu() for p in layer.parameters())]
    assert torch.equal(found["cpu"][0], found["cuda"][0])
    for expected, got in zip(found["cpu"][1:], found["cuda"][1:], strict=True):
        assert (got - expected).abs().max() <= 1e-9 * expected.abs().max()


def test_gradients_of_the_smooth_layer_are_exact():
    layer = layer_of(GLIFR, sigma_V=5.0, tau=5.0, trainable=["g", "asc_amps"], delay=3.0)
    named = dict(layer.named_parameters())
    x = numbers(steps=8).requires_grad_()

    def run(x, *values):
        spikes, state = torch.func.functional_call(
            layer, dict(zip(named, values, strict=True)), (x,), strict=False
        )
        return spikes, state.U

    assert torch.autograd.gradcheck(run, (x, *named.values()), fast_mode=True)


def test_gradients_below_threshold_are_exact():
    """Without the surrogate's ways: resets and recurrent spikes."""
    layer = layer_of(bias=0.5, recurrent=None, detach_reset=True)
    x = 0.1 * numbers(steps=8)

    def voltage(x, weight, bias):
        values = {"weight_in": weight, "bias": bias}
        spikes, state = torch.func.functional_call(layer, values, (x,), strict=False)
        assert not spikes.any()
        return state.U

    arguments = (x.requires_grad_(), layer.weight_in, layer.bias)
    assert torch.autograd.gradcheck(voltage, arguments)


def test_the_bias_is_in_units_of_rheobase():
    """A constant current of just under 1 never spikes, just over 1 spikes: what rheobase means."""
    for bias, spikes in ((0.98, False), (1.02, True)):
        layer = layer_of(bias=bias, recurrent=None)
        with torch.no_grad():
            found, _ = layer(torch.zeros(1, 600, IN, dtype=F64))
        assert found.any(1).all() if spikes else not found.any()


def test_a_current_acts_from_the_next_step_on():
    layer = layer_of(bias=None, recurrent=None)
    x = torch.zeros(1, 3, IN, dtype=F64, requires_grad=True)
    _, state = layer(x)
    (gradient,) = torch.autograd.grad(state.U.sum(), x)
    assert gradient[0].abs().sum(-1)[:2].min() > 0
    assert not gradient[0, 2].any()


def test_the_same_seed_is_the_same_layer_and_state_dict_holds_what_is_learned():
    x = numbers()
    one, same, other = layer_of(), layer_of(), layer_of(seed=2)
    assert torch.equal(one(x)[0], same(x)[0])
    assert not torch.equal(one(x)[0], other(x)[0])
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.mul_(1.3)
    assert not torch.equal(one(x)[0], same(x)[0])
    same.load_state_dict(one.state_dict())
    assert torch.equal(one(x)[0], same(x)[0])
    assert torch.equal(copy.deepcopy(one)(x)[0], one(x)[0])
    with pytest.raises(ConfigError, match="other cells or connections"):
        other.load_state_dict(one.state_dict())


def test_without_a_seed_torch_has_it():
    torch.manual_seed(5)
    one, two = layer_of(seed=None), layer_of(seed=None)
    torch.manual_seed(5)
    again = layer_of(seed=None)
    assert torch.equal(one.weight_in, again.weight_in)
    assert not torch.equal(one.weight_in, two.weight_in)


def test_dtype_follows_the_module():
    layer = layer_of().float()
    assert layer(numbers(dtype=torch.float32))[0].dtype == torch.float32


def test_weights_start_as_in_torch_nn():
    layer = GLIF(9, 40, seed=1, recurrent=0.25)
    recurrent = layer.recurrent_weight().detach()
    assert ((recurrent != 0).sum(1) == 10).all()
    for weight, fan_in in ((layer.weight_in.detach(), 9), (recurrent[recurrent != 0], 10)):
        assert weight.abs().max() <= fan_in**-0.5
        assert weight.std().item() == pytest.approx((3 * fan_in) ** -0.5, rel=0.1)


def test_a_recurrent_weight_takes_effect_after_its_delay():
    """One cell is made to spike; another's voltage moves delay + 1 steps later, by its weight's sign."""
    delay = np.full((HIDDEN, HIDDEN), 1.0)
    delay[3, 5] = 4.0
    layer = layer_of(bias=None, delay=delay, cells="mean")
    edges = layer.network.edges["hidden_to_hidden"]
    with torch.no_grad():
        layer.weight_in.zero_()
        layer.weight_in[5, 0] = 30.0
        edges.weight.zero_()
        edges.weight.view(HIDDEN, HIDDEN)[3, 5] = -0.5  # [target, source]
        assert layer.recurrent_weight()[3, 5] == pytest.approx(-0.5)
        x = torch.zeros(1, 12, IN, dtype=F64)
        x[0, 0, 0] = 1.0
        state, voltage, spikes = None, [], []
        for step in range(12):
            out, state = layer(x[:, step : step + 1], state)
            spikes.append(out[0, 0])
            voltage.append(state.U[0])
    spiked = torch.stack(spikes).nonzero()
    assert spiked[0].tolist() == [1, 5]
    moved = torch.stack(voltage)[:, 3].nonzero().flatten()
    assert moved[0] == 1 + 4 + 1
    assert (torch.stack(voltage)[moved, 3] < 0).all()


def test_a_depressing_synapse_releases_what_is_left():
    """Two spikes of one cell: the second effect over the first is 1 - U exp(-interval/tau_rec)."""
    U, tau_rec = 0.6, 80.0
    layer = layer_of(bias=None, cells="mean", plasticity={"U": U, "tau_rec": tau_rec}, delay=1.0)
    with torch.no_grad():
        layer.weight_in.zero_()
        layer.weight_in[5, 0] = 20.0
        weight = layer.network.edges["hidden_to_hidden"].weight
        weight.zero_()
        weight.view(HIDDEN, HIDDEN)[3, 5] = 0.2
        x = torch.zeros(1, 60, IN, dtype=F64)
        x[0, [0, 40], 0] = 1.0
        state, arriving, spiked = None, [], []
        for step in range(60):
            out, state = layer(x[:, step : step + 1], state)
            arriving.append(state.pending[0, 0, 3, 0].item())
            spiked += [step] if out[0, 0, 5] else []
    first, second = (value for value in arriving if value)
    assert len(spiked) == 2
    left = 1 - U * np.exp(-(spiked[1] - spiked[0]) / tau_rec)
    assert first == pytest.approx(0.2 * layer.unit[3].item())
    assert second / first == pytest.approx(left)


def test_dale_keeps_the_signs_of_sources():
    layer = layer_of(dale=True)
    before = layer.recurrent_weight().sign()
    assert ((before == before[0]).all(0)).all()
    assert set(before[0].tolist()) == {1.0, -1.0}
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.3)
    for _ in range(3):
        optimizer.zero_grad()
        layer(numbers())[0].mean().neg().backward()
        optimizer.step()
    assert torch.equal(layer.recurrent_weight().sign(), before)


def test_sequential():
    model = torch.nn.Sequential(
        layer_of(return_state=False),
        GLIF(HIDDEN, 6, input="spikes", seed=2, dtype=F64, backend="reference", return_state=False),
        torch.nn.Linear(6, 3, dtype=F64),
    )
    out = model(numbers())
    assert out.shape == (BATCH, STEPS, 3)
    out.square().mean().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model[0].weight_in.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delay": -1.0}, "a delay must be at least one step"),
        ({"delay": (3.0, 1.0)}, "pair of delays"),
        ({"delay": np.ones((3, 3))}, r"\[12, 12\]"),
        ({"level": 6}, "GLIF level must be"),
        ({"cells": "alen:VISp"}, "did you mean 'allen'"),
        ({"cells": "allen:VISq"}, "unknown area 'VISq'"),
        ({"cells": "allen:VISrl"}, "area VISrl has no cell model of GLIF level 3"),
        ({"cells": 3}, "neither a name, a table"),
        ({"recurrent": 1.5}, "density of connections"),
        ({"recurrent": "full"}, "unknown recurrence 'full'"),
        ({"input": "spike"}, "did you mean 'spikes'"),
        ({"tau_syn": 0.0}, "tau_syn must be positive"),
        ({"plasticity": {"U": 0.5}}, "'tau_rec' is missing"),
        ({"plasticity": {"U": 1.5, "tau_rec": 10.0}}, "'U' is out of range"),
        ({"plasticity": {"U": np.ones(3), "tau_rec": 10.0}}, "'U' has a wrong shape"),
        ({"plasticity": {"U": 0.5, "tau_rec": 10.0, "tau_fca": 1.0}}, "did you mean 'tau_fac'"),
        ({"dt": 0.0}, "dt must be a positive multiple"),
        ({"dt": "1 ms"}, "dt is not a number"),
        ({"delay": "long"}, "a delay is not a number"),
        ({"delay": float("nan")}, "a delay is not a number"),
        ({"delay": ("short", "long")}, "a delay is not a number"),
        ({"input_delay": 2.0}, "an input of currents has no delay"),
        ({"input": "spikes", "input_delay": -1.0}, "at least one step.*(\n.*)*input_delay"),
        ({"tau_syn": "slow"}, "tau_syn is not a number"),
        ({"bias": "none"}, "the bias is not a number"),
        ({"bias": float("nan")}, "the bias is not a number"),
        ({"recurrent": True}, "the recurrence is no density"),
        ({"recurrent": [0.1]}, "the recurrence is no density"),
        ({"recurrent": None, "plasticity": "allen"}, "no recurrent connections whose"),
        ({"trainable": "C_m"}, r"give \['C_m'\]"),
        ({"surrogate": "triangular"}, "not a Surrogate"),
        ({"seed": -1}, "a whole number from 0 up"),
        ({"seed": 1.5}, "a whole number from 0 up"),
        ({"cells": allen_cells().assign(C_m=-1.0)}, "C_m must be positive.*(\n.*)*165 of 165"),
        ({"cells": allen_cells().assign(V_th=-90.0)}, "V_th must lie above E_L"),
        ({"cells": allen_cells().assign(t_ref=-1.0)}, "t_ref must not be negative"),
        ({"cells": allen_cells().assign(asc_decay_1=0.0)}, "asc_decay_1 must be positive"),
        ({"trainable": ["Cm"]}, "did you mean 'C_m'"),
        ({"recurent": 0.1}, "recurent"),
    ],
)
def test_arguments_that_are_wrong(options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        layer_of(**options)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("sizes", [(0, 3), (3, -1), (2.0, 3)])
def test_sizes_that_are_wrong(sizes):
    with pytest.raises(ConfigError, match="positive whole number"):
        GLIF(*sizes)


@pytest.mark.parametrize("shape", [(BATCH, STEPS, IN + 1), (STEPS, IN), (BATCH, 0, IN)])
def test_inputs_that_are_wrong(shape):
    with pytest.raises(ConfigError, match=r"make it \[batch, time, 4\]"):
        layer_of()(torch.zeros(*shape))


@pytest.mark.parametrize(
    ("input", "state", "message"),
    [
        (np.zeros((BATCH, STEPS, IN)), None, r"give a torch.Tensor \[batch, time, 4\]"),
        (torch.zeros(BATCH, STEPS, IN), (1, 2), "the state is none of a layer"),
    ],
)
def test_what_is_no_tensor_or_no_state_is_refused(input, state, message):
    with pytest.raises(ConfigError, match=message):
        layer_of()(input, state)


def test_bias_is_said_as_in_torch_nn():
    assert layer_of(bias=False).bias is None
    assert layer_of(bias=True).bias.tolist() == [1.0] * HIDDEN


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((3,), "unknown area '3'"), (("VISp", 3, 1.5), "explained_variance_min must be from 0 to 1")],
)
def test_tables_that_are_asked_for_wrongly(arguments, message):
    area, *rest = arguments
    options = dict(zip(("level", "explained_variance_min"), rest, strict=False))
    with pytest.raises(ConfigError, match=message):
        allen_cells(area, **options)


def test_a_state_of_another_batch_is_refused():
    layer = layer_of()
    with pytest.raises(ConfigError, match="do not agree on the batch"):
        layer(numbers(), layer.initial_state(5))
