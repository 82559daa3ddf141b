"""Small networks, ready for a protocol."""

import dataclasses
from functools import partial

import numpy as np
import pandas as pd
from handmade import make_foreign
from handmade import with_plasticity as plastic

from v1builder.inputs import input_sources
from v1builder.load.groups import Groups, group_cells
from v1builder.load.network import GroupedValues, Network, NodePopulation
from v1builder.model import V1Network
from v1builder.protocols import Preparation
from v1builder.train import stream


def prepared(network, seed=1, levels=("population",), **options):
    """The network, with its inputs as they say they fire."""
    model = V1Network(network, **{"trainable": (), **options})
    groups = {"network": Groups(np.zeros(network.n_cells, np.int64), ("network",))}
    groups |= {level: group_cells(network.cells, level) for level in levels}
    sources = input_sources(network, dt=model.dt)
    return Preparation(network, model, sources, partial(stream, seed, "protocols"), groups)


def foreign(strength=1.0, *, plasticity=False):
    """A network of 24 cells and a Poisson background; `strength` of its recurrent weights."""
    network = plastic(make_foreign()) if plasticity else make_foreign()
    edges = network.edges["v1_to_v1"]
    edges = dataclasses.replace(edges, weight=strength * edges.weight)
    return dataclasses.replace(network, edges=network.edges | {"v1_to_v1": edges})


def alone(n, *, names=None, bias=0.0, **changed):
    """Leaky cells without synapses: 100 pF and 10 nS (10 ms), 20 mV from rest to threshold."""
    row = {"C_m": 100.0, "g": 10.0, "E_L": -70.0, "V_th": -50.0, "V_reset": -70.0, "t_ref": 2.0}
    values = {name: np.array([value]) for name, value in (row | changed).items() if name in row}
    currents = {"asc_amps": 0.0, "asc_decay": 0.01, "asc_r": 1.0}
    values |= {name: np.array([[changed.get(name, value)]]) for name, value in currents.items()}
    zero = ("th_spike_add", "th_spike_decay", "voltage_reset_fraction", "th_voltage_index",
            "th_voltage_decay")  # fmt: skip
    values |= {name: np.zeros(1) for name in zero}
    ports = {"tau_syn_fast": 2.0, "tau_syn_slow": 5.0, "amp_slow": 0.0, "psc_shape": 0.0}
    rows = np.zeros(n, np.int64)
    attributes = {
        "model_type": np.full(n, "point_neuron"),
        "pop_name": np.full(n, "all") if names is None else np.asarray(names),
    }
    nodes = NodePopulation("v1", np.arange(n), rows, attributes, pd.DataFrame())
    receptors = {name: np.full((1, 1), value) for name, value in ports.items()}
    return Network(
        {"v1": nodes},
        {},
        "v1",
        GroupedValues(values, rows, ("a",)),
        GroupedValues(receptors, rows, ("a",)),
        np.full(n, float(bias)),
    )


def by_window(rows, measure, level="network"):
    """Rows of a measure by window and group."""
    return {(r.window, r.group): r for r in rows if (r.measure, r.level) == (measure, level)}


def value(rows, measure):
    """The one value of the network."""
    (row,) = by_window(rows, measure).values()
    return row.value
