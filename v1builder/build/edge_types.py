"""SONATA edge types: one per (source population, target cell model), with delay and receptor."""

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.build.node_types import synapse_files
from v1builder.build.weights import Receptors
from v1builder.schema.errors import DataError, Problem, raise_if_any
from v1builder.schema.names import SYNAPSE_CLASSES

#: Tsodyks-Markram parameters of the synapse models of a pair of synapse classes, one per draw.
SynapseModels = tuple[dict[str, float], ...]
#: Synapse class of sources outside V1.
_OUTSIDE = "exc"
#: Subclass of the Synaptic Physiology data by synapse class of V1. Excitatory cells of all layers and
#: projections are one subclass there; i1Htr3a has the class vip.
SUBCLASS_OF: Final[dict[str, str]] = {
    "e23": "pyr",
    "e4": "pyr",
    "e5et": "pyr",
    "e5it": "pyr",
    "e5np": "pyr",
    "e6": "pyr",
    "pv": "pvalb",
    "sst": "sst",
    "vip": "vip",
}


def recurrent_edge_types(
    populations: pd.DataFrame,
    models: pd.DataFrame,
    ports: Receptors,
    template: str = "static_synapse",
    n_draws: int = 1,
) -> pd.DataFrame:
    """V1 -> V1. The id of a type is (draw * populations + source population) * models + target model.

    Delays are published by pair of synapse classes. `template` is NEST's synapse model. With several draws
    there are that many synapse models of each pair of synapse classes.
    """
    source = np.repeat(np.arange(len(populations)), len(models))
    target = np.tile(np.arange(len(models)), len(populations))
    pre = populations["synapse_class"].to_numpy()[source]
    pop_name = populations["population"].to_numpy()[source]
    port = np.array([SYNAPSE_CLASSES.index(name) for name in pre])
    types = _types(models, target, pre, port, pop_name, ports.delay[target, port])
    types["model_template"] = template
    post = models["synapse_class"].to_numpy()[target]
    files = [synapse_files(a, b, n_draws) for a, b in zip(pre, post, strict=True)]
    draws = [types.assign(dynamics_params=of_draw) for of_draw in zip(*files, strict=True)]
    return pd.concat(draws, ignore_index=True).rename_axis(types.index.name)


def plasticity_of_classes(plasticity: pd.DataFrame) -> dict[tuple[str, str], SynapseModels]:
    """Tsodyks-Markram parameters of every pair of V1's synapse classes, under NEST's names, by draw.

    u and x are the release of the first spike in NEST, so that u = U and x = 1 is a synapse at rest
    (NEST's default of u is 0.5 whatever U is).

    Args:
        plasticity: one row per pair of subclasses, or as many for each, in the order of their draws; with
            columns pre, post, U, tau_rec_ms, tau_fac_ms.

    Raises:
        DataError: a pair of subclasses is missing.
    """
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in plasticity.to_dict("records"):
        rows.setdefault((row["pre"], row["post"]), []).append(row)
    subclasses = dict.fromkeys(SUBCLASS_OF.values())
    raise_if_any(
        [
            Problem("short-term plasticity of a pair is missing", "table", f"{pre} -> {post}")
            for pre in subclasses
            for post in subclasses
            if (pre, post) not in rows
        ],
        DataError,
    )
    found = {}
    for pre, pre_subclass in SUBCLASS_OF.items():
        for post, post_subclass in SUBCLASS_OF.items():
            found[pre, post] = tuple(
                {
                    "U": float(row["U"]),
                    "tau_rec": float(row["tau_rec_ms"]),
                    "tau_fac": float(row["tau_fac_ms"]),
                    "u": float(row["U"]),
                    "x": 1.0,
                }
                for row in rows[pre_subclass, post_subclass]
            )
    return found


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
                synapse_files(a, b)[0] for a, b in zip(pre_class, post_class, strict=True)
            ],
            "receptor_type": port + 1,
            "delay": delay,
        }
    ).set_index("edge_type_id")
