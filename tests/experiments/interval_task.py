"""A toy network and a task of intervals, of which it is known that it needs diverse time constants.

Two volleys of input spikes reach all cells. The second comes at a fixed time, the first one of six
intervals before it, 3 to 96 ms, each twice the last. Which interval it was is read from the spike counts of
the cells just after the second volley, by a linear readout. By then currents are over (tau_syn 1 ms): the
interval is only in what the first volley has left of itself on each membrane, about exp(-interval/tau_m).

Why one time constant is not enough: a volley is 20 inputs per cell that each take part with chance 1/2, so
its size has a CV of at least .22. The larger the difference between what two intervals leave, the easier
they are told apart, and of the first volley an interval T leaves exp(-T/tau_m) - exp(-2 T/tau_m) more than
one of 2 T. That is at most .25, at T = .69 tau_m:

    tau_m   3 or 6 ms   12 or 24 ms   48 or 96 ms
    3 ms          .23           .02           .00
    17 ms         .13           .25           .06
    100 ms        .03           .10           .24
"""

import dataclasses

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from v1builder.load.network import EdgePopulation, GroupedValues, Network, NodePopulation
from v1builder.load.psp import unit_psp
from v1builder.model import V1Network
from v1builder.schema.parameters import THRESHOLD_PARAMETERS

INTERVALS = (3, 6, 12, 24, 48, 96)  # ms
SECOND = 100  # ms, time of the second volley
N_STEPS = 110  # of 1 ms
N_INPUTS = 80
POPULATIONS = {"e23Cux2": "e", "i23Pvalb": "i"}
MODELS = 12  # of each population, with two cells each
TAU_M = np.geomspace(3.0, 100.0, MODELS)  # ms

_INPUTS_PER_CELL = 20
_IN_A_VOLLEY = 0.5  # chance of an input to take part in a volley: the noise of the task
_RECURRENT = 200  # edges
_THRESHOLD = 15.0  # mV above E_L
_TAU_SYN = 1.0  # ms: the memory is that of the membranes


def make_network(seed: int, tau_m: npt.ArrayLike = TAU_M) -> Network:
    """48 cells, half excitatory and half inhibitory, of 24 models.

    A volley alone takes a cell .45 to .95 of the way to its threshold. In every population the models have
    the time constants `tau_m`; they also differ in g, t_ref, reset and a little in threshold, none of which
    has to do with the time constant. Weights are made from PSPs, which do not depend on the membranes.

    Args:
        seed: of everything but the time constants.
        tau_m: ms, one for all or [MODELS] those of the models of each population.
    """
    rng = np.random.default_rng([seed, 1])
    n_models = MODELS * len(POPULATIONS)
    model = rng.permutation(np.repeat(np.arange(n_models), 2))
    population = np.array(list(POPULATIONS))[model // MODELS]
    sign = np.array([POPULATIONS[name] for name in population])
    n = len(model)
    cells = NodePopulation(
        "v1",
        np.arange(n),
        model,
        {"model_type": np.full(n, "point_neuron"), "pop_name": population, "ei": sign},
        pd.DataFrame(index=pd.Index(np.arange(n_models), name="node_type_id")),
    )
    inputs = NodePopulation(
        "input",
        np.arange(N_INPUTS),
        np.zeros(N_INPUTS, np.int64),
        {"model_type": np.full(N_INPUTS, "virtual")},
        pd.DataFrame(index=pd.Index([0], name="node_type_id")),
    )
    E_L = rng.uniform(-80, -70, n_models)
    g = rng.lognormal(np.log(10), 0.3, n_models)
    membrane = GroupedValues(
        {
            "C_m": g * np.tile(np.broadcast_to(tau_m, MODELS), len(POPULATIONS)),
            "g": g,
            "E_L": E_L,
            "V_th": E_L + rng.normal(_THRESHOLD, 0.5, n_models),
            "V_reset": E_L + rng.uniform(-3, 3, n_models),
            "t_ref": rng.integers(1, 6, n_models).astype(float),
            "asc_amps": np.zeros((n_models, 1)),
            "asc_decay": np.ones((n_models, 1)),
            "asc_r": np.ones((n_models, 1)),
            **{name: np.zeros(n_models) for name in THRESHOLD_PARAMETERS},
        },
        model,
        tuple(f"model-{m}" for m in range(n_models)),
    )
    receptors = GroupedValues(
        {
            "tau_syn_fast": np.full((1, 1), _TAU_SYN),
            "tau_syn_slow": np.full((1, 1), _TAU_SYN),
            "amp_slow": np.zeros((1, 1)),
            "psc_shape": np.zeros((1, 1)),
        },
        np.zeros(n, np.int64),
        ("all",),
    )
    network = Network(
        {"v1": cells, "input": inputs}, {}, "v1", membrane, receptors, np.zeros(n), {"seed": seed}
    )
    volley = _THRESHOLD * rng.uniform(0.45, 0.95, n) / (_INPUTS_PER_CELL * _IN_A_VOLLEY)
    target = np.repeat(np.arange(n), _INPUTS_PER_CELL)
    source = np.concatenate(
        [rng.choice(N_INPUTS, _INPUTS_PER_CELL, replace=False) for _ in range(n)]
    )
    psp = volley[target] * rng.gamma(10, 1 / 10, len(target))
    pre, post = rng.integers(n, size=(2, _RECURRENT))
    edges = {
        "input_to_v1": _edges(network, "input", source, target, psp),
        "v1_to_v1": _edges(network, "v1", pre, post, np.where(sign[pre] == "e", 0.5, -0.5)),
    }
    return dataclasses.replace(network, edges=edges)


def _edges(network, source, pre, post, psp) -> EdgePopulation:
    """Edges with these PSPs, mV."""
    n = len(pre)
    edges = EdgePopulation(
        f"{source}_to_v1",
        source,
        "v1",
        pre.astype(np.int32),
        post.astype(np.int32),
        np.zeros(n, np.int64),
        np.asarray(psp, np.float64),
        np.ones(n, np.int32),
        np.ones(n, np.float32),
        np.zeros(n, np.int16),
        pd.DataFrame(index=pd.Index([0], name="edge_type_id")),
    )
    unit = unit_psp(dataclasses.replace(network, edges={edges.name: edges})).of(edges)
    return dataclasses.replace(edges, weight=edges.weight / unit)


@dataclasses.dataclass(frozen=True)
class Trials:
    """Input spikes [trial, step, input] and classes [trial], the first half of them for training."""

    spikes: torch.Tensor
    label: np.ndarray

    @property
    def n_test(self) -> int:
        return len(self.label) // 2


def make_trials(seed: int, n_trials: int) -> Trials:
    rng = np.random.default_rng([seed, 2])
    label = rng.permutation(np.arange(n_trials) % len(INTERVALS))
    spikes = np.zeros((n_trials, N_STEPS, N_INPUTS), bool)
    trial = np.arange(n_trials)
    for time in (SECOND - np.array(INTERVALS)[label], np.full(n_trials, SECOND)):
        spikes[trial, time] |= rng.random((n_trials, N_INPUTS)) < _IN_A_VOLLEY
    return Trials(torch.from_numpy(spikes), label)


@torch.no_grad()
def run(network: Network, trials: Trials) -> np.ndarray:
    """[trial, step, cell] spikes."""
    return V1Network(network, trainable=[])({"input": trials.spikes}).spikes.numpy()


def correct(spikes: np.ndarray, trials: Trials) -> np.ndarray:
    """Of a linear readout of the counts after the second volley, fitted to one half and tested on the other.

    The readout is the linear discriminant: class means and the covariance within classes.
    """
    counts = spikes[:, SECOND:].sum(axis=1)
    half = len(counts) - trials.n_test
    train, label = counts[:half], trials.label[:half]
    mean = np.stack([train[label == k].mean(axis=0) for k in range(len(INTERVALS))])
    covariance = np.cov((train - mean[label]).T) + 1e-3 * np.eye(train.shape[1])
    weight = np.linalg.solve(covariance, mean.T)
    answer = (counts[half:] @ weight - 0.5 * (mean.T * weight).sum(axis=0)).argmax(axis=1)
    return answer == trials.label[half:]
