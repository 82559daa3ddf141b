"""LGN nodes as subunits: one spatial and one temporal kernel each.

Every unit has a dominant subunit; a composite unit (sONsOFF, sONtOFF) also has a non-dominant one,
`sf_sep` degrees away in the direction of its tuning angle. Attribute names are those of BMTK
FilterNet.
"""

from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v1builder.lgn.classes import LGN_CLASSES, CompositeClass
from v1builder.lgn.kernels import cosine_bump_kernels, first_lobe
from v1builder.load.network import NodePopulation
from v1builder.schema.errors import NetworkError, Problem, raise_if_any, unknown_name

FloatArray = NDArray[np.float64]
_POSITION = ("x", "y", "spatial_size")
_BUMP_COLUMNS = ("weight", "kpeaks", "delay")


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
    """The named attributes of some nodes as floats; a missing or non-finite one is a problem."""
    problems, values = [], {}
    for name in names:
        column = nodes.attributes.get(name)
        if column is None:
            problems.append(
                Problem(f"LGN nodes lack the attribute '{name}'", f"nodes of '{nodes.name}'")
            )
            continue
        values[name] = column[rows].astype(np.float64)
        bad = ~np.isfinite(values[name])
        if bad.any():
            node = nodes.node_id[rows[bad][0]]
            where = f"nodes of '{nodes.name}', node_id {node} and {bad.sum() - 1} more"
            problems.append(Problem(f"LGN attribute '{name}' is not finite", where, "nan or inf"))
    raise_if_any(problems, NetworkError)
    return values


@dataclass(frozen=True)
class _Bumps:
    """Weights, peaks (ms) and delays (ms) of the two bumps of a kernel, each [unit, 2]."""

    weights: FloatArray
    peaks: FloatArray
    delays: FloatArray


def _bumps(nodes: NodePopulation, rows: NDArray[np.int64], subfield: str) -> _Bumps:
    """Bumps of the "dom" or "non_dom" subfield, with what FilterNet demands of them checked."""
    columns = {name: [f"{name}_{subfield}_{i}" for i in range(2)] for name in _BUMP_COLUMNS}
    values = _columns(nodes, rows, tuple(chain(*columns.values())))
    weights, peaks, delays = (
        np.stack([values[name] for name in pair], axis=1) for pair in columns.values()
    )
    rules = {
        "the first bump's weight must be positive": weights[:, 0] > 0,
        "the first bump's peak must be positive and before the second's": (
            (peaks[:, 0] > 0) & (peaks[:, 0] < peaks[:, 1])
        ),
        "delays must not be negative, nor the first longer than the second": (
            (delays[:, 0] >= 0) & (delays[:, 0] <= delays[:, 1])
        ),
    }
    problems = [
        Problem(
            f"an LGN unit's temporal kernel is not valid: {rule}",
            f"nodes of '{nodes.name}', node_id {nodes.node_id[rows[~good][0]]}, {subfield}",
            str({name: values[name][~good][0] for pair in columns.values() for name in pair}),
        )
        for rule, good in rules.items()
        if not good.all()
    ]
    raise_if_any(problems, NetworkError)
    return _Bumps(weights, peaks, delays)


def _delayed_to(latency: float, bumps: _Bumps, where: str) -> tuple[FloatArray, FloatArray]:
    """Kernels whose first lobe ends at `latency` ms, and the lobe's area before the delay."""
    end, area = first_lobe(cosine_bump_kernels(bumps.weights, bumps.peaks, bumps.delays))
    if not ((end > 0) & (end <= latency)).all():
        raise NetworkError.of(
            "the kernel of a composite LGN unit cannot be given the latency of its class",
            where,
            f"first lobes end at {end.min()} to {end.max()} ms (0: never), latency {latency} ms",
            "give kernels that turn negative before that latency",
        )
    extra = (latency - end)[:, None]
    return cosine_bump_kernels(bumps.weights, bumps.peaks, bumps.delays + extra), area


def _composite_kernels(
    kind: CompositeClass, nodes: NodePopulation, rows: NDArray[np.int64]
) -> tuple[FloatArray, FloatArray]:
    """OFF (dominant) and ON (non-dominant) kernels with their amplitudes."""
    where = f"nodes of '{nodes.name}'"
    off, off_area = _delayed_to(kind.off_latency, _bumps(nodes, rows, "dom"), where)
    on, on_area = _delayed_to(kind.on_latency, _bumps(nodes, rows, "non_dom"), where)
    amplitude = [kind.off_amplitude(*areas) for areas in zip(on_area, off_area, strict=True)]
    return np.array(amplitude)[:, None] * off, on


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
            bumps = _bumps(nodes, rows[at], "dom")
            plain = cosine_bump_kernels(bumps.weights, bumps.peaks, bumps.delays)
            kernels.append((at, kind.sign * plain))
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
