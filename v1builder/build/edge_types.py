"""SONATA edge types: one per (source population, target cell model), with delay and receptor."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.build.node_types import synapse_file
from v1builder.build.weights import Receptors
from v1builder.schema.names import SYNAPSE_CLASSES

#: Synapse class of sources outside V1.
_OUTSIDE = "exc"


def recurrent_edge_types(
    populations: pd.DataFrame, models: pd.DataFrame, ports: Receptors
) -> pd.DataFrame:
    """V1 -> V1. The id of a type is source population * number of models + target model.

    Delays are published by pair of synapse classes.
    """
    source = np.repeat(np.arange(len(populations)), len(models))
    target = np.tile(np.arange(len(models)), len(populations))
    pre = populations["synapse_class"].to_numpy()[source]
    pop_name = populations["population"].to_numpy()[source]
    port = np.array([SYNAPSE_CLASSES.index(name) for name in pre])
    return _types(models, target, pre, port, pop_name, ports.delay[target, port])


def external_edge_types(models: pd.DataFrame, location: str, delay_ms: float) -> pd.DataFrame:
    """LGN or background -> V1. The id of a type is the row of the target's cell model."""
    n = len(models)
    port = np.full(n, SYNAPSE_CLASSES.index(_OUTSIDE))
    types = _types(
        models, np.arange(n), np.full(n, _OUTSIDE), port, np.full(n, location), np.full(n, delay_ms)
    )
    return types.assign(source_query=f"location=='{location}'")


def _types(
    models: pd.DataFrame,
    target: NDArray[np.int64],
    pre_class: NDArray[Any],
    port: NDArray[np.int64],
    source_name: NDArray[Any],
    delay: NDArray[np.float64],
) -> pd.DataFrame:
    post_class = models["synapse_class"].to_numpy()[target]
    node_type_id = models["node_type_id"].to_numpy()[target]
    return pd.DataFrame(
        {
            "edge_type_id": np.arange(len(target)),
            "source_query": [f"pop_name=='{name}'" for name in source_name],
            "target_query": [f"node_type_id=='{key}'" for key in node_type_id],
            "source_pop_name": source_name,
            "target_pop_name": models["population"].to_numpy()[target],
            "model_template": "static_synapse",
            "dynamics_params": [
                synapse_file(a, b) for a, b in zip(pre_class, post_class, strict=True)
            ],
            "receptor_type": port + 1,
            "delay": delay,
        }
    ).set_index("edge_type_id")
