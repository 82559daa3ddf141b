"""What single cells do in the model: spikes under constant currents, and PSPs of single synapses."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from v1builder.analysis.excitability import SteadyFiring, Values
from v1builder.load.network import EdgePopulation, GroupedValues, Network, NodePopulation
from v1builder.model import V1Network
from v1builder.model.observation import Observer, SpikeCounts, SpikeEvents, observe

_PROBE = "probe"


def cells_alone(membrane: Values, receptors: Values, labels: tuple[str, ...]) -> Network:
    """One cell per row of the parameters, without any synapse.

    Args:
        membrane: by name, [n] or [n, a].
        receptors: by name, [n, r].
        labels: [n].
    """
    n = len(labels)
    rows = np.arange(n)
    model_type = {"model_type": np.full(n, "point_neuron")}
    nodes = NodePopulation("v1", rows, np.zeros(n, np.int64), model_type, pd.DataFrame())
    return Network(
        nodes={"v1": nodes},
        edges={},
        simulated="v1",
        membrane=GroupedValues(dict(membrane), rows, labels),
        receptors=GroupedValues(dict(receptors), rows, labels),
        bias_current=np.zeros(n),
    )


def _model(network: Network, dt: float) -> V1Network:
    return V1Network(network, dt=dt, dtype=torch.float64, trainable=())


def spikes_under_steps(
    network: Network,
    current: NDArray[np.float64],
    duration: float,
    dt: float,
    start: SteadyFiring | None = None,
) -> NDArray[np.bool_]:
    """Spikes of every cell under every current.

    Args:
        network: cells alone.
        current: [n, m] pA, acting from the first step.
        duration: ms.
        dt: ms.
        start: begin as after a spike of steady firing, not at rest. [n, m]; no NaN.

    Returns:
        [n, m, steps].
    """
    events = SpikeEvents()
    _run_steps(network, current, duration, dt, events, start)
    at, step, cell = events.events()[0]
    spikes = np.zeros((*current.shape, round(duration / dt)), np.bool_)
    spikes[cell, at, step] = True
    return spikes


def counts_under_steps(
    network: Network, current: NDArray[np.float64], duration: float, dt: float
) -> NDArray[np.int64]:
    """[n, m] number of spikes; arguments as of `spikes_under_steps`."""
    counts = SpikeCounts()
    _run_steps(network, current, duration, dt, counts)
    return counts.counts.T.astype(np.int64)


def _run_steps(
    network: Network,
    current: NDArray[np.float64],
    duration: float,
    dt: float,
    observer: Observer,
    start: SteadyFiring | None = None,
) -> None:
    model = _model(network, dt)
    injected = torch.as_tensor(current.T.copy())
    state = replace(model.initial_state(batch=current.shape[1]), current=injected)
    if start is not None:
        state = replace(
            state,
            U=torch.as_tensor(start.U.T.copy()),
            asc=torch.as_tensor(start.asc.transpose(1, 0, 2).copy()),
            **_threshold_state(start),
        )
    n_steps = round(duration / dt)
    observe(model, {}, [observer], n_steps=n_steps, current=injected[:, None], state=state)


def _threshold_state(start: SteadyFiring) -> dict[str, torch.Tensor]:
    named = {"th_spike": start.th_spike, "th_voltage": start.th_voltage}
    return {name: torch.as_tensor(value.T.copy()) for name, value in named.items()}


def simulated_unit_psps(network: Network, dt: float, duration: float) -> NDArray[np.float64]:
    """Peak of the PSP that one spike of weight 1 pA evokes at each port of each cell at rest.

    The peak is that of the parabola through the largest sample and its neighbours.

    Args:
        network: cells alone; 1 pA must not make any of them fire.
        dt: ms.
        duration: ms, longer than any PSP rises.

    Returns:
        [n, r] mV/pA.

    Raises:
        ValueError: a PSP still rises at the end, or a cell fired.
    """
    n, n_ports = network.n_cells, network.receptors.values["tau_syn_fast"].shape[1]
    model = _model(_probed(network, n_ports, dt), dt)
    n_steps = round(duration / dt)
    spikes = torch.zeros(n_ports, n_steps, n_ports, dtype=torch.uint8)
    spikes[torch.arange(n_ports), 0, torch.arange(n_ports)] = 1
    with torch.no_grad():
        rollout = model({_PROBE: spikes}, record_voltage=True)
    assert rollout.voltage is not None
    U = rollout.voltage.numpy()
    top = U.argmax(axis=1)
    if rollout.spikes.any() or top.max() >= n_steps - 1:
        raise ValueError("a unit PSP is not over, or made the cell fire")
    port, cell = np.ogrid[:n_ports, :n]
    before, at, after = (U[port, top + shift, cell] for shift in (-1, 0, 1))
    slope, bend = (after - before) / 2, after - 2 * at + before
    return (at - slope**2 / (2 * bend)).T


def _probed(network: Network, n_ports: int, dt: float) -> Network:
    """The cells with one input per port, each connected to every cell there with weight 1 pA."""
    n = network.n_cells
    port, cell = (index.ravel() for index in np.indices((n_ports, n)))
    virtual = {"model_type": np.full(n_ports, "virtual")}
    ids = np.arange(n_ports)
    edges = EdgePopulation(
        name=f"{_PROBE}_to_v1",
        source=_PROBE,
        target="v1",
        source_index=port.astype(np.int32),
        target_index=cell.astype(np.int32),
        edge_type_id=np.zeros(len(port), np.int64),
        weight=np.ones(len(port)),
        nsyns=np.ones(len(port), np.int32),
        delay=np.full(len(port), dt, np.float32),
        receptor=port.astype(np.int16),
        types=pd.DataFrame(),
    )
    nodes = NodePopulation(_PROBE, ids, np.zeros(n_ports, np.int64), virtual, pd.DataFrame())
    return replace(network, nodes={**network.nodes, _PROBE: nodes}, edges={edges.name: edges})
