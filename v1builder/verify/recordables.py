"""What is recorded of cells, beside NEST's multimeter: thresholds, after-spike and synaptic currents."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from v1builder.load.network import GroupedValues, Network
from v1builder.model import V1Network
from v1builder.model.observation import Observer, Segment, observe
from v1builder.model.recordables import GLIF_RECORDABLES, IAF_CURRENTS, V_M, port_names
from v1builder.schema.names import PSC_ALPHA, PSC_EXPONENTIAL, SYNAPSE_CLASSES
from v1builder.verify.agreement import Measured, case
from v1builder.verify.nest_process import NestEdges, NestInput, run_nest
from v1builder.verify.networks import input_spikes, mixed_network
from v1builder.verify.published_cells import network
from v1builder.verify.single_cells import nest_cells, projection

#: mV or pA. Rounding, of values up to some 1000 pA.
LIMIT: Final = 1e-9
_DURATION: Final = 300.0  # ms
_PORTS: Final = port_names(len(SYNAPSE_CLASSES))

Recorded = dict[str, NDArray[np.float64]]


class _Table(Observer):
    """Keeps [steps, n] of everything it is asked for."""

    def __init__(self, names: Sequence[str]):
        self.needs = names
        self.found: Recorded = {name: np.zeros((0, 0)) for name in names}

    def see(self, segment: Segment) -> None:
        """Append a segment."""
        for name, before in self.found.items():
            rows = segment.recorded[name][0].numpy()
            self.found[name] = np.concatenate([before, rows]) if before.size else rows


def _ours(net: Network, stimulus: NestInput, names: Sequence[str]) -> Recorded:
    model = V1Network(
        net,
        dt=stimulus.dt,
        dtype=torch.float64,
        trainable=(),
        backend="reference",
        keep_ports=True,
    )
    table = _Table(names)
    current = None
    if len(stimulus.current_times):
        current = torch.tensor(stimulus.current_per_step())[None]
    spikes = {"lgn": torch.tensor(stimulus.spikes.astype(np.uint8))[None]}
    observe(model, spikes, [table], current=current)
    return table.found


def _first(stimulus: NestInput, **more: Any) -> NestInput:
    spikes = stimulus.spikes[: round(_DURATION / stimulus.dt)]
    return NestInput(stimulus.dt, _DURATION, spikes, **more)


def _measured(differences: dict[str, float], what: str) -> Measured:
    worst = max(differences, key=lambda name: differences[name])
    text = f"{what}; largest difference {differences[worst]:.1g} ({worst})"
    return Measured(text, differences[worst], LIMIT)


def glif(folder: Path, *, template: str) -> Measured:
    """Every recordable of NEST's GLIF cells, in a recurrent network of all levels under a current."""
    net, models, edges = mixed_network(template)
    rng = np.random.default_rng(4)
    times = np.arange(1.0, _DURATION, 5.0)
    current = rng.normal(0.0, 50.0, (len(times), net.n_cells))
    stimulus = _first(input_spikes(1.0), current=current, current_times=times)
    cells = nest_cells(template, models, net.membrane.group_of, net.receptors)
    projections = [projection(source, columns) for source, columns in edges.items()]
    nest = run_nest(cells, projections, stimulus, folder, record=GLIF_RECORDABLES)
    if nest.refused:
        raise RuntimeError(f"NEST refused a cell: {next(iter(nest.refused.values()))}")
    ours = _ours(net, stimulus, [*GLIF_RECORDABLES, *_PORTS])
    together = sum(ours[name] for name in _PORTS)
    differences = {
        name: float(np.abs(nest.recorded[name] - ours[name]).max()) for name in GLIF_RECORDABLES
    }
    differences["sum of I_syn_1 to I_syn_10"] = float(np.abs(together - ours["I_syn"]).max())
    n_spikes = np.count_nonzero(nest.spikes)
    if n_spikes < 1000 or min(np.ptp(nest.recorded[name]) for name in GLIF_RECORDABLES) == 0:
        raise RuntimeError(f"too little happened to compare: {n_spikes} spikes")
    what = f"{', '.join(GLIF_RECORDABLES)} of {net.n_cells} cells, {n_spikes} spikes"
    return _measured(differences, what)


def one_port_each(folder: Path) -> Measured:
    """The current of single ports: cell k hears its port k alone, whose current is then NEST's I_syn."""
    template, n = "glif_psc_double_alpha", len(SYNAPSE_CLASSES)
    mixed, models, _ = mixed_network(template)
    own = np.arange(n)
    membrane = GroupedValues(mixed.membrane.values, own, mixed.membrane.labels)
    ports = GroupedValues(mixed.receptors.values, np.zeros(n, np.int64), mixed.receptors.labels)
    rng = np.random.default_rng(5)
    stimulus = _first(input_spikes(1.0))
    target = np.repeat(own, 20)
    heard = {
        "source": rng.integers(0, stimulus.spikes.shape[1], len(target)),
        "target": target,
        "weight": rng.uniform(50.0, 300.0, len(target)),
        "delay": rng.choice([1.0, 2.0, 2.9], len(target)),
        "receptor": target,
    }
    nothing = {name: values[:0] for name, values in heard.items()}
    net = network(membrane, ports, nothing, heard, stimulus.spikes.shape[1])
    cells = nest_cells(template, models, own, ports)
    nest = run_nest(cells, [projection("inputs", heard)], stimulus, folder, record=("I_syn",))
    ours = np.stack(list(_ours(net, stimulus, _PORTS).values()))  # [port, step, cell]
    theirs = nest.recorded["I_syn"]
    if not (np.abs(theirs).max(axis=0) > 10).all() or np.count_nonzero(nest.spikes) < 20:
        raise RuntimeError("too little happened to compare")
    alone = np.where(np.eye(n, dtype=bool)[:, None, :], theirs, 0.0)
    return _measured(
        {"I_syn of the port": float(np.abs(alone - ours).max())},
        f"I_syn_1 to I_syn_{n} of {n} cells, {np.count_nonzero(nest.spikes)} spikes",
    )


def integrate_and_fire(folder: Path) -> Measured:
    """The excitatory and the inhibitory current of iaf_psc_alpha and iaf_psc_exp cells."""
    templates = {"iaf_psc_alpha": PSC_ALPHA, "iaf_psc_exp": PSC_EXPONENTIAL}
    parameters = {"C_m": 250.0, "E_L": -70.0, "V_th": -55.0, "V_reset": -70.0, "t_ref": 2.0}
    synapses, n = {"tau_syn_ex": 2.0, "tau_syn_in": 3.5}, 6
    kind = np.arange(n) % len(templates)
    rows = len(templates)
    values = {name: np.full(rows, value) for name, value in parameters.items()}
    values["g"] = np.full(rows, 25.0)
    values |= {name: np.zeros((rows, 1)) for name in ("asc_amps", "asc_r")}
    values["asc_decay"] = np.ones((rows, 1))
    moving = ("th_spike_add", "th_spike_decay", "voltage_reset_fraction")
    moving += ("th_voltage_index", "th_voltage_decay")
    values |= {name: np.zeros(rows) for name in moving}
    taus = np.tile(list(synapses.values()), (rows, 1))
    ports = {
        "tau_syn_fast": taus,
        "tau_syn_slow": taus.copy(),
        "amp_slow": np.zeros((rows, 2)),
        "psc_shape": np.repeat(np.array(list(templates.values()), float)[:, None], 2, axis=1),
    }
    rng = np.random.default_rng(6)
    stimulus = _first(input_spikes(1.0))
    target = np.repeat(np.arange(n), 20)
    weight = rng.normal(200.0, 300.0, len(target))
    heard = {
        "source": rng.integers(0, stimulus.spikes.shape[1], len(target)),
        "target": target,
        "weight": weight,
        "delay": rng.choice([1.0, 2.0], len(target)),
        "receptor": (weight < 0).astype(np.int64),
    }
    nothing = {name: values[:0] for name, values in heard.items()}
    labels = tuple(templates)
    net = network(
        GroupedValues(values, kind, labels), GroupedValues(ports, kind, labels),
        nothing, heard, stimulus.spikes.shape[1],
    )  # fmt: skip
    nest_parameters = {**parameters, **synapses, "tau_m": 10.0}
    cells = [(labels[k], nest_parameters) for k in kind]
    columns = {name: heard[name] for name in ("source", "target", "weight", "delay")}
    edges = [NestEdges("inputs", columns)]
    names = (V_M, *IAF_CURRENTS)
    nest = run_nest(cells, edges, stimulus, folder, record=names)
    ours = _ours(net, stimulus, names)
    n_spikes = np.count_nonzero(nest.spikes)
    if n_spikes < 20:
        raise RuntimeError(f"too little happened to compare: {n_spikes} spikes")
    differences = {name: float(np.abs(nest.recorded[name] - ours[name]).max()) for name in names}
    return _measured(differences, f"{', '.join(names)} of {n} cells, {n_spikes} spikes")


for _template in ("glif_psc", "glif_psc_double_alpha"):
    case(
        f"recordables of GLIF1 to GLIF5, {_template}",
        reference="NEST",
        compared="what a multimeter records of 200 cells of all levels, 0.3 s, dt 1 ms",
        needs="nest",
    )(partial(glif, template=_template))
case(
    "currents of single ports",
    reference="NEST",
    compared="the synaptic current of cells that hear one port each, 0.3 s, dt 1 ms",
    needs="nest",
)(one_port_each)
case(
    "currents of integrate-and-fire cells",
    reference="NEST",
    compared="potential, excitatory and inhibitory current of iaf_psc_alpha and iaf_psc_exp, 0.3 s, dt 1 ms",
    needs="nest",
)(integrate_and_fire)
