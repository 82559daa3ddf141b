"""What edges must be, once: the validator notes every fault, a reader refuses at the first.

A rule looks at a chunk of edges and says which of them break it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from v1builder.schema.errors import NetworkError, Problem, unknown_name
from v1builder.sonata.circuit import PopulationFile
from v1builder.sonata.groups import OVERRIDE
from v1builder.sonata.join import is_absent

#: Weight functions that BMTK has itself: syn_weight * nsyns, as without one.
TIMES_SYNAPSES: Final = ("default_weight_fnc", "set_syn_weight", "wmax")
#: Those of AllenInstitute/biorealistic-v1-model: syn_weight as it is, whatever nsyns.
AS_IT_IS: Final = ("weight_function_recurrent", "weight_function_lgn", "weight_function_bkg")

#: ms, far beyond those of axons.
LONGEST_DELAY: Final = 1e4


@dataclass(frozen=True)
class Fault:
    """A rule and the edges of a chunk that break it.

    Attributes:
        what, fix: for the message.
        wrong: [e] which edges.
        got: [e] what they have.
    """

    what: str
    fix: str
    wrong: NDArray[np.bool_]
    got: NDArray[Any]


def refuse(faults: Iterable[Fault], where: str, start: int = 0) -> None:
    """Raise NetworkError for the first edge that breaks the first rule; `start` is that of the chunk."""
    for fault in faults:
        if fault.wrong.any():
            edge = int(np.flatnonzero(fault.wrong)[0])
            got = f"{fault.got[edge]} at edge {start + edge}"
            raise NetworkError.of(fault.what, where, got, fault.fix)


def no_population(end: str, name: str, where: str, known: Iterable[str]) -> Problem:
    """Edges whose source or target population is not there."""
    return Problem(
        f"the {end} population of the edges is not in the network",
        where,
        name or "no attribute node_population",
        f"the network has: {', '.join(known) or 'none'}",
    )


def not_simulated(name: str, where: str, simulated: Iterable[str]) -> Problem:
    """Edges onto cells that are not simulated."""
    return Problem(
        "the target of the edges is not simulated",
        where,
        name,
        f"only {', '.join(simulated) or 'none'} is simulated",
    )


def no_column(name: str, where: str, guess: str | None) -> Problem:
    """A value that neither edges nor types have; `guess` is a column that may be meant."""
    return Problem(
        f"neither the edges nor their types have '{name}'",
        where,
        fix=f"rename the column '{guess}'" if guess else f"add the column '{name}'",
    )


def other_ends(part: PopulationFile, ends: Mapping[str, str], where: str) -> list[Problem]:
    """Edges between other populations than the configuration says; `ends` has source and target."""
    return [
        Problem(
            f"the {end} population of the edges is not the one of the configuration",
            where,
            f"{name} in the file, {said} in the configuration",
            "correct the configuration",
        )
        for end, name in ends.items()
        for said in [getattr(part, end)]
        if said not in ("", name)
    ]


def own_parameters(attributes: Iterable[str], where: str) -> list[Problem]:
    """Synapse parameters of single edges, which would override those of their type."""
    own = [name.removeprefix(OVERRIDE) for name in attributes if name.startswith(OVERRIDE)]
    if not own:
        return []
    fix = "give edges of equal parameters a type with a synaptic model file of its own"
    what = "edges with synapse parameters of their own are not supported"
    return [Problem(what, f"{where}, group dynamics_params", ", ".join(own), fix)]


def weight_functions(names: Iterable[Any], where: str) -> list[Problem]:
    """Functions of weights, code of a user of BMTK, of which only some are known."""
    known = (*TIMES_SYNAPSES, *AS_IT_IS)
    return [
        unknown_name("weight function", str(name), known, f"{where}, column weight_function")
        for name in dict.fromkeys(names)
        if not is_absent(name) and name not in (None, "", *known)
    ]


def unknown_nodes(
    end: str, population: str, n: int, wrong: NDArray[np.bool_], ids: NDArray[Any]
) -> Fault:
    """Edges from or to nodes that do not exist."""
    return Fault(
        f"an edge has a {end} that does not exist", f"{population} has {n} nodes", wrong, ids
    )


def unknown_types(wrong: NDArray[np.bool_], ids: NDArray[Any]) -> Fault:
    """Edges of types that are not in the table."""
    return Fault(
        "an edge has a type that the types table lacks",
        "add the type to the table or correct the edges",
        wrong,
        ids,
    )


def not_finite(name: str, values: NDArray[np.float64], got: NDArray[Any]) -> Fault:
    """Values that are no numbers."""
    return Fault(
        f"'{name}' is missing, NaN or infinite",
        "build the network again",
        ~np.isfinite(values),
        got,
    )


def not_positive_delay(delay: NDArray[np.float64]) -> Fault:
    """Delays, ms."""
    return Fault("a delay is not positive", "give every edge a delay > 0", delay <= 0, delay)


def too_long_delay(delay: NDArray[np.float64]) -> Fault:
    """Delays, ms: what is on its way is kept for every step of the longest one."""
    fix = f"delays are in ms, at most {LONGEST_DELAY:g}"
    return Fault("a delay is longer than ten seconds", fix, delay > LONGEST_DELAY, delay)


def broken_synapses(nsyns: NDArray[np.float64]) -> Fault:
    """Numbers of synapses that are not whole."""
    fix = "count whole synapses and put the rest into syn_weight"
    return Fault("nsyns is not a whole number", fix, _broken(nsyns), nsyns)


def negative_synapses(nsyns: NDArray[np.float64]) -> Fault:
    """Numbers of synapses below zero, which would turn a weight around."""
    return Fault("nsyns is negative", "count the synapses of an edge", nsyns < 0, nsyns)


def no_synapses(nsyns: NDArray[np.float64]) -> Fault:
    """Edges without a synapse; they are harmless, and a reader lets them pass."""
    return Fault("nsyns is less than one", "leave such edges out", nsyns < 1, nsyns)


def unknown_ports(port: NDArray[np.float64], n_ports: NDArray[np.int64]) -> Iterator[Fault]:
    """Ports that the target cells lack.

    Args:
        port: [e] receptor_type, from 1; NaN where nothing is said.
        n_ports: [e] ports of the target, 0 where the sign of the weight chooses.
    """
    what = "a receptor port does not exist"
    wrong = (n_ports > 0) & ~((port >= 1) & (port <= n_ports) & (np.trunc(port) == port))
    has = str(n_ports[wrong][0]) if wrong.any() else ""
    yield Fault(what, f"the target cell has ports 1 to {has}", wrong, port)
    by_sign = (n_ports == 0) & (np.nan_to_num(port) != 0)
    fix = "the target chooses by the sign of the weight; leave receptor_type out"
    yield Fault(what, fix, by_sign, port)


def against_dale(
    weight: NDArray[np.float64], inhibitory: NDArray[np.bool_], excitatory: NDArray[np.bool_]
) -> Iterator[Fault]:
    """Weights whose sign is not that of their source."""
    fix = "Dale's law: weights of inhibitory sources are negative, of excitatory positive"
    what = "the weight of an inhibitory source is positive"
    yield Fault(what, fix, inhibitory & (weight > 0), weight)
    what = "the weight of an excitatory source is negative"
    yield Fault(what, fix, excitatory & (weight < 0), weight)


def _broken(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which are numbers, but not whole ones."""
    return np.isfinite(values) & (np.trunc(values) != values)
