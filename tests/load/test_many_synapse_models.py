"""Short-term plasticity of every edge on its own: as many synapse models as edges."""

import numpy as np
import pandas as pd

from v1builder.load.plasticity import read_plasticity
from v1builder.schema.parameters import PLASTICITY_UNITS
from v1builder.sonata.join import SYNAPSE_PARAMETER
from v1builder.sonata.synapse_models import TSODYKS


def test_more_models_than_two_bytes_count():
    n = 2**15 + 100
    values = dict.fromkeys(PLASTICITY_UNITS, 1.0) | {"U": np.linspace(0.1, 0.9, n)}
    values["u"] = values["U"]
    types = pd.DataFrame(
        {"model_template": TSODYKS, "dynamics_params": [f"{k:05}.json" for k in range(n)]}
        | {SYNAPSE_PARAMETER + name: value for name, value in values.items()},
        index=pd.Index(np.arange(n), name="edge_type_id"),
    )
    found = read_plasticity(types, "types")
    assert np.array_equal(found.model_of_type, np.arange(n))
    edges = found.of_edges(found.model_of_type[::-1])
    assert np.array_equal(edges.per_cell("U"), values["U"][::-1])
