"""Short-term plasticity of recurrent connections of a layer: numbers, arrays, or V1's by class of cell."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from v1builder.build.edge_types import plasticity_of_classes
from v1builder.curate import Store, short_term_plasticity
from v1builder.layers.cells import embedded_store
from v1builder.load.network import GroupedValues
from v1builder.schema.errors import ConfigError, Problem, raise_if_any, unknown_name

#: U (1), tau_rec and tau_fac (ms): numbers, one per source cell, or [target, source]; or "allen".
Plasticity = Mapping[str, ArrayLike] | str

NAMES: Final = ("U", "tau_rec", "tau_fac")
_WHERE: Final = "layer, plasticity"


@cache
def embedded_fits() -> pd.DataFrame:
    """`curate.short_term_plasticity` of the tables shipped with the package; fitting takes a second."""
    return short_term_plasticity(embedded_store().synaptic_physiology)


def allen_plasticity(
    population: NDArray[Any], *, store: Store | None = None
) -> dict[str, NDArray[np.float64]]:
    """The plasticity of V1's synapses, of every pair of cells that of its classes (`curate.plasticity`).

    Args:
        population: [n] V1's population of every cell, such as "e23Cux2".
        store: published tables; those shipped with the package unless given.

    Returns:
        U, tau_rec and tau_fac [target, source].

    Raises:
        ConfigError: a cell is of no population of V1.
    """
    table = (embedded_store() if store is None else store).populations
    class_of = dict(zip(table["population"], table["synapse_class"], strict=True))
    strangers = sorted(set(population) - set(class_of))
    if strangers:
        raise ConfigError.of(
            "the short-term plasticity of V1 is known by population, and these cells have none of V1",
            _WHERE,
            ", ".join(strangers),
            "take cells of 'allen:VISp' or a table with a column population, or give U, tau_rec, tau_fac",
        )
    fitted = embedded_fits() if store is None else short_term_plasticity(store.synaptic_physiology)
    fits = plasticity_of_classes(fitted)
    classes, of_cell = np.unique([class_of[name] for name in population], return_inverse=True)
    found = {}
    for name in NAMES:
        matrix = np.array([[fits[pre, post][0][name] for pre in classes] for post in classes])
        found[name] = matrix[of_cell[:, None], of_cell]
    return found


def synapse_models(
    given: Mapping[str, ArrayLike], ends: tuple[NDArray[np.int64], NDArray[np.int64]], n: int
) -> GroupedValues:
    """Tsodyks-Markram synapses, with one synapse model for all edges of equal parameters.

    Args:
        given: U (1), tau_rec and tau_fac (ms; 0, no facilitation, unless given), numbers, one per source or
            [target, source].
        ends: [e] targets and sources of the edges.
        n: number of cells.

    Raises:
        ConfigError: listing every parameter that is missing, unknown or out of range.
    """
    problems = [
        unknown_name("parameter", name, NAMES, _WHERE) for name in given if name not in NAMES
    ]
    columns = []
    for name in NAMES:
        if name not in given and name != "tau_fac":
            problems.append(Problem(f"'{name}' is missing", _WHERE, ", ".join(given)))
            continue
        values = np.asarray(given.get(name, 0.0), dtype=np.float64)
        low = values >= 0 if name == "tau_fac" else values > 0
        if values.shape not in ((), (n,), (n, n)):
            got = f"shape {list(values.shape)}"
            fix = f"give a number, {n} of them, one per source, or an array [target, source]"
            problems.append(Problem(f"'{name}' has a wrong shape", _WHERE, got, fix))
        elif not (low & np.isfinite(values) & (values <= (1 if name == "U" else np.inf))).all():
            fix = "U is in (0, 1], tau_rec positive, tau_fac not negative"
            got = str(values) if values.ndim == 0 else f"{values.min():g} to {values.max():g}"
            problems.append(Problem(f"'{name}' is out of range", _WHERE, got, fix))
        else:
            columns.append(np.broadcast_to(values, (n, n))[ends])
    raise_if_any(problems, ConfigError)
    table = pd.DataFrame(dict(zip(NAMES, columns, strict=True)))
    groups = table.groupby(list(NAMES), sort=True)
    models = groups.size().index.to_frame(index=False)
    values = {name: models[name].to_numpy(dtype=np.float64) for name in NAMES}
    values |= {"u": values["U"].copy(), "x": np.ones(len(models))}
    labels = tuple(f"tsodyks_{row}" for row in range(len(models)))
    return GroupedValues(values, groups.ngroup().to_numpy(dtype=np.int64), labels)
