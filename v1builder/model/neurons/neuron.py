"""What a neuron says: its parameters, its state, its step, and what it can do.

A neuron is one file of this package with three classes:

    a `Neuron`            its name, the files it reads (templates), its table of parameters
    a `Coefficients`      what a step is computed with, and the step (`model.rollout`)
    a `State`             what it remembers of its cells (`model.rollout`)

It registers itself by being there: see `v1builder.model.neurons`.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v1builder.load.groups import Groups
from v1builder.load.network import GroupedValues, Network
from v1builder.model.parameters import FREE, POSITIVE, Bounds, group_mean
from v1builder.model.recordables import IAF_CURRENTS, V_M, Recordable, port_names
from v1builder.model.rollout import Coefficients, State
from v1builder.schema.errors import Problem
from v1builder.schema.parameters import PARAMETERS, RECEPTOR_UNITS, Parameter
from v1builder.sonata.point_neuron import chooses_by_sign


def refractory_steps(t_ref: Tensor, dt: float) -> Tensor:
    """Number of steps a spike silences a cell: t_ref in ticks of 1 us, then up to whole steps.

    NEST's `Time(Time::ms(t_ref)).get_steps()`.

    Args:
        t_ref: [n] ms.
        dt: ms.

    Returns:
        [n] int32.
    """
    ticks = torch.floor(t_ref.detach().to(torch.float64) * 1000 + 0.5).to(torch.int64)
    ticks_per_step = round(dt * 1000)
    return ((ticks + ticks_per_step - 1) // ticks_per_step).to(torch.int32)


def relative_rows(table: GroupedValues, parameter: Parameter) -> NDArray[np.float64]:
    """[n_groups, ...] of one parameter as the model uses it: above E_L where it is a voltage."""
    values = table.values[parameter.name]
    return values - table.values["E_L"] if parameter.relative else values


class Neuron(ABC):
    """A kind of neuron (the class), and that of one network with its settings (the instance).

    What the table says rules reading, checks, training, averages and documentation; only what it cannot
    say is a method. A parameter whose name a file leaves out has the value `absent` of the table.

    Attributes:
        name: as `V1Network(neuron=...)` and experiment files have it.
        about: one line.
        templates: SONATA `model_template` of the cells it computes: "nest:X_psc_alpha", "nest:X_psc_exp" or
            "nest:X_psc_delta", whose files `sonata.other_neurons` reads as they are; others need a reader
            there.
        table: its parameters, named as in the files; a `V_th` and an `E_L` among them.
        ports: those of a cell's receptor ports, in the order and with the names of `RECEPTOR_UNITS`.
        tau_syn: ms, of the excitatory and the inhibitory port of a file that does not say.
        V_m: mV at time 0 of a file that does not say.
        without_effect: further names in its files, that change nothing here.
        off: further names in its files that are not modelled, and the value that leaves them off.
        state: class of its state.
        recordables: what can be recorded of its cells beside `model.recordables`, by NEST's names.
        spikes: whether it sends spikes (or a graded signal).
        by_name_only: whether it must be asked for by name, as another neuron computes the same cells.
        dt: ms.
    """

    name: ClassVar[str] = ""
    about: ClassVar[str]
    templates: ClassVar[tuple[str, ...]]
    table: ClassVar[tuple[Parameter, ...]]
    ports: ClassVar[tuple[Parameter, ...]] = tuple(PARAMETERS[name] for name in RECEPTOR_UNITS)
    tau_syn: ClassVar[tuple[float, float]] = (2.0, 2.0)
    V_m: ClassVar[float] = -70.0
    without_effect: ClassVar[tuple[str, ...]] = ()
    off: ClassVar[Mapping[str, float]] = {}
    state: ClassVar[type[State]]
    recordables: ClassVar[Mapping[str, Recordable]] = {}
    spikes: ClassVar[bool] = True
    by_name_only: ClassVar[bool] = False

    def __init__(self, network: Network, dt: float, learned: Collection[str]):
        """Take what a network's cells are computed with.

        A subclass may have settings: keyword arguments of its `__init__`, which `V1Network` takes too.

        Args:
            network: complete and checked.
            dt: ms.
            learned: names of the parameters that are learned.
        """
        del network, learned  # for subclasses
        self.dt = dt

    @abstractmethod
    def coefficients(self, values: Mapping[str, Tensor]) -> Coefficients:
        """Coefficients of one step, differentiable in what can be trained.

        Args:
            values: per cell, [n], [n, currents] or [n, ports], voltages above E_L; `psc_shape` is among
                them unless all currents are alpha.
        """

    @abstractmethod
    def at_rest(self, state: State, values: Mapping[str, Tensor]) -> State:
        """The state of cells at rest.

        Args:
            state: what every neuron has of it.
            values: as of `coefficients`.
        """

    def inspect(self, values: Mapping[str, Tensor]) -> None:
        """Refuse what this dt cannot compute, and say in the log what it can but should not.

        Args:
            values: as of `coefficients`.

        Raises:
            ConfigError: saying what to change.
        """
        del values  # nothing to say

    def threshold(self, values: Mapping[str, Tensor]) -> Tensor:
        """[n] mV, distance of the threshold from E_L: the unit of the surrogate's x."""
        return values["V_th"]

    @classmethod
    def recorded(cls, template: str, n_ports: int) -> tuple[str, ...]:
        """What NEST's multimeter gives of cells of a template, and the current of each of several ports."""
        if not chooses_by_sign(template):
            return (V_M, *cls.recordables, "I", "I_syn", *port_names(n_ports))
        currents = () if template.endswith("_psc_delta") else IAF_CURRENTS
        return tuple(dict.fromkeys((V_M, *cls.recordables, *currents)))

    @classmethod
    def settings(cls) -> tuple[str, ...]:
        """Names of its settings."""
        parameters = inspect.signature(cls.__init__).parameters.values()
        return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)

    @classmethod
    def held(cls) -> dict[str, Parameter]:
        """The parameters that a model holds: not the zero of the voltage, nor the shape of a current."""
        every = (*cls.table, *cls.ports)
        return {p.name: p for p in every if p.name not in ("E_L", "psc_shape")}

    @classmethod
    def range_of(cls, parameter: Parameter) -> Bounds:
        """Where its values must lie."""
        if parameter.range == "fraction":
            return Bounds("interval", 0, 1)
        return FREE if parameter.range == "any" else POSITIVE

    def trained_within(self, parameter: Parameter) -> Bounds:
        """Where training may lead it."""
        return self.range_of(parameter)

    @classmethod
    def means(cls, network: Network, groups: Groups) -> dict[str, NDArray[np.float64]]:
        """Values of the mean cell of every group, [n_groups, ...] by name, voltages above E_L."""
        means = {}
        for parameter in cls.held().values():
            table = network.receptors if parameter.per == "port" else network.membrane
            per_cell = relative_rows(table, parameter)[table.group_of]
            log = parameter.mean == "log"
            means[parameter.name] = group_mean(per_cell, groups.of_cell, len(groups), log)
        return means

    @classmethod
    def complete(cls, network: Network) -> Network:
        """The network with the table's values where its files are silent (absent, or NaN)."""
        receptors, starts = network.receptors, network.initial_voltage
        membrane = cls.completed(network.membrane)
        ports = dict(receptors.values)
        for name in ("tau_syn_fast", "tau_syn_slow"):
            silent = np.isnan(ports[name])
            ports[name] = np.where(
                silent, np.resize(cls.tau_syn, ports[name].shape[1]), ports[name]
            )
        if starts is not None:
            E_L = membrane.per_cell("E_L")
            starts = np.where(np.isnan(starts), cls.V_m - E_L, starts)
        receptors = replace(receptors, values=ports)
        return replace(network, membrane=membrane, receptors=receptors, initial_voltage=starts)

    @classmethod
    def completed(cls, table: GroupedValues) -> GroupedValues:
        """A table of membranes with the values of `absent` where a row says nothing."""
        nothing = np.full(len(table.labels), np.nan)
        values = dict(table.values)
        for parameter in cls.table:
            given = values.get(parameter.name, nothing)
            if parameter.absent is not None:
                given = np.where(np.isnan(given), parameter.absent, given)
            if not np.isnan(given).all():
                values[parameter.name] = given
        return replace(table, values=values)

    @classmethod
    def row_problems(cls, table: GroupedValues) -> list[Problem]:
        """What is wrong between parameters, of which each is in its range."""
        del table
        return []
