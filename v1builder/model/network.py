"""A network as a torch module: parameters and time; what happens in a step is said by its neuron."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final, Literal, cast

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from v1builder.load import LEVELS, Network, load_network
from v1builder.model.backends import check_supported, computed_by, get_backend
from v1builder.model.cells import Cells
from v1builder.model.edges import (
    EDGE_GROUPINGS,
    PLASTICITY_BOUNDS,
    PLASTICITY_GROUPINGS,
    Edges,
    signed_units,
)
from v1builder.model.export import exported
from v1builder.model.given import (
    carried,
    count_problems,
    named_tensors,
    require_current,
    spike_counts,
)
from v1builder.model.memory import choose_segment
from v1builder.model.neurons import Neuron, check_cells, choose, settings_of
from v1builder.model.observation import observe
from v1builder.model.ports import merge_ports
from v1builder.model.rollout import Coefficients, Plasticity, Rollout, State
from v1builder.model.surrogate import Surrogate
from v1builder.schema.errors import ConfigError, Problem, raise_if_any, unknown_name
from v1builder.schema.parameters import RECEPTOR_UNITS

DTYPES = (torch.float32, torch.float64)

_WHY_FIXED: Final = {"t_ref": "it counts whole steps", "E_L": "it only shifts the voltage"}


class V1Network(nn.Module):
    """The simulated cells of a network with all edges into them.

    Its state_dict holds what is learned (and the bias currents); everything else comes from the
    network it was made from.

    Attributes:
        dt: ms.
        neuron: what the cells are (`model.neurons`), with its settings.
        cells: parameters of the cells under their NEST names. Ports of equal kinetics are one port
            (`model.ports`), unless kinetics are learned or regrouped, or `keep_ports`.
        edges: weights by edge population.
        bias_current: [n] pA, constant current into each cell.
        n_cells: number of simulated cells.
        n_ports: number of ports of a cell, r in the shapes of a state.
        n_sites: number of sites of short-term plasticity.
        population: name of the simulated population.
        input_sizes: number of units of each input, by name.
        start_voltage: [n] mV above E_L at time 0 as the files have it, or None for cells at rest.
    """

    bias_current: Tensor
    start_voltage: Tensor | None

    def __init__(
        self,
        network: Network,
        *,
        dt: float = 1.0,
        dtype: torch.dtype = torch.float32,
        group_by: str | Mapping[str, str] = "cell_model",
        trainable: Sequence[str] | None = None,
        surrogate: Surrogate | None = None,
        backend: str = "auto",
        detach_reset: bool = False,
        checkpoint_steps: int | Literal["auto"] | None = None,
        memory_budget: float | None = None,
        neuron: str = "auto",
        keep_ports: bool = False,
        signed: Mapping[str, ArrayLike] | None = None,
        **settings: float | None,
    ):
        """Make the module.

        Args:
            network: the arrays.
            dt: ms; a multiple of 0.001.
            dtype: float32 or float64.
            group_by: which cells share a value (`load.groups.LEVELS`), for all cell parameters or
                by parameter name; for "<edges>.weight", what shares a factor
                (`edges.EDGE_GROUPINGS`), and for "<edges>.delay" a delay; and for "<edges>.U", ".tau_rec" and
                ".tau_fac", what shares a value (`edges.PLASTICITY_GROUPINGS`). Unless said otherwise
                "cell_model", "edge", "edge_type" and "synapse_model".
            trainable: names of what is learned: cell parameters, "<edges>.weight", "<edges>.delay" (see
                `model.delays`), and where edges have short-term plasticity "<edges>.U", ".tau_rec" and
                ".tau_fac". None trains the weights of all edges, which is what the published model trains.
            surrogate: derivative of a spike; triangular unless given. GLIFR has no use for it.
            backend: what computes the rollout.
            detach_reset: cut the gradient through resets.
            checkpoint_steps: recompute the backward pass in segments of so many steps, so that
                memory grows with a segment and not with the length. None keeps everything; "auto"
                takes the longest segments that fit into memory, and refuses a rollout for which
                there is not enough (`model.memory`). Segments change rounding only.
            memory_budget: GiB that "auto" may use, for the whole process; what is free when None.
            neuron: one of `model.neurons`; "auto" for the one that the cells' files are of. "glifr" is the
                smooth variant of "glif".
            keep_ports: keep ports of equal kinetics apart, so that the current of each can be observed.
            signed: edges whose weights may change sign as they are learned (else they keep it), and in which
                unit they are learned: pA, a number or one per edge, by name of the edges.
            settings: of the neuron, such as sigma_V (mV) and tau (ms) of "glifr"; see its file.

        Raises:
            ConfigError: an argument is not valid.
            NetworkError: parameters of the cells are not valid.
        """
        super().__init__()
        kind = choose(neuron, network)
        settings = settings_of(kind, settings)
        held = kind.held()
        names = [*held, *(f"{name}.weight" for name in network.edges)]
        names += [f"{name}.delay" for name in network.edges]
        names += [
            f"{name}.{parameter}"
            for name, edges in network.edges.items()
            if edges.plasticity is not None
            for parameter in PLASTICITY_BOUNDS
        ]
        grouping = _groupings(group_by, names, tuple(held))
        learned = _trainable(trainable, kind, names[len(held) :])
        units = signed_units(signed or {}, network.edges, learned, grouping)
        _check_numbers(dt, dtype, checkpoint_steps, memory_budget)
        network = kind.complete(network)
        check_cells(kind, network)
        self.neuron = kind(network, dt, learned, **settings)
        self.dt = dt
        self.surrogate = surrogate or Surrogate()
        self.detach_reset = detach_reset
        self.checkpoint_steps = checkpoint_steps
        self.memory_budget = memory_budget
        self._segments: dict[tuple[int, int, bool, bool], int] = {}
        self.n_cells, self.population = network.n_cells, network.simulated
        self._backend, self._rollout = backend, get_backend(backend)
        if not keep_ports and not any(
            name in learned or grouping.get(name, "cell_model") != "cell_model"
            for name in RECEPTOR_UNITS
        ):
            network = merge_ports(network)
        self.n_ports = network.receptors.values["tau_syn_fast"].shape[1]
        self.cells = Cells(network, self.neuron, grouping, learned, dtype)
        self.edges = nn.ModuleDict()
        self.input_sizes: dict[str, int] = {}
        n_sites = 0
        for name, edges in network.edges.items():
            source = None if edges.source == network.simulated else edges.source
            n_source = len(network.nodes[edges.source])
            if source is not None:
                self.input_sizes[source] = n_source
            module = Edges(
                edges,
                source,
                n_source,
                dt,
                trainable=set(_of_edges(name, dict.fromkeys(learned, ""))),
                grouping=_of_edges(name, grouping),
                first_site=n_sites,
                dtype=dtype,
                unit=units.get(name),
            )
            self.edges[name] = module
            n_sites += module.n_sites
        self.n_sites = n_sites
        self.register_buffer("bias_current", torch.tensor(network.bias_current, dtype=dtype))
        start = network.initial_voltage
        start = None if start is None else torch.tensor(start, dtype=dtype)
        self.register_buffer("start_voltage", start, persistent=False)
        self.neuron.inspect(self.cells())
        if backend != "auto":
            check_supported(self.propagators(), backend, n_sites > 0)

    @contextmanager
    def computed_with(self, backend: str) -> Iterator[None]:
        """Let another backend compute inside the block: "reference" alone has gradients of gradients.

        Raises:
            ConfigError: the backend is unknown or cannot run here.
        """
        before = self._backend, self._rollout
        self._backend, self._rollout = backend, get_backend(backend)
        try:
            yield
        finally:
            self._backend, self._rollout = before

    def _edges(self) -> Iterator[Edges]:
        return cast(Iterator[Edges], iter(self.edges.values()))

    def threshold(self) -> Tensor:
        """[n] mV, distance of the threshold from E_L: the unit of the surrogate's x."""
        return self.neuron.threshold(self.cells())

    def propagators(self) -> Coefficients:
        """What the cells' steps are computed with, differentiable in what is learned."""
        return self.neuron.coefficients(self.cells())

    def computed_by(self) -> dict[str, str]:
        """What computes it where it is: backend, device, versions; and why nothing faster does."""
        return computed_by(self._backend, self.propagators(), self.n_sites > 0)

    def initial_state(self, batch: int = 1) -> State:
        """Cells at rest, nothing on its way."""
        n, like = self.n_cells, self.bias_current
        longest = max((edges.longest_delay for edges in self._edges()), default=1)
        state = State(
            U=like.new_zeros(batch, n),
            current=like.expand(batch, n).clone(),
            pending=like.new_zeros(longest, batch, n, self.n_ports),
            u=like.new_zeros(batch, self.n_sites),
            x=like.new_ones(batch, self.n_sites),
        )
        return self.neuron.at_rest(state, self.cells())

    def starting_state(self, batch: int = 1) -> State:
        """The state at time 0 of a simulation: as at rest, at the voltages that the files give."""
        state = self.initial_state(batch)
        if self.start_voltage is None:
            return state
        return replace(state, U=state.U + self.start_voltage)

    def forward(
        self,
        inputs: Mapping[str, Tensor] | None = None,
        n_steps: int | None = None,
        current: Tensor | None = None,
        state: State | None = None,
        record_voltage: bool = False,
    ) -> Rollout:
        """Run the network where its parameters lie; inputs and currents may lie anywhere.

        Args:
            inputs: spikes [batch, time, source] of every input, bool or integers (or floating point,
                for a gradient with respect to them). Under the name of the simulated population: pA into
                each cell [batch, time, n], which is added to `current`.
            n_steps: number of steps; needed only when there are no inputs.
            current: [batch or 1, time or 1, n] pA into each cell, on top of the bias current.
            state: where to start; at rest unless given.
            record_voltage: keep the voltages.

        Raises:
            ConfigError: an input is missing, unknown, no tensor, negative, or has a wrong shape.
        """
        inputs = named_tensors(inputs, "V1Network.forward")
        batch, n_steps = self.check_inputs(inputs, n_steps, current, state)
        injected = inputs.get(self.population)
        if injected is not None:
            injected = injected.to(self.bias_current)
            current = injected if current is None else current.to(injected) + injected
        spikes = {name: inputs[name] for name in self.input_sizes}
        inputs = spike_counts(spikes, self.bias_current)
        if current is not None:
            current = current.to(self.bias_current) + self.bias_current
        elif self.bias_current.any():
            current = self.bias_current.expand(1, 1, -1)
        state = carried(state) if state is not None else self.initial_state(batch)
        segment = self._segment(inputs, batch, n_steps, record_voltage)
        return self._run(inputs, n_steps, current, state, record_voltage, segment)

    def settled(self, inputs: Mapping[str, Tensor]) -> State:
        """The state that `inputs` lead to from rest: where a trial after a warm-up starts.

        All of the state is carried: voltages, currents, after-spike currents, thresholds, short-term
        plasticity, and spikes that have not arrived yet. Nothing of the way there is kept, so no gradient
        reaches it and its spikes need no more memory than a few steps of them.

        Args:
            inputs: as of `forward`, all of the same length.

        Raises:
            ConfigError: as `forward`.
        """
        return observe(self, inputs)

    def run(
        self, inputs: Mapping[str, Tensor], n_steps: int, state: State, record_voltage: bool
    ) -> Rollout:
        """A rollout of checked inputs that keeps everything, whatever `checkpoint_steps` says."""
        return self._run(inputs, n_steps, None, state, record_voltage, n_steps)

    def n_edges(self) -> int:
        """Number of edges of all populations, every copy of one whose delay is learned counted."""
        return sum(len(edges.projection.receptor) for edges in self._edges())

    def _segment(
        self, inputs: Mapping[str, Tensor], batch: int, n_steps: int, record_voltage: bool
    ) -> int:
        """Steps of a segment. Chosen once for each size, so that a training does not change it."""
        if not isinstance(self.checkpoint_steps, str):
            return self.checkpoint_steps or n_steps
        key = (batch, n_steps, record_voltage, torch.is_grad_enabled())
        if key not in self._segments:
            chosen = choose_segment(
                self, inputs, batch, n_steps, record_voltage, self.memory_budget
            )
            self._segments[key] = chosen
        return self._segments[key]

    def _run(
        self,
        inputs: Mapping[str, Tensor],
        n_steps: int,
        current: Tensor | None,
        state: State,
        record_voltage: bool,
        segment: int,
    ) -> Rollout:
        coefficients = self.propagators()
        projections = [edges.projection for edges in self._edges()]
        weights = [edges() for edges in self._edges()]
        plasticity = self._plasticity()

        def run(start: int, stop: int, state: State) -> Rollout:
            part = slice(start, stop)
            return self._rollout(
                coefficients,
                projections,
                weights,
                {name: spikes[:, part] for name, spikes in inputs.items()},
                current if current is None or current.shape[1] == 1 else current[:, part],
                state,
                stop - start,
                plasticity=plasticity,
                surrogate=self.surrogate,
                detach_reset=self.detach_reset,
                record_voltage=record_voltage,
            )

        if segment >= n_steps or not torch.is_grad_enabled():
            return run(0, n_steps, state)
        parts: list[Rollout] = []
        for start in range(0, n_steps, segment):
            stop = min(start + segment, n_steps)
            # use_reentrant=False follows the parameters that `run` closes over.
            done: Any = checkpoint(
                run, start, stop, state, use_reentrant=False, preserve_rng_state=False
            )
            parts.append(done)
            state = parts[-1].state
        return _joined(parts)

    def _plasticity(self) -> Plasticity | None:
        """Coefficients of the sites of all edges, or None when there are none."""
        parts = [edges.plasticity(self.dt) for edges in self._edges() if edges.n_sites]
        if not parts:
            return None
        return Plasticity(
            **{
                field.name: torch.cat([getattr(part, field.name) for part in parts])
                for field in fields(Plasticity)
            }
        )

    def export(self, network: Network) -> Network:
        """`network`, which this module was made from, with what was learned since; see `export`."""
        return exported(self, network)

    def check_inputs(
        self,
        inputs: Mapping[str, Tensor],
        n_steps: int | None,
        current: Tensor | None,
        state: State | None,
    ) -> tuple[int, int]:
        """Batch size and number of steps that all arguments agree on."""
        where = "V1Network.forward"
        inputs = named_tensors(inputs, where)
        require_current(current, where)
        sizes = self.input_sizes | {self.population: self.n_cells}
        spikes = {name: counts for name, counts in inputs.items() if name != self.population}
        problems = count_problems(spikes, self.bias_current.dtype, where) + [
            unknown_name("input", name, self.input_sizes, where)
            for name in spikes
            if name not in self.input_sizes
        ]
        problems += [
            Problem(f"input '{name}' is missing", where, ", ".join(inputs) or "no inputs", fix)
            for name, size in self.input_sizes.items()
            if name not in inputs
            for fix in [f"give spikes of shape [batch, time, {size}]; zeros for silence"]
        ]
        shapes = {
            f"input '{name}'": (given, (None, None, sizes.get(name, given.shape[-1])))
            for name, given in inputs.items()
            if given.ndim
        }
        if current is not None:
            shapes["current"] = (current, (None, None, self.n_cells))
        problems += [
            Problem(
                f"{name} has a wrong shape", where, str(list(tensor.shape)), f"make it {wanted}"
            )
            for name, (tensor, (_, _, size)) in shapes.items()
            if tensor.ndim != 3 or tensor.shape[2] != size
            for wanted in [f"[batch, time, {size}]"]
        ]
        raise_if_any(problems, ConfigError)
        if state is not None and (
            not isinstance(state, self.neuron.state)
            or state.pending.shape[2:] != (self.n_cells, self.n_ports)
        ):
            raise ConfigError.of(
                "the state is not one of this model",
                f"{where}, state",
                "{}, {} cells, {} ports".format(type(state).__name__, *state.pending.shape[2:]),
                f"give a {self.neuron.state.__name__} of {self.n_cells} cells and {self.n_ports} ports (as "
                "`initial_state`; ports of equal kinetics are one port unless kinetics are learned or "
                "regrouped)",
            )
        batches = {name: spikes.shape[0] for name, spikes in inputs.items()}
        lengths = {name: spikes.shape[1] for name, spikes in inputs.items()}
        if n_steps is not None:
            lengths["n_steps"] = n_steps
        if state is not None:
            batches["state"] = state.U.shape[0]
        if current is not None and current.shape[0] > 1:
            batches["current"] = current.shape[0]
        if current is not None and (current.shape[1] > 1 or not lengths):
            lengths["current"] = current.shape[1]
        for what, sizes in (("batch", batches), ("number of steps", lengths)):
            if len(set(sizes.values())) > 1:
                raise ConfigError.of(f"the arguments do not agree on the {what}", where, sizes)
        if not lengths:
            raise ConfigError.of("the number of steps is not known", where, fix="give n_steps")
        n_steps = next(iter(lengths.values()))
        if n_steps < 1:
            raise ConfigError.of("there must be at least one step", where, n_steps)
        return next(iter(batches.values()), 1), n_steps


def load(folder: Path | str, **options: Any) -> V1Network:
    """The module of a network on disk.

    Args:
        folder: network folder, or a SONATA circuit configuration.
        options: of `V1Network`.

    Raises:
        NetworkError: the network is not valid.
        ConfigError: an option is not valid.
    """
    return V1Network(load_network(folder), **options)


def _joined(parts: Sequence[Rollout]) -> Rollout:
    """Consecutive rollouts as one."""
    recorded = parts[0].voltage is not None

    def along_time(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts], dim=1)

    return Rollout(
        spikes=along_time("spikes"),
        voltage=along_time("voltage") if recorded else None,
        drive=along_time("drive") if recorded else None,
        state=parts[-1].state,
    )


def _of_edges(name: str, values: Mapping[str, str]) -> dict[str, str]:
    """What is said of parameters of these edges, by parameter."""
    found = {key.rpartition("."): value for key, value in values.items()}
    return {parameter: value for (edges, _, parameter), value in found.items() if edges == name}


def _groupings(
    group_by: str | Mapping[str, str], names: Sequence[str], of_cells: Sequence[str]
) -> dict[str, str]:
    """Grouping by parameter name, checked."""
    if isinstance(group_by, str):
        group_by = dict.fromkeys(of_cells, group_by)
    problems = []
    for name, grouping in group_by.items():
        _, _, of_edges = name.rpartition(".")
        allowed = EDGE_GROUPINGS if of_edges in ("weight", "delay") else LEVELS
        allowed = PLASTICITY_GROUPINGS if of_edges in PLASTICITY_BOUNDS else allowed
        if name not in names:
            problems.append(unknown_name("parameter", name, names, "V1Network, group_by"))
        elif grouping not in allowed:
            where = f"V1Network, group_by of {name}"
            problems.append(unknown_name("grouping", grouping, allowed, where))
    raise_if_any(problems, ConfigError)
    return dict(group_by)


def _trainable(
    trainable: Sequence[str] | None, kind: type[Neuron], of_edges: Sequence[str]
) -> set[str]:
    """Names of what is learned, checked."""
    weights = [name for name in of_edges if name.endswith(".weight")]
    if trainable is None:
        return set(weights)
    every = {parameter.name: parameter for parameter in (*kind.table, *kind.ports)}
    fixed = {name: parameter for name, parameter in every.items() if not parameter.trainable}
    allowed = [*(name for name in every if name not in fixed), *of_edges]
    problems = []
    for name in trainable:
        if name in fixed:
            reason = _WHY_FIXED.get(name, fixed[name].about)
            problems.append(
                Problem(f"'{name}' cannot be trained: {reason}", "V1Network, trainable", name)
            )
        elif name not in allowed:
            problems.append(unknown_name("parameter", name, allowed, "V1Network, trainable"))
    raise_if_any(problems, ConfigError)
    return set(trainable)


def _check_numbers(
    dt: float,
    dtype: torch.dtype,
    checkpoint_steps: int | str | None,
    memory_budget: float | None,
) -> None:
    if not dt > 0 or abs(dt * 1000 - round(dt * 1000)) > 1e-9:
        raise ConfigError.of("dt must be a positive multiple of 0.001 ms", "V1Network", dt)
    if dtype not in DTYPES:
        raise ConfigError.of("dtype must be torch.float32 or torch.float64", "V1Network", dtype)
    automatic = checkpoint_steps == "auto"
    if isinstance(checkpoint_steps, str) and not automatic:
        where = "V1Network, checkpoint_steps"
        raise ConfigError.of("unknown word", where, checkpoint_steps, "give a number or 'auto'")
    if isinstance(checkpoint_steps, int) and checkpoint_steps < 1:
        raise ConfigError.of("checkpoint_steps must be positive", "V1Network", checkpoint_steps)
    if memory_budget is not None and not (automatic and memory_budget > 0):
        raise ConfigError.of(
            "memory_budget must be positive, and needs checkpoint_steps 'auto'",
            "V1Network, memory_budget",
            f"{memory_budget} with checkpoint_steps {checkpoint_steps}",
        )
