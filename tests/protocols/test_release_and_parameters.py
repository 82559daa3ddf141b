"""Release in a trial against the spike-by-spike account of it; parameters against their definitions."""

import dataclasses

import numpy as np
import pytest
import torch
from preparations import alone, by_window, foreign, prepared

from v1builder.analysis.release import Release, poisson_efficacy
from v1builder.experiments.operating_point import operating_point
from v1builder.experiments.trains import SynapseDynamics, Trains, release
from v1builder.load.coordinates import rheobase
from v1builder.load.groups import group_cells
from v1builder.model.observation import EverySpike, observe
from v1builder.protocols.parameters import CellParameters, asc_corner
from v1builder.protocols.synaptic_release import SynapticRelease


def spikes_of(preparation, n_rows, n_steps):
    every = EverySpike()
    noise = preparation.draw("synaptic_release", "inputs")
    observe(preparation.model, preparation.gray_parts(n_rows, noise), [every], n_steps=n_steps,
            state=preparation.model.initial_state(n_rows), steps=200)  # fmt: skip
    return every.spikes.numpy()


def test_release_is_that_of_every_spike():
    network = foreign(plasticity=True)
    preparation = prepared(network)
    rows = list(SynapticRelease().run(preparation))
    spikes = spikes_of(preparation, 4, 1000)
    edges = network.edges["v1_to_v1"]
    table = edges.plasticity
    for model, label in enumerate(table.labels):
        sources = np.unique(edges.source_index[table.group_of == model])
        trial, unit, step = np.nonzero(spikes[:, :, sources].transpose(0, 2, 1))
        zero = np.zeros(4, np.int64)
        trains = Trains(trial, unit, step, np.ones(len(trial)), zero, zero + 1000, len(sources))
        parameters = [table.values[name][model] for name in ("U", "tau_rec", "tau_fac")]
        each = release(trains, SynapseDynamics(*parameters), 1.0)
        group = f"v1_to_v1: {label}"
        found = by_window(rows, "release", "synapse_model")
        assert found["trial", group].value == pytest.approx(each.mean(), rel=1e-4)
        assert found["trial", group].n == len(np.unique(unit))
        late = step >= 800
        assert found["800-1000 ms", group].value == pytest.approx(each[late].mean(), rel=1e-4)
        rate = np.bincount(unit, minlength=len(sources)) / 4
        steady = np.average(poisson_efficacy(Release(*parameters), rate), weights=rate)
        row = by_window(rows, "release_steady", "synapse_model")["trial", group]
        assert row.value == pytest.approx(steady, rel=1e-6)


@pytest.mark.parametrize("plasticity", [False, True])
def test_what_a_spike_delivers(plasticity):
    """Sum of the weights of a cell times what each released, spike by spike."""
    network = foreign(plasticity=plasticity)
    preparation = prepared(network)
    found = by_window(SynapticRelease().run(preparation), "delivered_weight", "edges")
    spikes, edges = spikes_of(preparation, 4, 1000), network.edges["v1_to_v1"]
    zero = np.zeros(4, np.int64)
    for sign, label in ((1, "excitatory"), (-1, "inhibitory")):
        total, n_spikes = 0.0, 0
        for cell in np.unique(edges.source_index[sign * edges.weight > 0]):
            trial, step = np.nonzero(spikes[:, :, cell])
            n_spikes += len(trial)
            one = Trains(trial, 0 * trial, step, np.ones(len(trial)), zero, zero + 1000, 1)
            for edge in np.flatnonzero((edges.source_index == cell) & (sign * edges.weight > 0)):
                model = edges.plasticity.group_of[edge] if plasticity else -1
                each = np.ones(len(trial))
                if model >= 0:
                    values = edges.plasticity.values
                    parameters = [values[name][model] for name in ("U", "tau_rec", "tau_fac")]
                    each = release(one, SynapseDynamics(*parameters), 1.0)
                total += abs(edges.weight[edge]) * each.sum()
        row = found["trial", f"v1_to_v1: {label}"]
        assert row.value == pytest.approx(total / n_spikes, rel=1e-4)


def test_static_synapses_have_a_reason():
    row = next(r for r in SynapticRelease().run(prepared(foreign())) if r.measure == "release")
    assert np.isnan(row.value)
    assert row.reason == "the synapses are static"


def test_too_few_spikes_have_a_reason():
    rows = list(SynapticRelease(n_rows=1, duration_ms=20.0).run(prepared(foreign(plasticity=True))))
    assert {row.reason for row in rows} == {"fewer than 20 spikes"}


def test_the_corner_of_after_spike_currents():
    """One current: k/2 pi. Two of 10 and 2 /s and amplitudes 30 and 10: (40 / (3 + 5)) / 2 pi."""
    one = alone(2, asc_amps=-30.0, asc_decay=0.01).membrane
    np.testing.assert_allclose(asc_corner(one), 10 / (2 * np.pi))
    values = {"asc_amps": np.array([[-30.0, 10.0]]), "asc_decay": np.array([[0.01, 0.002]])}
    two = dataclasses.replace(one, values=one.values | values)
    np.testing.assert_allclose(asc_corner(two), 5 / (2 * np.pi))
    none = dataclasses.replace(one, values=one.values | {"asc_amps": np.zeros((1, 1))})
    assert np.isnan(asc_corner(none)).all()


def test_parameters_are_those_of_the_operating_point():
    network = foreign()
    name = str(network.cells.attributes["pop_name"][0])
    network.provenance["bias_currents_pA"] = [{name: 3.0}, {name: 2.0}]
    rows = list(CellParameters().run(prepared(network, levels=("population",))))
    point = operating_point(network, np.ones((network.n_cells, 2)))
    for measure, expected in (
        ("bias_over_rheobase", point.bias_over_rheobase),
        ("asc_charge", point.asc_charge),
    ):
        found = by_window(rows, measure, "population")
        assert {group: row.value for (_, group), row in found.items()} == pytest.approx(expected)
    groups = group_cells(network.cells, "population")
    own = groups.of_cell == groups.labels.index(name)
    scale = rheobase(network.membrane)[network.membrane.group_of][own].mean()
    value = by_window(rows, "bias_over_rheobase", "population")["parameters", name].value
    assert value == pytest.approx(5.0 / scale)


def test_a_network_stays_on_its_device():
    """Everything a protocol makes lies where the model does."""
    preparation = prepared(foreign())
    assert preparation.device == torch.device("cpu")
    assert {one.device for one in preparation.gray(2, 3, torch.Generator()).values()} == {
        preparation.device
    }
