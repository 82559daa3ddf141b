"""A network says what computes it, and why nothing faster does."""

from importlib import metadata
from types import SimpleNamespace

import pytest
import torch
from networks import random_network, with_plasticity

from v1builder.model import V1Network, backends


@pytest.fixture
def network(glif_models, kinetics):
    return random_network(glif_models, kinetics, n=4, n_input=4, in_degree=5)


def test_of_glif_cells_it_is_the_compiled_backend_and_its_version(network):
    assert V1Network(network).computed_by() == {
        "backend": "fused",
        "device": "cpu",
        "numba": metadata.version("numba"),
    }


def test_one_that_is_asked_for_by_name_has_no_reason(network):
    assert V1Network(network, backend="reference").computed_by() == {
        "backend": "reference",
        "device": "cpu",
    }


def test_what_leads_to_the_reference_is_said_with_what_it_costs(network, monkeypatch, caplog):
    monkeypatch.setattr(backends, "_said", set())
    model = V1Network(with_plasticity(network), neuron="glifr")
    record = model.computed_by()
    assert record["backend"] == "reference"
    assert "GLIFR cells with short-term plasticity" in record["not_faster_because"]
    with torch.no_grad():
        model({"lgn": torch.zeros(1, 2, 4, dtype=torch.uint8)})
    (said,) = [one.getMessage() for one in caplog.records if one.name == backends.__name__]
    assert "times slower" in said
    assert record["not_faster_because"] in said


def test_of_a_gpu_it_says_which_and_the_versions(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    monkeypatch.setattr(torch.version, "cuda", "12.9")
    monkeypatch.setattr(backends, "_choose", lambda *_: ("triton", None))
    monkeypatch.setattr(metadata, "version", lambda package: f"that of {package}")
    propagators = SimpleNamespace(device=torch.device("cuda:0"))
    assert backends.computed_by("auto", propagators, False) == {  # pyright: ignore[reportArgumentType]
        "backend": "triton",
        "device": "a GPU",
        "cuda": "12.9",
        "triton": "that of triton",
    }
