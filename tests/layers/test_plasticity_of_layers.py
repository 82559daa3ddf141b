"""Short-term plasticity of a layer's synapses by pair of cells: that of V1's classes, and any other."""

import numpy as np
import pytest
import torch

from v1builder.layers import GLIF, allen_cells
from v1builder.layers.plasticity import embedded_fits
from v1builder.schema.errors import ConfigError

SUBCLASS = {"Pvalb": "pvalb", "Sst": "sst", "Vip": "vip", "Htr3a": "vip"}


def v1_layer(**options):
    return GLIF(2, 40, level=1, bias=None, seed=3, plasticity="allen", backend="reference",
                dtype=torch.float64, **options)  # fmt: skip


def subclass(population):
    """Of the Synaptic Physiology data; excitatory cells are one there, those of layer 1 are taken as Vip."""
    if population.startswith("e"):
        return "pyr"
    return next(name for word, name in SUBCLASS.items() if population.endswith(word))


def test_every_pair_of_cells_has_the_plasticity_of_its_classes():
    layer = v1_layer()
    edges = layer.arrays.edges["hidden_to_hidden"]
    names = layer.arrays.cells.attributes["pop_name"]
    fits = embedded_fits().set_index(["pre", "post"])
    found = {
        name: edges.plasticity.values[name][edges.plasticity.group_of]
        for name in ("U", "tau_rec", "tau_fac")
    }
    for edge in range(0, len(edges.weight), 7):
        pre, post = (subclass(names[i[edge]]) for i in (edges.source_index, edges.target_index))
        expected = fits.loc[(pre, post)]
        assert found["U"][edge] == pytest.approx(expected["U"])
        assert found["tau_rec"][edge] == pytest.approx(expected["tau_rec_ms"])
        assert found["tau_fac"][edge] == pytest.approx(expected["tau_fac_ms"])
    assert len({subclass(name) for name in names}) >= 3


def second_over_first(layer, target, source):
    """Releases of two spikes of a cell, 40 ms apart, onto another one."""
    with torch.no_grad():
        layer.weight_in.zero_()
        layer.weight_in[source, 0] = 60.0
        weight = layer.network.edges["hidden_to_hidden"].weight
        weight.zero_()
        weight.view(40, 40)[target, source] = 0.2
        x = torch.zeros(1, 50, 2, dtype=torch.float64)
        x[0, [0, 40], 0] = 1.0
        state, arriving = None, []
        for step in range(50):
            _, state = layer(x[:, step : step + 1], state)
            arriving.append(state.pending[0, 0, target, 0].item())
    first, second = (value for value in arriving if value)
    return second / first


def test_excitation_of_sst_cells_facilitates_and_inhibition_by_pvalb_cells_depresses():
    """As Campagnola et al. 2022 (Science 375:eabj5861) found them in mouse V1."""
    table = allen_cells("VISp", level=1)
    kinds = ["e23Cux2", "i23Sst", "i23Pvalb"]
    rows = [table[table["population"] == kind].index[0] for kind in kinds]
    cells = table.loc[[rows[i % 3] for i in range(40)]].drop(columns="share")
    pyr, sst, pvalb = 0, 1, 2
    assert second_over_first(v1_layer(cells=cells), sst, pyr) > 1.05
    assert second_over_first(v1_layer(cells=cells), pyr, pvalb) < 0.95


def test_an_array_of_targets_and_sources_is_taken_by_edge():
    rec = np.arange(1.0, 145.0).reshape(12, 12)
    layer = GLIF(2, 12, seed=1, recurrent=0.5, plasticity={"U": 0.5, "tau_rec": rec})
    edges = layer.arrays.edges["hidden_to_hidden"]
    found = edges.plasticity.values["tau_rec"][edges.plasticity.group_of]
    np.testing.assert_array_equal(found, rec[edges.target_index, edges.source_index])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plasticity": "alen"}, "did you mean 'allen'"),
        ({"plasticity": "allen", "cells": "mean"}, "these cells have none of V1"),
        ({"plasticity": {"U": np.ones((3, 2)), "tau_rec": 10.0}}, r"\[target, source\]"),
        ({"plasticity": 0.5}, "neither a name nor parameters"),
    ],
)
def test_plasticity_that_is_wrong(options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        GLIF(2, 12, seed=1, **options)
    assert len(caught.value.problems) == 1
