"""LGN nodes as subunits: one spatial and one temporal kernel each.

Every unit has a dominant subunit; a composite unit (sONsOFF, sONtOFF) also has a non-dominant one,
`sf_sep` degrees away in the direction of its tuning angle. Attribute names are those of BMTK FilterNet.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v1builder.lgn.classes import LGN_CLASSES, CompositeClass
from v1builder.lgn.kernels import cosine_bump_kernels, first_lobe
from v1builder.load.network import NodePopulation
from v1builder.schema.errors import NetworkError, Problem, raise_if_any, unknown_name

FloatArray = NDArray[np.float64]
_POSITION = ("x", "y", "spatial_size")
_DOMINANT = tuple(f"{name}_dom_{i}" for name in ("weight", "kpeaks", "delay") for i in range(2))
_NON_DOMINANT = tuple(f"{name}_non_dom_{i}" for name in ("weight", "kpeaks", "delay") for i in range(2))


@dataclass(frozen=True)
class Subunits:
    """Subunits of n units: the n dominant ones, then one non-dominant one per composite unit.

    Attributes:
        x, y: [subunit] degrees.
        size: [subunit] degrees.
        kernels: [subunit, lag] at 1 ms, Hz per unit of contrast, amplitude and sign included.
        offset: [subunit] Hz, added before rectification.
        composite: [composite] position of the unit each non-dominant subunit belongs to.
    """

    x: FloatArray
    y: FloatArray
    size: FloatArray
    kernels: FloatArray
    offset: FloatArray
    composite: NDArray[np.int64]


def unit_classes(nodes: NodePopulation) -> NDArray[Any]:
    """[n] class name of each node: model_template without "lgnmodel:", else pop_name.

    Raises:
        NetworkError: listing the names that are no LGN class.
    """
    column = "model_template" if "model_template" in nodes.attributes else "pop_name"
    if column not in nodes.attributes:
        raise NetworkError.of(
            "LGN nodes have neither model_template nor pop_name",
            f"nodes of '{nodes.name}'",
            fix="give every LGN node type a model_template such as 'lgnmodel:sON_TF1'",
        )
    names, inverse = np.unique(nodes.attributes[column].astype(str), return_inverse=True)
    classes = [name.removeprefix("lgnmodel:") for name in names]
    where = f"nodes of '{nodes.name}', column {column}"
    unknown = [name for name in classes if name not in LGN_CLASSES]
    problems = [unknown_name("LGN class", name, LGN_CLASSES, where) for name in unknown]
    raise_if_any(problems, NetworkError)
    return np.array(classes, dtype=object)[inverse]


def _columns(
    nodes: NodePopulation, rows: NDArray[np.int64], names: tuple[str, ...]
) -> dict[str, FloatArray]:
    """The named attributes of some nodes as floats; every missing or non-finite one is a problem."""
    problems, values = [], {}
    for name in names:
        column = nodes.attributes.get(name)
        if column is None:
            problems.append(Problem(f"LGN nodes lack the attribute '{name}'", f"nodes of '{nodes.name}'"))
            continue
        values[name] = column[rows].astype(np.float64)
        bad = ~np.isfinite(values[name])
        if bad.any():
            node = nodes.node_id[rows[bad][0]]
            where = f"nodes of '{nodes.name}', node_id {node} and {bad.sum() - 1} more"
            problems.append(Problem(f"LGN attribute '{name}' is not finite", where, "nan or inf"))
    raise_if_any(problems, NetworkError)
    return values


def _pairs(values: dict[str, FloatArray], subfield: str) -> tuple[FloatArray, FloatArray, FloatArray]:
    weight, peak, delay = (
        np.stack([values[f"{name}_{subfield}_{i}"] for i in range(2)], axis=1)
        for name in ("weight", "kpeaks", "delay")
    )
    return weight, peak, delay


def _delayed_to(
    latency: float, weight: FloatArray, peak: FloatArray, delay: FloatArray, where: str
) -> tuple[FloatArray, FloatArray]:
    """Kernels whose first lobe ends at `latency` ms, and the lobe's area before the delay."""
    end, area = first_lobe(cosine_bump_kernels(weight, peak, delay))
    extra = latency - end
    if (extra < 0).any():
        raise NetworkError.of(
            "a composite LGN unit responds later than its class",
            where,
            f"first lobe ends at {end.max()} ms, latency of the class {latency} ms",
            "use earlier kernel peaks or smaller delays",
        )
    return cosine_bump_kernels(weight, peak, delay + extra[:, None]), area


def _composite_kernels(
    kind: CompositeClass, nodes: NodePopulation, rows: NDArray[np.int64]
) -> tuple[FloatArray, FloatArray]:
    """OFF (dominant) and ON (non-dominant) kernels with their amplitudes."""
    values = _columns(nodes, rows, _DOMINANT + _NON_DOMINANT)
    where = f"nodes of '{nodes.name}'"
    off, off_area = _delayed_to(kind.off_latency, *_pairs(values, "dom"), where)
    on, on_area = _delayed_to(kind.on_latency, *_pairs(values, "non_dom"), where)
    amplitude = np.array([kind.off_amplitude(*areas) for areas in zip(on_area, off_area, strict=True)])
    return amplitude[:, None] * off, on


def subunits(nodes: NodePopulation, rows: NDArray[np.int64]) -> Subunits:
    """The subunits of the nodes at positions `rows`.

    Raises:
        NetworkError: an attribute is missing or not finite, or a class is unknown.
    """
    values = _columns(nodes, rows, _POSITION)
    names = unit_classes(nodes)[rows]
    kernels: list[tuple[NDArray[np.int64], FloatArray]] = []
    second: list[tuple[NDArray[np.int64], FloatArray]] = []
    offset, second_offset = np.empty(len(rows)), np.zeros(len(rows))
    for name, kind in LGN_CLASSES.items():
        at = np.flatnonzero(names == name)
        if len(at) == 0:
            continue
        if isinstance(kind, CompositeClass):
            off, on = _composite_kernels(kind, nodes, rows[at])
            kernels.append((at, off))
            second.append((at, on))
            offset[at] = second_offset[at] = kind.spontaneous_rate / 2
        else:
            weight, peak, delay = _pairs(_columns(nodes, rows[at], _DOMINANT), "dom")
            kernels.append((at, kind.sign * cosine_bump_kernels(weight, peak, delay)))
            offset[at] = kind.spontaneous_rate
    composite = np.concatenate([at for at, _ in second]) if second else np.empty(0, np.int64)
    apart = _columns(nodes, rows[composite], ("sf_sep", "tuning_angle")) if second else {}
    angle = np.deg2rad(apart.get("tuning_angle", np.empty(0)))
    separation = apart.get("sf_sep", np.empty(0))
    return Subunits(
        x=np.concatenate([values["x"], values["x"][composite] + separation * np.cos(angle)]),
        y=np.concatenate([values["y"], values["y"][composite] + separation * np.sin(angle)]),
        size=np.concatenate([values["spatial_size"], values["spatial_size"][composite]]),
        kernels=_stacked(kernels, second, len(rows)),
        offset=np.concatenate([offset, second_offset[composite]]),
        composite=composite,
    )


def _stacked(
    kernels: list[tuple[NDArray[np.int64], FloatArray]],
    second: list[tuple[NDArray[np.int64], FloatArray]],
    n_units: int,
) -> FloatArray:
    """All kernels in the order of the subunits, padded with zeros to one length."""
    n_lags = max((part.shape[1] for _, part in kernels + second), default=1)
    stacked = np.zeros((n_units + sum(len(at) for at, _ in second), n_lags))
    for at, part in kernels:
        stacked[at, : part.shape[1]] = part
    row = n_units
    for at, part in second:
        stacked[row : row + len(at), : part.shape[1]] = part
        row += len(at)
    return stacked
