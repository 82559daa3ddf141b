"""Fixtures of the builder's tests: the embedded tables, and small or thinned columns."""

import numpy as np
import pytest
from column_parts import subset

from v1builder import curate
from v1builder.build.cells import place_cells
from v1builder.build.node_types import build_models
from v1builder.build.weights import receptors
from v1builder.schema.recipe import CellRecipe


@pytest.fixture(scope="session")
def tables():
    return curate.read_store()


@pytest.fixture(scope="session")
def models(tables):
    return build_models(curate.cell_models(tables), tables.populations)


@pytest.fixture(scope="session")
def ports(tables, models):
    return receptors(tables.synapse_kinetics, models)


@pytest.fixture(scope="session")
def column(tables, models):
    """The cells of a column of 50 um."""
    return place_cells(tables.populations, models["population"], 50.0, 3, CellRecipe())


@pytest.fixture(scope="session")
def thinned(tables, models):
    """Every 55th cell of a column of 400 um: few pairs, all distances and populations."""
    cells = place_cells(tables.populations, models["population"], 400.0, 5, CellRecipe())
    return subset(cells, np.arange(7, len(cells), 55))
