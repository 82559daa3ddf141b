import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import random_network

from v1builder.model import V1Network
from v1builder.model.cells import table_of
from v1builder.model.edges import delay_in_steps
from v1builder.model.neurons.glif import Glif
from v1builder.model.neurons.neuron import relative_rows
from v1builder.model.parameters import FREE, POSITIVE, Bounds, GroupedParameter, group_mean
from v1builder.model.ports import distinct_ports
from v1builder.schema.errors import ConfigError, NetworkError
from v1builder.schema.parameters import RECEPTOR_UNITS

F64 = torch.float64
CELL_PARAMETERS = Glif.held()


@pytest.fixture
def network(glif_models, kinetics):
    return random_network(glif_models, kinetics, n=24)


def model_of(network, **options):
    return V1Network(network, backend="reference", **{"dtype": F64, **options})


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([POSITIVE, FREE, Bounds("interval", -2.0, 5.0)]),
    st.lists(st.floats(1e-3, 4.9), min_size=1, max_size=8),
)
def test_value_to_coordinate_and_back(bounds, values):
    exact = torch.tensor(values, dtype=F64)
    assert torch.allclose(bounds.value(bounds.coordinate(exact)), exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("step", [-50.0, 50.0])
def test_no_step_leaves_the_bounds(step):
    for bounds, low, high in ((POSITIVE, 0, np.inf), (Bounds("interval", 0, 2), 0, 2)):
        parameter = GroupedParameter(
            np.array([0.1, 1.9]), np.array([0, 1, 1]), bounds, trainable=True
        )
        with torch.no_grad():
            parameter.raw += step
        assert (parameter() >= low).all()
        assert (parameter() <= high).all()
        assert torch.isfinite(parameter()).all()


def test_a_value_of_zero_stays_zero_and_has_no_gradient():
    parameter = GroupedParameter(np.array([0.0, 2.0]), np.array([0, 1]), POSITIVE, trainable=True)
    assert parameter().tolist() == [0.0, 2.0]
    parameter().sum().backward()
    assert parameter.raw.grad.tolist() == [0.0, 2.0]


def test_frozen_values_are_exact(network):
    model = model_of(network)
    for name in ("C_m", "g", "asc_decay"):
        expected = network.membrane.per_cell(name)
        assert getattr(model.cells, name)().numpy().tolist() == expected.tolist()
    relative = network.membrane.per_cell("V_th") - network.membrane.per_cell("E_L")
    assert model.cells.V_th().numpy().tolist() == relative.tolist()
    assert model.threshold().tolist() == relative.tolist()
    assert list(model.cells.parameters()) == []


@pytest.mark.parametrize("name", [p.name for p in CELL_PARAMETERS.values() if p.trainable])
def test_trained_parameters_start_where_they_were(network, name):
    trained = model_of(network, trainable=[name])
    frozen = model_of(network, trainable=[])
    table = table_of(network, CELL_PARAMETERS[name])
    rows = torch.from_numpy(relative_rows(table, CELL_PARAMETERS[name])[table.group_of])
    assert torch.allclose(getattr(trained.cells, name)(), rows, rtol=1e-12)
    kept = getattr(frozen.cells, name)()
    if name in RECEPTOR_UNITS:  # of equal ports one
        place = torch.from_numpy(distinct_ports(network.receptors)[1])
        kept = kept.gather(1, place[torch.from_numpy(network.receptors.group_of).long()])
    assert torch.allclose(getattr(trained.cells, name)(), kept, rtol=1e-12)
    assert [n for n, _ in trained.named_parameters()] == [f"cells.{name}.raw"]


@pytest.mark.parametrize(
    ("grouping", "key"),
    [("population", "pop_name"), ("ei", "ei"), ("global", None), ("cell", None)],
)
def test_groups_hold_the_mean_of_their_cells(network, grouping, key):
    model = model_of(network, group_by=grouping, trainable=[])
    n = network.n_cells
    keys = np.arange(n) if grouping == "cell" else np.zeros(n)
    if key:
        keys = network.cells.attributes[key]
    values = {
        name: table.per_cell(name)
        for table in (network.membrane, network.receptors)
        for name in table.values
    }
    for name in ("V_th", "V_reset"):
        values[name] = values[name] - values["E_L"]
    geometric = {"C_m", "g", "V_th", "asc_decay", "tau_syn_fast", "tau_syn_slow"}
    for name in CELL_PARAMETERS:
        for group in np.unique(keys):
            mine = {key: column[keys == group] for key, column in values.items()}

            def mean(column, log=False):
                return np.exp(np.log(column).mean(axis=0)) if log else column.mean(axis=0)

            expected = mean(mine[name], name in geometric)
            if name == "asc_amps":  # charges are averaged
                expected = mean(mine[name] / mine["asc_decay"]) * mean(mine["asc_decay"], True)
            if name == "V_reset":  # as a part of the distance to threshold
                expected = mean(mine[name] / mine["V_th"]) * mean(mine["V_th"], True)
            ours = getattr(model.cells, name)()[torch.tensor(keys == group)].numpy()
            assert np.allclose(ours, expected, rtol=1e-12), (name, group)


def test_groups_of_class(network):
    model = model_of(network, group_by={"C_m": "class"}, trainable=[])
    assert set(model.cells.C_m.labels) == {"Exc", "Pvalb", "Sst"}
    assert model.cells.g.grouping == "cell_model"


def test_group_mean_counts_every_cell_once():
    values = np.array([[1.0, 2.0], [3.0, 4.0], [100.0, 8.0]])
    mean = group_mean(values, np.array([0, 0, 1]), 2, log=False)
    assert mean.tolist() == [[2.0, 3.0], [100.0, 8.0]]
    assert group_mean(np.array([1.0, 100.0]), np.array([0, 0]), 1, log=True)[0] == pytest.approx(10)


def test_cells_of_a_group_share_one_gradient(network):
    model = model_of(network, group_by="ei", trainable=["C_m"])
    assert model.cells.C_m.raw.shape == (2,)
    inputs = {"lgn": torch.rand(1, 50, 10, generator=torch.Generator().manual_seed(0)) < 0.1}
    rollout = model(inputs, record_voltage=True)
    rollout.drive.mean().backward()
    assert (model.cells.C_m.raw.grad != 0).all()


def test_dales_law_survives_training(network):
    model = model_of(network, dtype=torch.float32)
    before = {name: edges().detach().clone() for name, edges in model.edges.items()}
    optimizer = torch.optim.Adam(model.parameters(), lr=5.0)
    inputs = {"lgn": torch.rand(2, 60, 10, generator=torch.Generator().manual_seed(0)) < 0.1}
    for _ in range(3):
        optimizer.zero_grad()
        model(inputs).spikes.mean().backward()
        optimizer.step()
    for name, edges in model.edges.items():
        assert torch.equal(edges().sign(), before[name].sign())
        assert (edges() != before[name]).any()


def test_an_edge_of_weight_zero_stays_absent(network):
    network.edges["v1_to_v1"].weight[:7] = 0.0
    model = model_of(network)
    inputs = {"lgn": torch.rand(2, 60, 10, generator=torch.Generator().manual_seed(0)) < 0.1}
    model(inputs).spikes.mean().backward()
    assert (model.edges["v1_to_v1"]()[:7] == 0).all()
    assert (model.edges["v1_to_v1"].log_scale.grad[:7] == 0).all()


def test_edge_types_scale_together(network):
    model = model_of(network, group_by={"v1_to_v1.weight": "edge_type"})
    edges, types = model.edges["v1_to_v1"], network.edges["v1_to_v1"].edge_type_id
    assert edges.log_scale.shape == (3,)
    with torch.no_grad():
        edges.log_scale[1] = np.log(2)
    factor = (edges() / torch.tensor(network.edges["v1_to_v1"].weight)).detach().numpy()
    assert np.allclose(factor, np.where(types == 101, 2.0, 1.0))


@pytest.mark.parametrize(
    ("delay", "dt", "steps"),
    [
        (1.7, 1.0, 2),
        (1.5, 1.0, 2),
        (2.5, 1.0, 3),
        (1.4, 1.0, 1),
        (0.2, 1.0, 1),
        (1.65, 0.1, 17),
        (2.92, 0.25, 12),
    ],
)
def test_delays_round_as_in_nest(delay, dt, steps):
    assert delay_in_steps(np.array([delay], dtype=np.float32), dt).tolist() == [steps]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trainable": ["v1_v1.weight"]}, "did you mean 'v1_to_v1.weight'"),
        ({"trainable": ["t_ref"]}, "'t_ref' cannot be trained"),
        ({"trainable": ["E_L"]}, "'E_L' cannot be trained"),
        ({"group_by": "populations"}, "did you mean 'population'"),
        ({"group_by": {"Cm": "cell"}}, "did you mean 'C_m'"),
        ({"group_by": {"v1_to_v1.weight": "cell"}}, "unknown grouping 'cell'"),
        ({"dt": 0.0}, "dt must be a positive multiple"),
        ({"dt": 0.00015}, "dt must be a positive multiple"),
        ({"dtype": torch.float16}, "dtype must be"),
        ({"checkpoint_steps": 0}, "checkpoint_steps must be positive"),
        ({"backend": "fussed"}, "did you mean 'fused'"),
    ],
)
def test_arguments_that_are_wrong(network, options, message):
    with pytest.raises(ConfigError, match=message):
        V1Network(network, **{"backend": "reference", **options})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("C_m", 0.0, "C_m must be positive"),
        ("g", np.nan, "g must be finite"),
        ("V_th", -90.0, "V_th - E_L must be positive"),
        ("V_reset", 0.0, "V_reset must lie below V_th"),
        ("asc_decay", [0.0, 0.1], "asc_decay must be positive"),
        ("asc_r", [1.0, 3.0], "asc_r must lie between 0 and 2"),
        ("t_ref", -1.0, "t_ref must not be negative"),
    ],
)
def test_cells_that_are_wrong(network, name, value, message):
    network.membrane.values[name][2] = value
    with pytest.raises(NetworkError, match=message) as caught:
        model_of(network)
    assert network.membrane.labels[2] in str(caught.value)


def test_every_wrong_cell_is_named(network):
    network.membrane.values["C_m"][1] = -1.0
    network.receptors.values["tau_syn_fast"][0, 3] = 0.0
    with pytest.raises(NetworkError) as caught:
        model_of(network)
    assert len(caught.value.problems) == 2
