"""Recurrent layers of GLIF and GLIFR cells, with the habits of torch.nn.

    layer = GLIF(10, 128, cells="allen:VISp", seed=1)
    spikes, state = layer(input)                     # input [batch, time, 10], spikes [batch, time, 128]
    spikes, state = layer(more, state)               # goes on where the other call stopped

The unit of every weight is the rheobase of its target as the layer was made, g (V_th - E_L) in pA: a constant
current of 1 just brings a resting cell to its threshold, and a weight of 1 is a synaptic current of that
peak. So the same weights suit cells of any size, and have the size that torch's optimisers expect.

    input="current"   current = rheobase (W x + bias), with x any numbers
    input="spikes"    x are spikes (0, 1, ... or other numbers, then taken as that many) of virtual units,
                      which reach the cells through synapses; the bias is a constant current

In both a layer is a `V1Network` of its own (`layer.network`) and runs on its backends: fused kernels on
the CPU, triton on CUDA devices, or the readable reference. Timing is NEST's: a current acts from the step
after it was set, a spike arrives `delay` after it was sent and moves the voltage one step later. So the
output of a step knows the input up to the step before.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from v1builder.layers.arrays import (
    FEED,
    RECURRENT,
    UNITS,
    Delay,
    delays,
    edge_population,
    network_of,
    pairs,
)
from v1builder.layers.cells import Cells, DrawnCells, draw_cells
from v1builder.layers.checks import InputKind, check_arguments, check_forward
from v1builder.layers.plasticity import Plasticity, allen_plasticity, synapse_models
from v1builder.load.coordinates import rheobase
from v1builder.load.network import EdgePopulation, GroupedValues, Network
from v1builder.model import V1Network
from v1builder.model.edges import Edges
from v1builder.model.rollout import State
from v1builder.model.surrogate import Surrogate
from v1builder.schema.errors import ConfigError, unknown_name

#: Part of the cells that are inhibitory under Dale's law, where the cells do not say: that of mouse cortex
#: (Billeh et al. 2020, Neuron 106:388: 85 % of V1's cells are excitatory).
INHIBITORY_PART: Final = 0.15


class GLIF(nn.Module):
    """A layer of GLIF cells of the Allen Cell Types Database, recurrent or not.

    Attributes:
        weight_in: [hidden, in] weights of an input of currents; None where the input is spikes, whose
            weights are those of `network.edges["input_to_hidden"]`.
        bias: [hidden] constant current, or None.
        unit: [hidden] pA, the rheobase of every cell as the layer was made.
        network: the cells and their synapses; `network.edges["hidden_to_hidden"].weight` are the recurrent
            weights, by target and then by source.
        arrays: what the network was made from.
    """

    neuron: ClassVar[str] = "glif"
    unit: Tensor
    weight_in: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        level: int = 3,
        cells: "Cells | GLIF" = "allen:VISp",
        recurrent: Literal["dense"] | float | None = "dense",
        input: InputKind = "current",
        delay: Delay = 1.0,
        input_delay: Delay | None = None,
        tau_syn: ArrayLike = 5.0,
        plasticity: Plasticity | None = None,
        dt: float = 1.0,
        bias: float | bool | None = 1.0,
        dale: bool = False,
        trainable: Sequence[str] = (),
        group_by: str | Mapping[str, str] = "cell_model",
        batch_first: bool = True,
        return_state: bool = True,
        surrogate: Surrogate | None = None,
        detach_reset: bool = False,
        backend: str = "auto",
        seed: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
        **settings: Any,
    ):
        """Make the layer.

        Args:
            in_features: numbers per step of the input.
            hidden: number of cells.
            level: GLIF level of the cells, 1 to 5.
            cells: which cells, see `layers.cells`; or another layer, whose cells as they are now are taken
                (as many are, in their order; else drawn).
            recurrent: "dense" for all pairs of cells (and of a cell with itself), a density in (0, 1] for
                that part of all cells as sources of each cell, None for no recurrence.
            input: "current" or "spikes".
            delay: ms, of recurrent connections: a number, (shortest, longest) for a uniform draw, or an
                array [hidden] or [target, source].
            input_delay: ms, of connections from an input of spikes; one step unless given.
            tau_syn: ms, time to the peak of synaptic currents, a number or one per cell.
            plasticity: short-term plasticity of recurrent connections (Tsodyks-Markram): U, tau_rec (ms) and
                tau_fac (ms), numbers, one per source cell or [target, source]; or "allen" for that of V1's
                classes, of cells whose population is known; static unless given. A weight is the effect of a
                spike after a long rest. "hidden_to_hidden.U" and so on can be among those trained.
            dt: ms.
            bias: where the trained bias starts (True is 1); None or False for none. At 1 cells rest at their
                threshold, where they spike and learn as soon as there is an input.
            dale: recurrent weights keep the sign of their source and are trained as logarithms. Without, they
                may change sign, and cells are neither excitatory nor inhibitory, whatever they were in V1.
            trainable: names of cell parameters that are learned too ("C_m", "g", "V_th", "asc_amps",
                "tau_syn_fast" ...; docs/neurons.md).
            group_by: which cells share their values, as of `V1Network`: "cell" for heterogeneity that is
                learned from a homogeneous start, "global" for one cell.
            batch_first: the input is [batch, time, feature], else [time, batch, feature].
            return_state: forward returns (output, state), else the output alone, as torch.nn.Sequential
                wants it.
            surrogate: derivative of a spike, as of `V1Network`.
            detach_reset: cut the gradient through resets.
            backend: as of `V1Network`.
            seed: of the draw of cells, connections, delays and weights; from torch's generator unless given.
            device: as usual.
            dtype: float32 or float64.
            settings: of the neuron, sigma_V (mV) and tau (ms) of GLIFR; and what else `V1Network` takes,
                such as checkpoint_steps.

        Raises:
            ConfigError: an argument is not valid.
            NetworkError: parameters of the cells are not valid.
        """
        super().__init__()
        check_arguments(
            in_features, hidden, input=input, recurrent=recurrent, plasticity=plasticity,
            input_delay=input_delay, tau_syn=tau_syn, dt=dt, bias=bias, trainable=trainable,
            surrogate=surrogate, seed=seed,
        )  # fmt: skip
        self.in_features, self.hidden, self.input, self.dt = in_features, hidden, input, dt
        self.batch_first, self.return_state = batch_first, return_state
        seed = int(torch.randint(2**31, ()).item()) if seed is None else seed
        rng = np.random.default_rng(seed)
        if isinstance(cells, GLIF):
            cells = cells.to_network().membrane
        drawn = draw_cells(cells, hidden, level, rng)
        drawn = _with_signs(drawn, rng) if dale else replace(drawn, ei=np.full(hidden, "", object))
        unit = rheobase(drawn.membrane)[drawn.membrane.group_of]
        edges = []
        if recurrent is not None:
            density = 1.0 if recurrent == "dense" else recurrent
            if isinstance(density, str):
                raise ConfigError(
                    [unknown_name("recurrence", density, ["dense"], "layer, recurrent")]
                )
            ends = pairs(hidden, hidden, density, rng)
            ms = delays("delay", delay, ends, (hidden, hidden), dt, rng)
            weight = _uniform(ends, hidden, rng)
            if dale:
                weight = _signed(weight, drawn.ei[ends[1]] == "i")
            stp = None if plasticity is None else _synapses(plasticity, drawn, ends)
            edges.append(edge_population(RECURRENT, ends, unit[ends[0]] * weight, ms, stp))
        if input == "spikes":
            ends = pairs(hidden, in_features, 1.0, rng)
            given = dt if input_delay is None else input_delay
            ms = delays("input_delay", given, ends, (hidden, in_features), dt, rng)
            weight = _uniform(ends, hidden, rng)
            edges.append(edge_population(FEED, ends, unit[ends[0]] * weight, ms))
        n_units = in_features if input == "spikes" else 0
        self.arrays: Network = network_of(drawn, tau_syn, n_units, edges)
        self.network = V1Network(
            self.arrays,
            dt=dt,
            dtype=dtype,
            group_by=group_by,
            trainable=[*trainable, *(f"{one.name}.weight" for one in edges)],
            surrogate=surrogate,
            backend=backend,
            detach_reset=detach_reset,
            neuron=self.neuron,
            signed={
                one.name: unit[one.target_index]
                for one in edges
                if not (dale and one.name == RECURRENT)
            },
            **settings,
        )
        self.register_buffer("unit", torch.tensor(unit, dtype=dtype), persistent=False)
        weight_in = rng.uniform(-1, 1, (hidden, in_features)) / in_features**0.5
        given = None if input == "spikes" else nn.Parameter(torch.tensor(weight_in, dtype=dtype))
        self.register_parameter("weight_in", given)
        start = None
        if bias is not None and bias is not False:
            start = nn.Parameter(torch.full((hidden,), float(bias), dtype=dtype))
        self.register_parameter("bias", start)
        self.to(device)

    def forward(self, input: Tensor, state: State | None = None) -> tuple[Tensor, State] | Tensor:
        """Run the cells over the steps of an input.

        Args:
            input: [batch, time, in] or [time, batch, in], see `batch_first`.
            state: where to start: that of another call, of the same batch size; at rest unless given.

        Returns:
            Spikes, 0 or 1 (the numbers expected of GLIFR), [batch, time, hidden] or [time, batch, hidden];
            and the state after the last step, unless `return_state` is off.

        Raises:
            ConfigError: the input or the state has a wrong shape.
        """
        axes = "batch, time" if self.batch_first else "time, batch"
        check_forward(type(self).__name__, input, self.in_features, axes, state)
        x = input if self.batch_first else input.transpose(0, 1)
        if x.is_floating_point() or self.input == "current":
            x = x.to(self.unit.dtype)
        inputs, current = {}, self._constant()
        if self.weight_in is None:
            inputs[UNITS] = x
        else:
            current = self.unit * functional.linear(x, self.weight_in, self.bias)
        if state is None:
            state = self.initial_state(x.shape[0])
        rollout = self.network(inputs, x.shape[1], current, state)
        spikes = rollout.spikes if self.batch_first else rollout.spikes.transpose(0, 1)
        return (spikes, rollout.state) if self.return_state else spikes

    def _constant(self) -> Tensor | None:
        """[1, 1, hidden] pA of the bias."""
        return None if self.bias is None else (self.unit * self.bias)[None, None]

    def initial_state(self, batch: int = 1) -> State:
        """Cells at rest, into which the bias current has just been switched on."""
        state = self.network.initial_state(batch)
        constant = self._constant()
        return state if constant is None else replace(state, current=constant[0].repeat(batch, 1))

    def recurrent_weight(self) -> Tensor:
        """[hidden, hidden] recurrent weights by target and source, in units of `unit`; 0 where none."""
        matrix = self.unit.new_zeros(self.hidden, self.hidden)
        if RECURRENT not in self.network.edges:
            return matrix
        edges = self.network.edges[RECURRENT]
        assert isinstance(edges, Edges)
        target, source = edges.target_index.long(), edges.source_index.long()
        return matrix.index_put((target, source), edges.weights() / self.unit[target])

    def to_network(self) -> Network:
        """The layer as it is now, with what it has learned; `load.save_network` writes it as SONATA.

        The bias is the bias current of the cells. An input of currents is not part of the network: SONATA
        has no such edge.
        """
        network = self.network.export(self.arrays)
        if self.bias is None:
            return network
        bias = (self.unit * self.bias).detach().double().cpu().numpy()
        return replace(network, bias_current=bias)

    def get_extra_state(self) -> Tensor:
        """Fingerprint of what a state_dict does not hold: cells, connections, delays."""
        found = hashlib.sha256()
        for array in _fixed(self.arrays, signed=not self._dale()):
            found.update(np.ascontiguousarray(array).tobytes())
        return torch.tensor(list(found.digest()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Refuse what another layer has learned.

        Raises:
            ConfigError: it had other cells or connections.
        """
        if not torch.equal(state.cpu(), self.get_extra_state()):
            raise ConfigError.of(
                "the state_dict is that of a layer with other cells or connections",
                f"{type(self).__name__}.load_state_dict",
                "another draw",
                "make the layer with the same arguments and the same seed",
            )

    def extra_repr(self) -> str:
        """Sizes and kind of the layer."""
        return f"{self.in_features}, {self.hidden}, input={self.input!r}, dt={self.dt:g}"

    def _dale(self) -> bool:
        return RECURRENT in self.network.edges and self.network.edges[RECURRENT].weight is None


class GLIFR(GLIF):
    """A layer of smooth GLIF cells of level 1 or 3, with exact gradients (`model.neurons.glifr`).

    Its output is the number of spikes expected in a step, between 0 and 1. Settings are sigma_V (mV) and tau
    (ms). The reference backend computes it.
    """

    neuron = "glifr"


def _uniform(
    ends: tuple[NDArray[np.int64], NDArray[np.int64]], hidden: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """[e] weights U(-1, 1)/sqrt(in-degree): torch.nn's rule for recurrent and linear layers."""
    degree = np.bincount(ends[0], minlength=hidden)[ends[0]]
    return rng.uniform(-1, 1, len(degree)) / np.sqrt(degree)


def _synapses(
    given: Plasticity, drawn: DrawnCells, ends: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> GroupedValues:
    """The synapse model of every edge."""
    if isinstance(given, str):
        if given != "allen":
            raise ConfigError([unknown_name("plasticity", given, ["allen"], "layer, plasticity")])
        given = allen_plasticity(drawn.population)
    if not isinstance(given, Mapping):
        raise ConfigError.of(
            "short-term plasticity is neither a name nor parameters",
            "layer, plasticity",
            str(given),
            "give 'allen', or for example {'U': 0.5, 'tau_rec': 200.0, 'tau_fac': 20.0}",
        )
    return synapse_models(given, ends, len(drawn.population))


def _with_signs(drawn: DrawnCells, rng: np.random.Generator) -> DrawnCells:
    """Cells that say whether they are excitatory; `INHIBITORY_PART` of them are not, where they did not."""
    n = len(drawn.ei)
    ei = np.full(n, "e", object)
    ei[rng.permutation(n)[: round(INHIBITORY_PART * n)]] = "i"
    ei = np.where(drawn.ei == "", ei, drawn.ei)
    wrong = sorted(set(ei) - {"e", "i"})
    if wrong:
        raise ConfigError.of(
            "cells under Dale's law must be e or i", "layer, cells, column ei", ", ".join(wrong)
        )
    return replace(drawn, ei=ei)


def _signed(weight: NDArray[np.float64], inhibitory: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights with the sign of their source; inhibition as strong in sum as excitation."""
    size = np.abs(weight)
    total = size[inhibitory].sum()
    ratio = size[~inhibitory].sum() / total if total else 1.0
    return np.where(inhibitory, -ratio * size, size)


def _fixed(network: Network, signed: bool) -> list[NDArray]:
    """What is not learned of a network, in a fixed order."""
    tables: list[GroupedValues] = [network.membrane, network.receptors]
    found: list[NDArray] = [table.per_cell(name) for table in tables for name in table.values]
    edges: list[EdgePopulation] = list(network.edges.values())
    for one in edges:
        found += [one.source_index, one.target_index, one.delay]
        if one.plasticity is not None:
            found += [one.plasticity.group_of, *one.plasticity.values.values()]
        if not signed:
            found.append(one.weight)
    return found
