"""The small network of the tests with all that a page can show."""

import dataclasses

import numpy as np


def placed(network):
    """With depths of its cells, and receptive fields of its LGN."""
    n, lgn = network.n_cells, network.nodes["lgn"]
    cells = dataclasses.replace(
        network.cells, attributes=network.cells.attributes | {"y": -np.linspace(100, 800, n)}
    )
    fields = {"x": np.arange(6.0), "y": np.arange(6.0) + 10, "spatial_size": np.ones(6)}
    lgn = dataclasses.replace(lgn, attributes=lgn.attributes | fields)
    return dataclasses.replace(network, nodes={"v1": cells, "lgn": lgn})
