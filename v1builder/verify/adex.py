"""AdEx cells against NEST, which integrates them adaptively to 1e-6 per step where we take fixed steps.

Two integrations of one equation put a spike into neighbouring steps where it falls within their error, some
10 ns, of the end of a step. Alone such a cell goes on with that error; in a recurrent network others follow.
Voltages agree but in the run to a peak, where they are as sensitive as they are short.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from v1builder.load.network import GroupedValues, Network
from v1builder.model import V1Network
from v1builder.model.neurons.adex import Adex
from v1builder.model.observation import Observer, Segment, observe
from v1builder.model.recordables import IAF_CURRENTS, V_M
from v1builder.schema.names import PSC_ALPHA, PSC_EXPONENTIAL
from v1builder.verify.agreement import Measured, case
from v1builder.verify.comparison import identical_fraction, run_ours
from v1builder.verify.nest_process import NestEdges, NestInput, NestRun, run_nest
from v1builder.verify.published_cells import network

_SHAPES: Final = {"aeif_psc_alpha": PSC_ALPHA, "aeif_psc_exp": PSC_EXPONENTIAL}
N_CELLS, N_INPUT, IN_DEGREE = 60, 50, 20
#: A smaller part of spikes at the same step does not pass.
LEAST: Final = 0.998

Columns = dict[str, NDArray[Any]]


def drawn_cells(rng: np.random.Generator, t_ref: Sequence[float]) -> dict[str, NDArray[np.float64]]:
    """Cells around NEST's defaults: other sizes, thresholds, resets and kinds of adaptation."""
    n = N_CELLS
    values = {p.name: np.full(n, float(p.absent or 0.0)) for p in Adex.table}
    for name in ("C_m", "g_L", "Delta_T", "a", "b", "tau_w"):
        values[name] *= rng.uniform(0.5, 1.8, n)
    values["V_th"] += rng.normal(0, 3, n)
    values["V_reset"] += rng.normal(0, 4, n)
    values["t_ref"] = rng.choice(t_ref, n)
    return values


def rheobase(values: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """[n] pA, about the current at which a cell begins to spike."""
    return values["g_L"] * (values["V_th"] - values["E_L"])


def drawn_edges(
    rng: np.random.Generator, sign: NDArray[np.float64], scale: NDArray[np.float64]
) -> Columns:
    """`IN_DEGREE` edges onto every cell with weights of a size of `scale` (pA) and the sign of the source."""
    target = np.repeat(np.arange(N_CELLS), IN_DEGREE)
    source = rng.integers(0, len(sign), len(target))
    weight = scale[target] * rng.lognormal(-0.5, 0.7, len(target)) * sign[source]
    return {
        "source": source,
        "target": target,
        "weight": weight,
        "delay": rng.choice([1.0, 1.5, 2.0, 2.9], len(target)),
        "receptor": (weight < 0).astype(np.int64),
    }


@dataclass(frozen=True)
class Setup:
    """The same cells for both.

    Attributes:
        cells: for NEST.
        projections: for NEST.
        network: for us.
        stimulus: of both.
    """

    cells: list[tuple[str, dict[str, float]]]
    projections: list[NestEdges]
    network: Network
    stimulus: NestInput

    def nest(self, folder: Path, record: Sequence[str]) -> NestRun:
        """What NEST makes of it."""
        found = run_nest(self.cells, self.projections, self.stimulus, folder, record=record)
        if found.refused:
            raise RuntimeError(f"NEST refused a cell: {next(iter(found.refused.values()))}")
        return found


def setup(template: str, dt: float, duration: float, recurrent: bool) -> Setup:
    """Cells under input spikes and noise, alone or in a recurrent network."""
    rng = np.random.default_rng(1)
    # With t_ref below dt NEST sends several spikes in a step, and a model one.
    values = drawn_cells(rng, [0.0, 0.0, 1.0, 3.7] if dt < 1 else [1.0, 2.0, 4.0])
    size = rheobase(values)
    charge = (
        np.e if template == "aeif_psc_exp" else 1.0
    )  # of an alpha current of the same peak and tau
    tau = np.stack([rng.uniform(0.2, 5, N_CELLS), rng.uniform(0.5, 8, N_CELLS)], axis=1)
    inputs = drawn_edges(rng, np.where(rng.random(N_INPUT) < 0.2, -1.0, 1.0), 0.2 * charge * size)
    sign = np.where(rng.random(N_CELLS) < 1 / 3, -1.0, 1.0)
    among = drawn_edges(rng, sign, 0.05 * charge * size)
    if not recurrent:
        among = {name: column[:0] for name, column in among.items()}
    times = np.arange(1.0, duration, 5.0)
    current = rng.normal(0.7, 0.0 if recurrent else 0.5, (len(times), N_CELLS)) * size
    train = rng.random((round(duration / dt), N_INPUT)) < 40 * dt / 1000
    stimulus = NestInput(dt, duration, train, current, times)
    edges = {"inputs": inputs} | ({"cells": among} if recurrent else {})
    columns = ("source", "target", "weight", "delay")
    return Setup(
        nest_cells(template, values, tau),
        [NestEdges(source, {c: edges[source][c] for c in columns}) for source in edges],
        adex_network(template, values, tau, among, inputs),
        stimulus,
    )


def compared(folder: Path, *, template: str, dt: float, recurrent: bool) -> Measured:
    """Spikes and voltages."""
    both_have = setup(template, dt, 500.0, recurrent)
    nest = both_have.nest(folder, (V_M,))
    ours = run_ours(both_have.network, both_have.stimulus)
    both = np.count_nonzero(nest.spikes & ours.spikes)
    either = np.count_nonzero(nest.spikes | ours.spikes)
    apart = np.abs(nest.recorded[V_M] - ours.voltage)
    fraction = identical_fraction(nest.spikes, ours.spikes)
    text = (
        f"{both} of {either} spikes at the same step ({100 * fraction:.4g} %); voltages apart by "
        f"{np.median(apart):.1g} mV (median), 99 % within {np.quantile(apart, 0.99):.1g} mV"
    )
    if either < 500:
        return Measured(f"{text}; too few spikes to compare", float("nan"), LEAST, at_least=True)
    return Measured(text, fraction, LEAST, at_least=True)


class _Kept(Observer):
    """Keeps [steps, n] of what can be recorded of such cells."""

    needs = ("w", *IAF_CURRENTS)

    def __init__(self):
        self.parts: list[dict[str, NDArray[np.float64]]] = []

    def see(self, segment: Segment) -> None:
        """Keep a segment."""
        self.parts.append({name: segment.recorded[name][0].numpy() for name in self.needs})


def recorded(folder: Path) -> Measured:
    """Adaptation and synaptic currents, as a multimeter has them."""
    both_have = setup("aeif_psc_alpha", 1.0, 100.0, recurrent=False)
    nest, kept = both_have.nest(folder, _Kept.needs), _Kept()
    model = V1Network(both_have.network, dtype=torch.float64, trainable=(), keep_ports=True)
    spikes = torch.tensor(both_have.stimulus.spikes.astype(np.uint8))[None]
    current = torch.tensor(both_have.stimulus.current_per_step())[None]
    observe(model, {"lgn": spikes}, [kept], current=current)
    worst = {
        name: float(
            np.abs(nest.recorded[name] - np.concatenate([part[name] for part in kept.parts])).max()
        )
        for name in _Kept.needs
    }
    if np.count_nonzero(nest.spikes) < 50 or any(np.ptp(v) < 1 for v in nest.recorded.values()):
        raise RuntimeError("too little happened to compare")
    apart = ", ".join(f"{name} within {value:.1g} pA" for name, value in worst.items())
    return Measured(f"{apart} ({np.count_nonzero(nest.spikes)} spikes)", max(worst.values()), 1e-3)


def nest_cells(
    template: str, values: dict[str, NDArray[np.float64]], tau: NDArray[np.float64]
) -> list[tuple[str, dict[str, float]]]:
    """Template and parameters of every cell for NEST."""
    ports = {"tau_syn_ex": tau[:, 0], "tau_syn_in": tau[:, 1], "V_m": values["E_L"]}
    rows = {**values, **ports}
    return [(template, {name: float(v[i]) for name, v in rows.items()}) for i in range(N_CELLS)]


def adex_network(
    template: str,
    values: dict[str, NDArray[np.float64]],
    tau: NDArray[np.float64],
    among: Columns,
    inputs: Columns,
) -> Network:
    """The same cells and edges in memory."""
    rows = np.arange(N_CELLS), tuple(map(str, range(N_CELLS)))
    ports = {
        "tau_syn_fast": tau,
        "tau_syn_slow": tau,
        "amp_slow": np.zeros_like(tau),
        "psc_shape": np.full_like(tau, _SHAPES[template]),
    }
    net = network(GroupedValues(values, *rows), GroupedValues(ports, *rows), among, inputs, N_INPUT)
    templates = np.full(N_CELLS, f"nest:{template}", dtype=object)
    cells = replace(net.cells, attributes=net.cells.attributes | {"model_template": templates})
    return replace(net, nodes=net.nodes | {net.simulated: cells})


for _template in _SHAPES:
    for _dt in (1.0, 0.1):
        for _recurrent in (False, True):
            _what = "recurrent network of AdEx cells" if _recurrent else "AdEx cells"
            case(
                f"{_what}, {_template}, dt {_dt:g}",
                reference="NEST",
                compared=f"spikes and voltages of {N_CELLS} cells under spikes and "
                f"{'a current' if _recurrent else 'noise'}, 0.5 s, dt {_dt:g} ms",
                needs="nest",
                slow=_dt < 1 or _recurrent or _template == "aeif_psc_exp",
            )(partial(compared, template=_template, dt=_dt, recurrent=_recurrent))
case(
    "recordables of AdEx cells",
    reference="NEST",
    compared="adaptation and synaptic currents, as a multimeter records them, 0.1 s, dt 1 ms",
    needs="nest",
)(recorded)
