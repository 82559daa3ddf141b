"""Short-term plasticity: event by event, against Tsodyks and Markram; gradients; the network module."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from handmade import make_foreign, with_boundary, with_plasticity
from networks import random_network

from v1builder.load import load_network, save_network
from v1builder.load.network import GroupedValues
from v1builder.model import V1Network, plasticity
from v1builder.schema.errors import ConfigError, NetworkError
from v1builder.sonata import validate

F64 = torch.float64
TABLE = {"U": [0.5, 0.1], "tau_rec": [300.0, 20.0], "tau_fac": [0.0, 400.0]}


def run_sites(spikes, U, tau_rec, tau_fac, dt, u=0.0, x=1.0):
    """Release [t] of one site that sees `spikes` [t]."""
    p = plasticity.coefficients(*(torch.tensor([v], dtype=F64) for v in (U, tau_rec, tau_fac)), dt)
    u, x = torch.tensor([[u]], dtype=F64), torch.tensor([[x]], dtype=F64)
    released = []
    for z in spikes:
        release, u, x = plasticity.step(u, x, torch.tensor([[z]], dtype=F64), p)
        released.append(release.item())
    return np.array(released)


def by_events(times, U, tau_rec, tau_fac):
    """u x / U at every spike, relaxing from event to event."""
    u, x, last, released = 0.0, 1.0, 0.0, []
    for time in times:
        pause, last = time - last, time
        u = u * np.exp(-pause / tau_fac) if tau_fac else 0.0
        x = 1 - (1 - x) * np.exp(-pause / tau_rec)
        u = u + U * (1 - u)
        released.append(u * x / U)
        x -= u * x
    return np.array(released)


@pytest.mark.parametrize("dt", [1.0, 0.1])
@pytest.mark.parametrize(
    ("U", "tau_rec", "tau_fac"), [(0.5, 300.0, 0.0), (0.1, 20.0, 400.0), (0.3, 150.0, 80.0)]
)
def test_release_equals_the_event_by_event_solution(U, tau_rec, tau_fac, dt):
    steps = np.flatnonzero(np.random.default_rng(0).random(round(2000 / dt)) < 0.02 * dt)
    spikes = np.zeros(round(2000 / dt))
    spikes[steps] = 1
    released = run_sites(spikes, U, tau_rec, tau_fac, dt)
    expected = by_events((steps + 1) * dt, U, tau_rec, tau_fac)
    assert len(steps) > 20
    assert released[steps[0]] == pytest.approx(1.0, rel=1e-12)  # from rest
    assert np.allclose(released[steps], expected, rtol=1e-11)
    assert (released[spikes == 0] == 0).all()


def test_depression_and_facilitation():
    spikes = np.zeros(160)
    spikes[::20] = 1
    depressing = run_sites(spikes, 0.5, 300.0, 0.0, 1.0)[::20]
    facilitating = run_sites(spikes, 0.1, 20.0, 400.0, 1.0)[::20]
    assert (np.diff(depressing) < 0).all()
    assert (np.diff(facilitating) > 0).all()


def test_two_spikes_in_a_step_change_the_state_once():
    once = run_sites([1, 0, 0, 1], 0.3, 100.0, 50.0, 1.0)
    twice = run_sites([2, 0, 0, 1], 0.3, 100.0, 50.0, 1.0)
    assert twice[0] == 2 * once[0]
    assert twice[3] == once[3]


def test_gradients_in_every_parameter_and_the_spikes():
    generator = torch.Generator().manual_seed(0)
    values = [
        torch.tensor(v, dtype=F64, requires_grad=True)
        for v in ([0.3, 0.1], [150.0, 20.0], [80.0, 400.0])
    ]
    spikes = 0.9 * torch.rand(15, 1, 2, dtype=F64, generator=generator)

    def releases(spikes, *values):
        p = plasticity.coefficients(*values, 1.0)
        u, x = torch.full((1, 2), 0.2, dtype=F64), torch.full((1, 2), 0.7, dtype=F64)
        seen = []
        for z in spikes:
            release, u, x = plasticity.step(u, x, z, p)
            seen.append(release)
        return torch.stack(seen), u, x

    assert torch.autograd.gradcheck(releases, (spikes.requires_grad_(), *values), atol=1e-8)


def test_no_facilitation_has_finite_gradients():
    values = [torch.tensor([v], dtype=F64, requires_grad=True) for v in (0.3, 150.0, 0.0)]
    p = plasticity.coefficients(*values, 1.0)
    assert p.P_fac.item() == 0
    (p.P_fac + p.P_rec).sum().backward()
    assert values[2].grad.item() == 0


@pytest.fixture
def plastic_network(glif_models, kinetics):
    """A recurrent network whose recurrent edges have two synapse models, a third of them static."""
    network = random_network(glif_models, kinetics, n=40, n_input=20, in_degree=15, drive=0.4)
    edges = network.edges["v1_to_v1"]
    rng = np.random.default_rng(3)
    table = GroupedValues(
        {
            **{name: np.array(values) for name, values in TABLE.items()},
            "u": np.array(TABLE["U"]),
            "x": np.ones(2),
        },
        rng.integers(-1, 2, len(edges)).astype(np.int16),
        ("depressing", "facilitating"),
    )
    # Strong and all excitatory, so that what is released decides who spikes.
    strong = replace(edges, weight=4 * np.abs(edges.weight), plasticity=table)
    return replace(network, edges={**network.edges, "v1_to_v1": strong})


def drive(network, steps=300, seed=5):
    rng = np.random.default_rng(seed)
    spikes = rng.random((1, steps, len(network.nodes["lgn"]))) < 0.05
    return {"lgn": torch.tensor(spikes)}


def test_a_network_delivers_what_its_edges_release(plastic_network):
    """Every pending current, recomputed edge by edge from the spikes that the network emitted."""
    steps = 120
    model = V1Network(plastic_network, dtype=F64)
    with torch.no_grad():
        rollout = model(drive(plastic_network, steps))
    spikes = rollout.spikes[0].numpy() > 0
    edges = plastic_network.edges["v1_to_v1"]
    assert spikes.sum() > 100
    pending = torch.zeros_like(rollout.state.pending)
    delays = model.edges["v1_to_v1"].delay_steps.numpy()
    ports = model.edges["v1_to_v1"].receptor
    times = [1.0 + np.flatnonzero(spikes[:, cell]) for cell in range(40)]
    for e in range(len(edges)):
        group, mine = edges.plasticity.group_of[e], times[edges.source_index[e]]
        release = np.ones(len(mine))
        if group >= 0:
            release = by_events(mine, *(TABLE[name][group] for name in TABLE))
        for time, factor in zip(mine, release, strict=True):
            ahead = int(time) + delays[e] - 1 - steps
            if ahead >= 0:
                at = (ahead, 0, edges.target_index[e], ports[e])
                pending[at] += edges.weight[e] * factor
    lgn = model.edges["lgn_to_v1"]
    last = drive(plastic_network, steps)["lgn"][0].numpy()
    for e in range(len(plastic_network.edges["lgn_to_v1"])):
        for step in np.flatnonzero(last[:, lgn.source_index[e]]):
            ahead = step + int(lgn.delay_steps[e]) - steps
            if ahead >= 0:
                pending[ahead, 0, lgn.target_index[e], lgn.receptor[e]] += lgn.base[e]
    assert pending.abs().sum() > 0
    assert torch.allclose(rollout.state.pending, pending, rtol=1e-10)


def test_plasticity_changes_the_spikes(plastic_network):
    static = replace(plastic_network.edges["v1_to_v1"], plasticity=None)
    without = replace(plastic_network, edges={**plastic_network.edges, "v1_to_v1": static})
    with torch.no_grad():
        a, b = (V1Network(n, dtype=F64)(drive(n)).spikes for n in (plastic_network, without))
    assert a.sum() > 100
    assert not torch.equal(a, b)


def test_it_is_trained_and_exported(plastic_network):
    names = [f"v1_to_v1.{name}" for name in ("weight", "U", "tau_rec", "tau_fac")]
    model = V1Network(plastic_network, dtype=F64, trainable=names)
    model(drive(plastic_network)).spikes.sum().backward()
    edges = model.edges["v1_to_v1"]
    for name in ("U", "tau_rec", "tau_fac"):
        gradient = getattr(edges, name).raw.grad
        stays_zero = name == "tau_fac"  # of the depressing synapse, which has none
        assert (gradient != 0).tolist() == [not stays_zero, True]
    with torch.no_grad():
        edges.U.raw += 0.3
        edges.tau_rec.raw -= 0.2
    exported = model.export(plastic_network).edges["v1_to_v1"].plasticity
    assert np.allclose(exported.values["U"], edges.U.values().detach())
    assert exported.values["U"][0] > 0.5
    assert np.allclose(exported.values["tau_rec"], np.array([300.0, 20.0]) * np.exp(-0.2))
    assert np.allclose(exported.values["tau_fac"], [0.0, 400.0])


GROUPINGS = ("source", "edge")


def grouped(network, grouping, **options):
    names = [f"v1_to_v1.{name}" for name in TABLE]
    by = dict.fromkeys(names, grouping)
    return V1Network(network, dtype=F64, group_by=by, trainable=names, **options)


@pytest.mark.parametrize("backend", ["reference", "fused"])
@pytest.mark.parametrize("grouping", GROUPINGS)
def test_values_of_their_own_are_one_model_until_they_are_learned(
    plastic_network, grouping, backend
):
    """Equal values: the same release, and the gradient of a model is the sum of those of its parts."""
    one = grouped(plastic_network, "synapse_model", backend=backend)
    many = grouped(plastic_network, grouping, backend=backend)
    table = plastic_network.edges["v1_to_v1"].plasticity
    plastic = np.flatnonzero(table.group_of >= 0)
    source = plastic_network.edges["v1_to_v1"].source_index[plastic]
    pairs = len(np.unique(2 * source + table.group_of[plastic]))
    assert many.n_sites == {"source": pairs, "edge": len(plastic)}[grouping]
    spikes = [model(drive(plastic_network)).spikes for model in (one, many)]
    assert torch.equal(*spikes)
    for each in spikes:
        each.sum().backward()
    for name in TABLE:
        whole, part = (getattr(model.edges["v1_to_v1"], name) for model in (one, many))
        assert len(part.raw) == many.n_sites
        of_part = torch.zeros(many.n_sites, dtype=torch.int64)
        site_of = many.edges["v1_to_v1"].site_of_edges()
        of_part[site_of[plastic]] = torch.from_numpy(table.group_of[plastic].astype(np.int64))
        summed = torch.zeros(2, dtype=F64).index_add(0, of_part, part.raw.grad)
        assert torch.allclose(summed, whole.raw.grad, rtol=1e-8)
        assert (part.raw.grad != 0).sum() > 20


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_values_of_their_own_are_files_of_their_own(grouping, tmp_path):
    network = with_plasticity(make_foreign())
    inputs = {"bkg": (torch.rand(1, 300, 20, generator=torch.Generator().manual_seed(2)) < 0.2)}
    model = grouped(network, grouping, backend="reference")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        before = model(inputs).spikes
        for name in TABLE:
            raw = getattr(model.edges["v1_to_v1"], name).raw
            raw += 0.7 * torch.randn(raw.shape, generator=generator, dtype=F64)
        expected = model(inputs).spikes
    assert not torch.equal(expected, before)
    exported = model.export(network)
    assert len(exported.edges["v1_to_v1"].plasticity.labels) == model.n_sites
    folder = save_network(exported, tmp_path / "network")
    assert validate(folder) == []
    loaded = V1Network(load_network(folder), dtype=F64, backend="reference")
    assert loaded.n_sites == model.n_sites
    with torch.no_grad():
        assert torch.equal(loaded(inputs).spikes, expected)


@pytest.mark.parametrize("grouping", ["synapse_model", "source"])
def test_two_populations_whose_models_have_the_same_names(grouping, tmp_path):
    """One of them has learned: its files must not be those of the other."""
    network = with_plasticity(with_plasticity(with_boundary(make_foreign())), "boundary_to_v1")
    names = ["v1_to_v1", "boundary_to_v1"] if grouping == "source" else ["v1_to_v1"]
    learned = [f"{name}.U" for name in names]
    model = V1Network(network, group_by=dict.fromkeys(learned, grouping), trainable=learned)
    with torch.no_grad():
        for shift, name in enumerate(names, start=1):
            model.edges[name].U.raw += 0.5 * shift
    exported = model.export(network)
    loaded = load_network(save_network(exported, tmp_path / "network"))
    for name in ("v1_to_v1", "boundary_to_v1"):
        before, after = exported.edges[name], loaded.edges[name]
        order = np.lexsort((before.source_index, before.target_index))
        plastic = before.plasticity.group_of[order] >= 0
        assert np.array_equal(after.plasticity.group_of >= 0, plastic)
        expected = before.plasticity.per_cell("U")[order][plastic]
        assert np.allclose(after.plasticity.per_cell("U")[plastic], expected, rtol=1e-12)
        assert np.allclose(after.weight, before.weight[order], rtol=1e-6)
    assert not np.allclose(
        *(
            exported.edges[name].plasticity.values["U"][:3]
            for name in loaded.edges
            if name != "bkg_to_v1"
        )
    )


def test_exported_twice_is_named_once(tmp_path):
    network = with_plasticity(make_foreign())
    for _ in range(2):
        exported = grouped(network, "edge", backend="reference").export(network)
        network = load_network(save_network(exported, tmp_path / "network", overwrite=True))
        labels = network.edges["v1_to_v1"].plasticity.labels
        assert max(map(len, labels)) < 20
    assert labels == tuple(sorted(exported.edges["v1_to_v1"].plasticity.labels))


def test_only_what_is_learned_of_its_own_is_of_its_own(plastic_network):
    """U by edge: the time constants stay those of the synapse model."""
    model = V1Network(
        plastic_network,
        group_by={"v1_to_v1.U": "edge"},
        trainable=["v1_to_v1.U", "v1_to_v1.tau_rec"],
    )
    edges = model.edges["v1_to_v1"]
    assert (len(edges.U.raw), len(edges.tau_rec.raw)) == (model.n_sites, 2)
    with pytest.raises(ConfigError, match="grouping") as caught:
        V1Network(plastic_network, group_by={"v1_to_v1.U": "sources"})
    assert "source" in str(caught.value)


def test_it_goes_on_where_it_stopped(plastic_network):
    model, inputs = V1Network(plastic_network, dtype=F64), drive(plastic_network)
    with torch.no_grad():
        whole = model(inputs)
        first = model({"lgn": inputs["lgn"][:, :110]})
        second = model({"lgn": inputs["lgn"][:, 110:]}, state=first.state)
    assert torch.equal(whole.spikes, torch.cat([first.spikes, second.spikes], dim=1))
    assert torch.equal(whole.state.x, second.state.x)


def test_a_static_population_has_no_such_parameter(plastic_network):
    with pytest.raises(ConfigError, match=r"lgn_to_v1\.U"):
        V1Network(plastic_network, trainable=["lgn_to_v1.U"])


def test_a_synapse_that_does_not_start_at_rest_is_refused(plastic_network):
    plastic_network.edges["v1_to_v1"].plasticity.values["u"][1] = 0.5
    with pytest.raises(NetworkError, match="facilitating") as caught:
        V1Network(plastic_network)
    assert len(caught.value.problems) == 1
