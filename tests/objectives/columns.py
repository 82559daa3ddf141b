"""A hand-made setting of objectives: cells of two populations in a task of gratings, and what they did."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lgn_nodes import lgn_nodes

from v1builder.inputs import FilterSource, PoissonSource
from v1builder.lgn import LGN
from v1builder.load.network import EdgePopulation, GroupedValues, Network, NodePopulation
from v1builder.objectives import Seen, Setting
from v1builder.tasks import TASKS, make_task

N_E, N_I, N_EDGES = 80, 20, 900


def cells(n_e=N_E, n_i=N_I):
    names = np.array(["e23Cux2"] * n_e + ["i23Pvalb"] * n_i)
    n = len(names)
    rng = np.random.default_rng(0)
    attributes = {
        "pop_name": names,
        "ei": np.array([name[0] for name in names]),
        "x": rng.uniform(-100, 100, n),
        "z": rng.uniform(-100, 100, n),
    }
    return NodePopulation("v1", np.arange(n), np.zeros(n, np.int64), attributes, pd.DataFrame())


def network(n_e=N_E, n_i=N_I):
    nodes = cells(n_e, n_i)
    n = len(nodes)
    rng = np.random.default_rng(1)
    source = rng.integers(0, n, N_EDGES).astype(np.int32)
    edges = EdgePopulation(
        name="v1_to_v1", source="v1", target="v1", source_index=source,
        target_index=rng.integers(0, n, N_EDGES).astype(np.int32),
        edge_type_id=np.zeros(N_EDGES, np.int64),
        weight=np.where(source < n_e, 1, -1) * rng.lognormal(3, 1, N_EDGES),
        nsyns=np.ones(N_EDGES, np.int32), delay=np.ones(N_EDGES, np.float32),
        receptor=np.zeros(N_EDGES, np.int16), types=pd.DataFrame(),
    )  # fmt: skip
    empty = GroupedValues({}, np.arange(n), ())
    return Network({"v1": nodes}, {edges.name: edges}, "v1", empty, empty, np.zeros(n))


def units(n=200, seed=2):
    """Of every class in layer 2/3; half of them held out, at twice the rate."""
    rng = np.random.default_rng(seed)
    rows = []
    for kind in ("L2/3 Exc", "L2/3 PV"):
        for split, gain in (("target", 1.0), ("judge", 2.0)):
            rows.append(
                pd.DataFrame(
                    {
                        "cell_type": kind,
                        "split": split,
                        "osi": rng.beta(2, 4, n),
                        "dsi": rng.beta(1.5, 6, n),
                        "preferred_rate_Hz": 8.0 * gain,
                        "mean_rate_Hz": gain * rng.lognormal(1, 0.8, n),
                        "spontaneous_rate_Hz": gain * rng.lognormal(0.5, 0.8, n),
                    }
                )
            )
    return pd.concat(rows, ignore_index=True)


_SOURCES = {}


def sources():
    if not _SOURCES:
        lgn = LGN(lgn_nodes(1, seed=4))
        _SOURCES["lgn"] = FilterSource(lgn)
        _SOURCES["bkg"] = PoissonSource(torch.full((10,), 50.0), lgn.dt)
    return dict(_SOURCES)


def setting(task="in_vivo", of=None, judged=None, with_units=True, inputs=None, **options):
    of = of or network()
    judged = np.ones(of.n_cells, bool) if judged is None else judged
    made = make_task(TASKS[task](**options), inputs or sources(), dt=1.0)
    table = units() if with_units else None
    return Setting(of, made, Path("net"), None, table, judged, 16)


def seen(spikes, condition, of=None, seed=0, weights=None, **more):
    of = of or network()
    known = torch.as_tensor(of.edges["v1_to_v1"].weight)
    return Seen(
        spikes=spikes,
        drive=more.pop("drive", torch.zeros_like(spikes)),
        condition=torch.as_tensor(condition),
        threshold=lambda: torch.full((spikes.shape[2],), 20.0, dtype=spikes.dtype),
        weights=lambda _: known.clone() if weights is None else weights,
        n_trials=more.pop("n_trials", len(spikes)),
        generator=torch.Generator().manual_seed(seed),
        **more,
    )
