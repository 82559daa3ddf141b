"""What every backend must do, over the register: a new file in `model/backends` is tested by being there."""

from dataclasses import replace

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
    with_smooth_cells,
)
from networks import random_network

from v1builder.model import Surrogate, V1Network
from v1builder.model.backends import AUTO, BACKENDS, get_backend, reference, why_not
from v1builder.model.neurons.glif import Propagators
from v1builder.schema.errors import ConfigError

SMALL = {"steps": 20, "batch": 2, "cells": 23, "edges": 300, "receptors": 2, "delays": 3}
CASES = {
    "static": Case,
    "plastic": PlasticCase,
    "moving thresholds": lambda **how: with_levels(Case(**how)),
    "smooth cells": lambda **how: with_smooth_cells(Case(**how)),
    "smooth cells, instant synapses": lambda **how: with_smooth_cells(
        with_instant_synapses(Case(**how))
    ),
    "instant synapses": lambda **how: with_instant_synapses(PlasticCase(**how)),
}


@pytest.fixture(params=list(BACKENDS))
def backend(request):
    """A backend that can run here, on a device that it has."""
    found = BACKENDS[request.param]
    if found.devices is not None and "cpu" not in found.devices:
        pytest.skip(f"{found.name} has tests of its own, for {', '.join(found.devices)}")
    reason = why_not(found)
    if reason is not None:
        pytest.skip(reason)
    return found


@pytest.fixture(params=list(CASES))
def case(request, backend):
    case = CASES[request.param](**SMALL)
    if backend.cannot(case.propagators) is not None:
        pytest.skip(backend.cannot(case.propagators))
    return case


def test_it_says_what_it_is(backend):
    assert backend.name
    assert backend.about
    assert backend.name != AUTO
    assert get_backend(backend.name) is backend


def test_one_that_cannot_run_is_an_error_by_name():
    for name, backend in BACKENDS.items():
        reason = why_not(backend)
        if reason is None:
            assert get_backend(name).name == name
        else:
            with pytest.raises(ConfigError, match=f"the {name} backend cannot run here"):
                get_backend(name)


def test_numbers_and_gradients_are_those_of_the_reference(backend, case):
    compare(backend, case)


def test_so_they_are_in_single_precision_and_with_another_surrogate(backend):
    case = Case(**SMALL, dtype=torch.float32, float_input=False, current="in time")
    compare(backend, case, surrogate=Surrogate("sigmoid", 0.5, 0.7), detach_reset=True)


def test_it_goes_on_where_it_stopped(backend, case):
    whole, joined = case.run(backend), case.run_in_two(backend, at=7)
    assert_close(outputs(joined), outputs(whole), 1e-12)
    assert_close(case.gradients(joined), case.gradients(whole), 1e-9)


def test_nothing_is_recorded_unless_wanted(backend):
    rollout = Case(**SMALL).run(backend, record_voltage=False)
    assert rollout.voltage is None
    assert rollout.drive is None


def test_what_it_cannot_compute_is_one_message_before_and_in_the_run(
    backend, glif_models, kinetics
):
    """Also in the making of a network: not after hours."""
    case = Case(**SMALL)
    smooth = with_smooth_cells(Case(**SMALL)).propagators
    models: list[Propagators] = [
        replace(case.propagators, U_jump=torch.ones_like(case.propagators.P31_fast)),
        smooth,
    ]
    for propagators in models:
        if backend.cannot(propagators) is None:
            assert_close(
                outputs(case.run(backend, propagators=propagators)),
                outputs(case.run(reference, propagators=propagators)),
                1e-9,
            )
            continue
        with pytest.raises(ConfigError, match="cannot compute this model") as caught:
            case.run(backend, propagators=propagators)
        assert len(caught.value.problems) == 1
    if backend.cannot(smooth) is not None:
        network = random_network(glif_models, kinetics, n=4, n_input=4, in_degree=5)
        with pytest.raises(ConfigError, match="cannot compute this model"):
            V1Network(network, neuron="glifr", backend=backend.name)


def test_an_unknown_one_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'fused'"):
        get_backend("fusde")
