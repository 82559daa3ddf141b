"""What every neuron must do, over the register: a new file in `model/neurons` is tested by being there."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import random_network

from v1builder.load.network import GroupedValues
from v1builder.model import V1Network
from v1builder.model.backends import BACKENDS
from v1builder.model.neurons import NEURONS, catalogue, choose, settings_of
from v1builder.model.neurons.glif import Glif
from v1builder.model.surrogate import Surrogate
from v1builder.schema.errors import ConfigError, NetworkError

F64 = torch.float64
DT = 0.2  # ms
STEPS = 40
#: Settings without which small differences grow; most neurons need none.
SETTINGS = {"glifr": {"sigma_V": 4.0, "tau": 2.0}}
PAGE = Path(__file__).parents[2] / "docs/neurons.md"


@pytest.fixture(params=list(NEURONS), scope="module")
def kind(request):
    return NEURONS[request.param]


@pytest.fixture(scope="module")
def network(kind, glif_models, kinetics):
    return network_of(kind, random_network(glif_models, kinetics, n=4, n_input=4, in_degree=5))


@pytest.fixture(scope="module")
def current(network, kind):
    """[1, 1, n] pA with which every cell spikes within half of `STEPS`."""
    model = model_of(network, kind)
    found = torch.full((model.n_cells,), 50.0, dtype=F64)
    with torch.no_grad():
        for _ in range(20):
            spikes = model(silence(model, STEPS // 2), current=found[None, None]).spikes
            quiet = spikes[0].sum(0) < 0.5
            if not quiet.any():
                return found[None, None]
            found = torch.where(quiet, 1.5 * found, found)
    raise AssertionError("no current makes these cells spike")


def network_of(kind, network):
    """The network with cells of a kind: published ones, or NEST's defaults, each cell a little different."""
    n = network.n_cells
    template = np.full(n, kind.templates[0], dtype=object)
    cells = dataclasses.replace(
        network.cells, attributes=network.cells.attributes | {"model_template": template}
    )
    network = dataclasses.replace(network, nodes=network.nodes | {"v1": cells})
    if issubclass(kind, Glif):
        return network
    rng = np.random.default_rng(3)
    values = {p.name: np.full(n, float(p.absent)) for p in kind.table}
    for parameter in kind.table:
        if parameter.relative:
            values[parameter.name] += rng.uniform(-1, 1, n)
        elif parameter.range == "positive":
            values[parameter.name] *= rng.uniform(0.9, 1.1, n)
    rows = np.arange(n), tuple(map(str, range(n)))
    tau = rng.uniform(0.5, 3, (n, 2))
    ports = {
        "tau_syn_fast": tau,
        "tau_syn_slow": tau + 2,
        "amp_slow": np.full((n, 2), 0.3),
        "psc_shape": np.zeros((n, 2)),
    }
    edges = {
        name: dataclasses.replace(one, receptor=(one.weight < 0).astype(np.int16))
        for name, one in network.edges.items()
    }
    return dataclasses.replace(
        network,
        edges=edges,
        membrane=GroupedValues(values, *rows),
        receptors=GroupedValues(ports, *rows),
    )


def model_of(network, kind, **options):
    options = {"dt": DT, "dtype": F64, "backend": "reference", "trainable": ()} | options
    return V1Network(network, neuron=kind.name, **SETTINGS.get(kind.name, {}), **options)


def silence(model, steps):
    return {name: torch.zeros(1, steps, size) for name, size in model.input_sizes.items()}


def some_inputs(model, batch=1, steps=STEPS):
    generator = torch.Generator().manual_seed(0)
    return {
        name: (torch.rand(batch, steps, size, generator=generator) < 0.2).to(torch.uint8)
        for name, size in model.input_sizes.items()
    }


def learnable(network, kind):
    """Names of what this neuron can learn of these cells."""
    found = []
    for parameter in kind.held().values():
        refused = ""
        try:
            model_of(network, kind, trainable=[parameter.name])
        except ConfigError as error:
            refused = str(error)
        if not refused:
            found.append(parameter.name)
            continue
        assert parameter.name in refused or "among those trained" in refused
        assert not parameter.trainable or kind.by_name_only
    return found


def test_the_table_says_what_is_needed(kind):
    names = [parameter.name for parameter in kind.table]
    assert len(set(names)) == len(names)
    assert {"E_L", "V_th"} <= set(names)
    assert kind.templates
    for parameter in kind.table:
        assert parameter.unit
        assert parameter.about
        assert parameter.mean == "linear" or parameter.range == "positive", parameter.name
    assert not set(names) & {*kind.off, *kind.without_effect}


def test_one_neuron_is_chosen_for_a_template():
    chosen = [t for kind in NEURONS.values() if not kind.by_name_only for t in kind.templates]
    assert len(set(chosen)) == len(chosen)
    for kind in NEURONS.values():
        assert set(kind.templates) <= set(chosen)


def test_rest_stays_at_rest(network, kind):
    model = V1Network(network, dt=DT, dtype=F64, neuron=kind.name, backend="reference")
    start = model.initial_state(2)
    assert isinstance(start, kind.state)
    with torch.no_grad():
        rollout = model(silence(model, 100), record_voltage=True)
    assert rollout.spikes.mean() < 1e-4
    assert rollout.voltage.abs().max() < 0.05


def test_a_rollout_goes_on_where_another_stopped(network, kind, current):
    model = model_of(network, kind)
    inputs = some_inputs(model)
    with torch.no_grad():
        whole = model(inputs, current=current, record_voltage=True)
        first = model({k: v[:, :25] for k, v in inputs.items()}, current=current)
        second = model(
            {k: v[:, 25:] for k, v in inputs.items()},
            current=current,
            state=first.state,
            record_voltage=True,
        )
    assert whole.spikes[:, 25:].sum() > 0.5
    assert torch.equal(whole.spikes[:, 25:], second.spikes)
    assert torch.equal(whole.voltage[:, 25:], second.voltage)
    assert torch.equal(whole.drive[:, 25:], second.drive)
    for name, value in vars(whole.state).items():
        assert torch.equal(value, getattr(second.state, name)), name
    assert torch.equal(model.settled(inputs).U, model(inputs).state.U)


def test_samples_do_not_know_one_another(network, kind, current):
    model = model_of(network, kind)
    inputs = some_inputs(model, batch=3)
    scale = torch.tensor([0.5, 1.0, 1.5], dtype=F64)[:, None, None]
    with torch.no_grad():
        together = model(inputs, current=current * scale, record_voltage=True)
        for sample in range(3):
            own = {k: v[sample : sample + 1] for k, v in inputs.items()}
            alone = model(own, current=current * scale[sample], record_voltage=True)
            torch.testing.assert_close(alone.spikes[0], together.spikes[sample])
            torch.testing.assert_close(alone.voltage[0], together.voltage[sample])


def test_what_the_surrogate_sees_says_where_spikes_are(network, kind, current):
    """x = drive/threshold - 1 is positive where a cell spikes, and nowhere else."""
    if not kind.spikes:
        pytest.skip("no surrogate")
    model = model_of(network, kind)
    rollout = model(some_inputs(model), current=current, record_voltage=True)
    spiked = rollout.spikes > 0
    assert spiked.sum() > 4
    assert torch.equal(rollout.drive > model.threshold(), spiked)


def test_derivatives_of_a_step_are_those_of_its_numbers(network, kind, current):
    """gradcheck through spikes, whose own derivative (the surrogate's) is left out by detach_reset."""
    names = [*learnable(network, kind), *(f"{name}.weight" for name in network.edges)]
    narrow = Surrogate("boxcar", 0.5, 1e-9)
    options = {"trainable": names, "surrogate": narrow, "detach_reset": kind.spikes}
    model = model_of(network, kind, **options)
    inputs = some_inputs(model)
    with torch.no_grad():
        first = int(model(inputs, current=current).spikes[0].sum(1).argmax())
        before, inputs = (
            {name: spikes[:, part] for name, spikes in inputs.items()}
            for part in (slice(0, max(1, first - 2)), slice(max(1, first - 2), first + 4))
        )
        begin = model(before, current=current).state
    moving = [name for name, value in vars(begin).items() if value.is_floating_point()]
    moving = [name for name in moving if getattr(begin, name).numel()]
    parameters = {name: value.detach().clone() for name, value in model.named_parameters()}
    arguments = [*parameters.values(), *(getattr(begin, name) for name in moving), current]
    arguments = [value.clone().requires_grad_() for value in arguments]
    spikes = []

    def outcome(*values):
        of_model = dict(zip(parameters, values, strict=False))
        state = dict(zip(moving, values[len(parameters) : -1], strict=True))
        given = {"current": values[-1], "state": dataclasses.replace(begin, **state)}
        rollout = torch.func.functional_call(model, of_model, (inputs,), given)
        spikes.append(rollout.spikes.detach())
        end = [getattr(rollout.state, name) for name in moving if name not in ("u", "x")]
        return tuple(value for value in end if value.requires_grad)

    assert torch.autograd.gradcheck(outcome, arguments, rtol=1e-4, atol=1e-6, fast_mode=True)
    assert spikes[0].sum() > 0.5
    if kind.spikes:
        assert all(torch.equal(spikes[0], one) for one in spikes)


@pytest.mark.parametrize("detach_reset", [False, True])
def test_everything_that_can_be_learned_has_a_gradient(network, kind, current, detach_reset):
    names = learnable(network, kind)
    model = model_of(network, kind, trainable=names, detach_reset=detach_reset)
    # Strong enough for several spikes of a cell: some parameters act on the second.
    rollout = model(some_inputs(model, steps=80), current=3 * current, record_voltage=True)
    (rollout.spikes.mean() + 1e-4 * rollout.voltage.square().mean()).backward()
    for name in names:
        gradient = model.cells.parameter(name).raw.grad
        assert gradient is not None, name
        assert torch.isfinite(gradient).all(), name
        if model.cells.parameter(name)().any():
            assert gradient.abs().max() > 0, name
        assert gradient.abs().max() < 1e3, name


def test_segments_change_nothing(network, kind, current):
    def gradients(**options):
        model = model_of(network, kind, trainable=["C_m", "lgn_to_v1.weight"], **options)
        rollout = model(some_inputs(model, steps=25), current=current)
        rollout.spikes.square().mean().backward()
        return [parameter.grad for parameter in model.parameters()]

    found = gradients(checkpoint_steps="auto"), gradients(checkpoint_steps=9)
    for whole, parts in zip(*found, strict=True):
        assert whole.abs().max() > 0
        torch.testing.assert_close(parts, whole, rtol=1e-8, atol=1e-12)


def test_state_dict_and_export_give_the_same_cells(network, kind, current):
    names = [*learnable(network, kind), "v1_to_v1.weight"]
    model = model_of(network, kind, trainable=names)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02
    twin = model_of(network, kind, trainable=names)
    twin.load_state_dict(model.state_dict())
    exported = model_of(model.export(network), kind)
    inputs = some_inputs(model)
    with torch.no_grad():
        ours, *others = (m(inputs, current=current).spikes for m in (model, twin, exported))
        before = model_of(network, kind)(inputs, current=current).spikes
    assert torch.equal(ours, others[0])
    torch.testing.assert_close(ours, others[1], rtol=1e-7, atol=1e-9)
    assert not torch.equal(ours, before)


@pytest.mark.parametrize("level", ["population", "global"])
def test_cells_can_share_values(network, kind, current, level):
    model = model_of(network, kind, group_by=level)
    for parameter in kind.held().values():
        value = model.cells.parameter(parameter.name)()
        if level == "global":
            assert (value == value[0]).all(), parameter.name
    with torch.no_grad():
        assert model(some_inputs(model), current=current).spikes.isfinite().all()


def test_compiled_backends_compute_it_or_say_why_not(network, kind, current):
    pytest.importorskip("numba")
    reason = BACKENDS["fused"].cannot(model_of(network, kind).propagators())
    inputs = some_inputs(model_of(network, kind))
    with torch.no_grad():
        expected = model_of(network, kind)(inputs, current=current).spikes
        # Spikes are the same; a graded signal is to rounding.
        rounding = {"rtol": 0.0 if kind.spikes else 1e-10, "atol": 0.0}
        for backend in ("auto", "fused") if reason is None else ("auto",):
            computed = model_of(network, kind, backend=backend)(inputs, current=current).spikes
            torch.testing.assert_close(computed, expected, **rounding)
        if reason is None:
            return
    with pytest.raises(
        ConfigError, match=f"(?s){re.escape(reason)}.*backend 'reference' or 'auto'"
    ):
        model_of(network, kind, backend="fused")


def test_float32_is_close(network, kind, current):
    exact, single = model_of(network, kind), model_of(network, kind, dtype=torch.float32)
    inputs = some_inputs(exact, steps=12)
    with torch.no_grad():
        ours = exact(inputs, current=0.5 * current, record_voltage=True)
        theirs = single(inputs, current=0.5 * current, record_voltage=True)
    assert theirs.voltage.dtype == torch.float32
    torch.testing.assert_close(theirs.voltage.double(), ours.voltage, rtol=1e-3, atol=1e-3)


def test_the_neuron_follows_from_the_cells(network, kind, glif_models, kinetics):
    if kind.by_name_only:
        assert choose("auto", network) is not kind
    else:
        assert choose("auto", network) is kind
    assert choose(kind.name, network) is kind
    # hand-made cells that do not say
    assert choose("auto", random_network(glif_models, kinetics, n=4)) is NEURONS["glif"]


def test_a_wrong_choice_is_one_clear_error(network, kind):
    others = [one for one in NEURONS.values() if not {*one.templates} & {*kind.templates}]
    for other in others:
        with pytest.raises(ConfigError, match=f"neuron '{other.name}' does not compute these") as e:
            V1Network(network, neuron=other.name)
        assert len(e.value.problems) == 1
        template = network.cells.attributes["model_template"].copy()
        template[0] = other.templates[0]
        network.cells.attributes["model_template"] = template
        with pytest.raises(NetworkError, match="several kinds of neuron") as caught:
            V1Network(network)
        assert len(caught.value.problems) == 1
        template[0] = kind.templates[0] + "x"
        with pytest.raises(NetworkError, match=f"did you mean '{re.escape(kind.templates[0])}'"):
            V1Network(network)
        template[0] = kind.templates[0]


def test_settings_are_checked():
    for kind in NEURONS.values():
        assert "neuron" not in kind.settings()
    with pytest.raises(ConfigError, match=r"unknown argument 'sigma_v'[\s\S]*'sigma_V'"):
        settings_of(NEURONS["glifr"], {"sigma_v": 1.0})


def test_the_page_says_what_the_code_says():
    assert catalogue() in PAGE.read_text(encoding="utf-8")
