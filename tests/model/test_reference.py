"""The reference rollout against a second, naive one: dense matrices, plain autograd, plain loops."""

import numpy as np
import pytest
import torch
from networks import random_network

from v1builder.model import Surrogate, V1Network, backends
from v1builder.model.backends import get_backend
from v1builder.schema.errors import ConfigError

F64 = torch.float64


@pytest.fixture(scope="module")
def network(glif_models, kinetics):
    return random_network(glif_models, kinetics, n=16, drive=0.8)


def spikes(batch, n_steps, n_input=10, rate=0.08, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, n_steps, n_input, generator=generator) < rate


def model_of(network, **options):
    return V1Network(network, backend="reference", **{"dtype": F64, **options})


class Heaviside(torch.autograd.Function):
    """Spike with a triangular surrogate of height 0.4 and width 1.5, independent of the package."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x > 0).double()

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 0.4 * torch.relu(1 - x.abs() / 1.5)


def naive(network, weights, lgn, n_steps, cell_scale):
    """Spikes and voltages of one sample, cell by cell in physical units; everything by autograd.

    Membranes are integrated with matrix exponentials of (y1, y2, U) per receptor.
    """
    n = network.n_cells
    value = {k: torch.tensor(network.membrane.per_cell(k)) for k in network.membrane.values}
    receptor = {k: torch.tensor(network.receptors.per_cell(k)) for k in network.receptors.values}
    C_m = value["C_m"] * cell_scale
    tau_m = C_m / value["g"]
    V_th, V_reset = value["V_th"] - value["E_L"], value["V_reset"] - value["E_L"]
    matrices = []
    for tau in (receptor["tau_syn_fast"], receptor["tau_syn_slow"]):
        A = torch.zeros(n, tau.shape[1], 3, 3, dtype=F64)
        A[..., 0, 0] = A[..., 1, 1] = -1 / tau
        A[..., 1, 0] = 1
        A[..., 2, 1] = (1 / C_m)[:, None]
        A[..., 2, 2] = (-1 / tau_m)[:, None]
        matrices.append(torch.linalg.matrix_exp(A))
    jumps = [
        torch.e / receptor["tau_syn_fast"],
        receptor["amp_slow"] * torch.e / receptor["tau_syn_slow"],
    ]
    y = [torch.zeros(n, 10, 2, dtype=F64) for _ in range(2)]
    U, asc = torch.zeros(n, dtype=F64), torch.zeros(n, 2, dtype=F64)
    refractory, history, trace = [0] * n, [], []
    k, dt = value["asc_decay"], 1.0
    for t in range(n_steps):
        mean_asc = (asc * (1 - torch.exp(-k * dt)) / (k * dt)).sum(1)
        leak = torch.exp(-dt / tau_m)
        U_new = U * leak + mean_asc * (1 - leak) / value["g"]
        for M, state in zip(matrices, y, strict=True):
            U_new = U_new + (M[..., 2, :2] * state).sum((1, 2))
        active = torch.tensor([steps == 0 for steps in refractory])
        z = torch.where(active, Heaviside.apply((U_new - V_th) / V_th), 0.0)
        U = torch.where(active, U_new + z * (V_reset - U_new), U)
        decayed = torch.where(active[:, None], asc * torch.exp(-k * dt), asc)
        held = value["asc_r"] * torch.exp(-k * value["t_ref"][:, None])
        asc = decayed + z[:, None] * (value["asc_amps"] + decayed * (held - 1))
        for cell in range(n):
            if z[cell] > 0:
                refractory[cell] = int(np.ceil(network.membrane.per_cell("t_ref")[cell]))
            elif refractory[cell]:
                refractory[cell] -= 1
        history.append(z)
        trace.append(U)
        arriving = torch.zeros(n * 10, dtype=F64)
        for name, population in network.edges.items():
            delay = np.maximum(1, np.floor(population.delay.astype(float).round(5) + 0.5)).astype(
                int
            )
            for d in np.unique(delay):
                if t - d < 0:
                    continue
                mine = torch.tensor(np.flatnonzero(delay == d))
                sent = history[t - d] if name == "v1_to_v1" else lgn[t - d]
                source = torch.tensor(population.source_index).long()[mine]
                slot = torch.tensor(population.target_index.astype(int) * 10 + population.receptor)[
                    mine
                ]
                arriving = arriving.index_add(0, slot, weights[name][mine] * sent[source])
        arriving = arriving.view(n, 10)
        for i, M in enumerate(matrices):
            moved = torch.einsum("nrij,nrj->nri", M[..., :2, :2], y[i])
            y[i] = moved + torch.stack([jumps[i] * arriving, torch.zeros_like(arriving)], -1)
    return torch.stack(history), torch.stack(trace)


def test_agrees_with_the_naive_rollout_forward_and_gradient(network):
    n_steps = 60
    lgn = spikes(1, n_steps)
    surrogate = Surrogate("triangular", dampening=0.4, width=1.5)
    names = ["v1_to_v1.weight", "lgn_to_v1.weight", "C_m"]
    model = model_of(network, surrogate=surrogate, trainable=names, group_by={"C_m": "cell"})
    floating = lgn.double().requires_grad_()
    rollout = model({"lgn": floating}, record_voltage=True)

    logs = {
        name: torch.zeros(len(edges), dtype=F64, requires_grad=True)
        for name, edges in network.edges.items()
    }
    log_C_m = torch.zeros(network.n_cells, dtype=F64, requires_grad=True)
    theirs_lgn = lgn[0].double().requires_grad_()
    weights = {n: torch.tensor(network.edges[n].weight) * log.exp() for n, log in logs.items()}
    expected, voltage = naive(network, weights, theirs_lgn, n_steps, log_C_m.exp())
    assert expected.sum() > 50
    assert torch.equal(rollout.spikes[0], expected)
    assert torch.allclose(rollout.voltage[0], voltage, atol=1e-10)

    late = torch.linspace(0, 1, n_steps, dtype=F64)[:, None]
    (rollout.spikes[0] * late + 1e-3 * rollout.voltage[0]).sum().backward()
    (expected * late + 1e-3 * voltage).sum().backward()
    for ours, theirs in (
        (model.edges["v1_to_v1"].log_scale.grad, logs["v1_to_v1"].grad),
        (model.edges["lgn_to_v1"].log_scale.grad, logs["lgn_to_v1"].grad),
        (model.cells.C_m.raw.grad, log_C_m.grad),
        (floating.grad[0], theirs_lgn.grad),
    ):
        assert theirs.abs().max() > 0
        assert ((ours - theirs).norm() / theirs.norm()).item() < 1e-9


def test_samples_of_a_batch_do_not_meet(network):
    model = model_of(network)
    lgn = spikes(3, 80)
    together = model({"lgn": lgn}).spikes
    apart = torch.cat([model({"lgn": lgn[i : i + 1]}).spikes for i in range(3)])
    assert torch.equal(together, apart)


@pytest.mark.parametrize("split", [1, 37, 79])
def test_a_run_can_be_cut_anywhere(network, split):
    model = model_of(network)
    lgn = spikes(2, 80)
    whole = model({"lgn": lgn}, record_voltage=True)
    first = model({"lgn": lgn[:, :split]}, record_voltage=True)
    second = model({"lgn": lgn[:, split:]}, state=first.state, record_voltage=True)
    assert torch.equal(torch.cat([first.spikes, second.spikes], 1), whole.spikes)
    assert torch.equal(torch.cat([first.voltage, second.voltage], 1), whole.voltage)
    for name, value in vars(whole.state).items():
        assert torch.equal(value, getattr(second.state, name)), name


@pytest.mark.parametrize("checkpoint_steps", [1, 7, 80, 200])
def test_checkpoints_change_nothing(network, checkpoint_steps):
    lgn = spikes(2, 80)
    names = ["v1_to_v1.weight", "lgn_to_v1.weight", "C_m", "tau_syn_fast", "asc_amps", "V_th"]
    results = []
    for steps in (None, checkpoint_steps):
        model = model_of(network, trainable=names, checkpoint_steps=steps)
        rollout = model({"lgn": lgn}, record_voltage=True)
        (rollout.spikes.mean() + rollout.drive.mean() + rollout.state.y1_slow.mean()).backward()
        results.append((rollout.spikes, [p.grad for p in model.parameters()]))
    assert torch.equal(results[0][0], results[1][0])
    for a, b in zip(results[0][1], results[1][1], strict=True):
        assert a.abs().max() > 0
        assert ((a - b).norm() / a.norm()).item() < 1e-12


def test_checkpoints_bound_what_is_kept(network):
    """Bytes that autograd keeps between forward and backward: spikes of all steps, state of none."""

    def kept(n_steps, checkpoint_steps):
        model = model_of(network, checkpoint_steps=checkpoint_steps)
        total = 0

        def pack(tensor):
            nonlocal total
            total += tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            rollout = model({"lgn": spikes(1, n_steps)})
        assert rollout.spikes.requires_grad
        return total

    assert kept(200, 20) < 0.25 * kept(200, None)


def test_input_counts_and_dtypes(network):
    model = model_of(network)
    lgn = spikes(1, 60)
    assert torch.equal(model({"lgn": lgn}).spikes, model({"lgn": lgn.to(torch.uint8)}).spikes)
    assert torch.equal(model({"lgn": lgn}).spikes, model({"lgn": lgn.double()}).spikes)
    assert torch.equal(model({"lgn": lgn}).spikes, model({"lgn": lgn.float()}).spikes)
    twice = model({"lgn": lgn.to(torch.uint8) * 2}, record_voltage=True)
    once = model({"lgn": lgn}, record_voltage=True)
    assert not torch.equal(twice.voltage, once.voltage)


def test_bias_and_injected_current_add(network):
    n = network.n_cells
    rheobase = torch.tensor(network.membrane.per_cell("g")) * model_of(network).threshold()
    quiet = {"lgn": torch.zeros(1, 100, 10, dtype=torch.bool)}
    model = model_of(network)
    assert model(quiet).spikes.sum() == 0
    injected = model(quiet, current=(1.5 * rheobase).expand(1, 1, n)).spikes
    assert injected.sum() > 20
    model.bias_current.copy_(0.5 * rheobase)
    state = model_of(network).initial_state(1)  # at rest without a bias in the first step
    both = model(quiet, current=rheobase.expand(1, 100, n), state=state).spikes
    assert torch.equal(both, injected)
    alone = model(quiet, record_voltage=True)
    tau_m = network.membrane.per_cell("C_m") / network.membrane.per_cell("g")
    charged = 0.5 * model.threshold() * torch.tensor(1 - np.exp(-100 / tau_m))
    assert torch.allclose(alone.voltage[0, -1], charged, rtol=1e-9)


def test_detached_resets_change_gradients_and_nothing_else(network):
    lgn = spikes(1, 80)
    free, cut = model_of(network), model_of(network, detach_reset=True)
    a, b = free({"lgn": lgn}), cut({"lgn": lgn})
    assert torch.equal(a.spikes, b.spikes)
    a.spikes.sum().backward()
    b.spikes.sum().backward()
    difference = free.edges["lgn_to_v1"].log_scale.grad - cut.edges["lgn_to_v1"].log_scale.grad
    assert difference.abs().max() > 0


def test_float32_stays_close(network):
    lgn = spikes(2, 100)
    single = model_of(network, dtype=torch.float32)({"lgn": lgn}, record_voltage=True)
    double = model_of(network)({"lgn": lgn}, record_voltage=True)
    assert single.spikes.dtype == torch.float32
    assert (single.spikes != double.spikes).double().mean() < 1e-3


def test_moving_a_model_keeps_it_working(network):
    model = model_of(network, dtype=torch.float32).double()
    expected = model_of(network)({"lgn": spikes(1, 50)}).spikes
    assert model({"lgn": spikes(1, 50)}).spikes.dtype == F64
    assert (model({"lgn": spikes(1, 50)}).spikes != expected).double().mean() < 1e-2


def test_backends_are_named():
    assert get_backend("reference").__module__ == "v1builder.model.backends.reference"
    assert get_backend("fused").__module__ == "v1builder.model.backends.cpu"


def test_auto_takes_the_fused_backend_where_it_can(network, monkeypatch):
    used = []
    for name in ("fused", "reference"):
        kind = type(get_backend(name))

        def call(self, *args, name=name, run=kind.__call__, **kwargs):
            used.append(name)
            return run(self, *args, **kwargs)

        monkeypatch.setattr(kind, "__call__", call)
    V1Network(network, trainable=())({"lgn": spikes(1, 5)})
    assert used == ["fused"]
    monkeypatch.setattr(backends, "find_spec", lambda name: None if name == "numba" else object())
    V1Network(network, trainable=())({"lgn": spikes(1, 5)})
    assert used == ["fused", "reference"]


def test_a_backend_that_cannot_run_is_an_error(network, monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda name: None if name == "numba" else object())
    with pytest.raises(ConfigError, match="the fused backend cannot run here") as caught:
        V1Network(network, backend="fused")
    assert "numba" in str(caught.value)
