"""The parameters of the simulated cells as a module: one `GroupedParameter` per NEST parameter.

Which parameters there are is said by the table of the cells' neuron. Voltages are held relative to E_L, as
the model uses them. E_L is only the zero of the voltage and t_ref counts whole steps, so neither has a
gradient and neither can be trained.
"""

from collections.abc import Collection, Mapping
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from v1builder.load.groups import LEVELS, Groups, group_cells
from v1builder.load.network import GroupedValues, Network
from v1builder.model.neurons import Neuron
from v1builder.model.neurons.neuron import relative_rows
from v1builder.model.parameters import GroupedParameter
from v1builder.schema.names import PSC_ALPHA
from v1builder.schema.parameters import Parameter


def table_of(network: Network, parameter: Parameter) -> GroupedValues:
    """The table of `network` that holds a parameter."""
    return network.receptors if parameter.per == "port" else network.membrane


class Cells(nn.Module):
    """Every parameter of the simulated cells, under its NEST name.

    Each is a `GroupedParameter` of that name (`cells.C_m`, `cells.tau_syn_fast` ...); calling one gives its
    value per cell.

    Attributes:
        held: the parameters by name, from the table of the neuron.
        E_L: [n] mV, the zero of the voltages.
        psc_shape: [n, r] code of the shape of each port's current, or None when all are alpha.
    """

    E_L: Tensor
    psc_shape: Tensor | None

    def __init__(
        self,
        network: Network,
        neuron: Neuron,
        group_by: Mapping[str, str],
        trainable: Collection[str],
        dtype: torch.dtype,
    ):
        """Take the parameters of `network`'s cells.

        Args:
            network: already checked with `neurons.check_cells`.
            neuron: of the cells.
            group_by: grouping by parameter name; "cell_model" where it says nothing.
            trainable: names of the parameters that are learned.
            dtype: of the values.
        """
        super().__init__()
        self.held = neuron.held()
        averaged: dict[str, tuple[Groups, dict[str, NDArray[np.float64]]]] = {}
        for grouping in sorted({*group_by.values()} & {*LEVELS} - {"cell_model"}):
            groups = group_cells(network.cells, grouping)
            averaged[grouping] = groups, neuron.means(network, groups)
        for name, parameter in self.held.items():
            table = table_of(network, parameter)
            grouping = group_by.get(name, "cell_model")
            group_of, labels = table.group_of, table.labels
            if grouping != "cell_model":
                groups, means = averaged[grouping]
                group_of, labels, values = groups.of_cell, groups.labels, means[name]
            else:
                values = relative_rows(table, parameter)
            module = GroupedParameter(
                values,
                group_of,
                neuron.trained_within(parameter),
                trainable=name in trainable,
                dtype=dtype,
                grouping=grouping,
                labels=labels,
            )
            self.add_module(name, module)
        E_L = torch.tensor(network.membrane.per_cell("E_L"), dtype=dtype)
        self.register_buffer("E_L", E_L, persistent=False)
        shape = network.receptors.per_cell("psc_shape")
        alpha = bool(np.all(shape == PSC_ALPHA))
        self.register_buffer(
            "psc_shape", None if alpha else torch.tensor(shape, dtype=torch.int8), persistent=False
        )

    def parameter(self, name: str) -> GroupedParameter:
        """The parameter of that name."""
        return cast(GroupedParameter, getattr(self, name))

    def forward(self) -> dict[str, Tensor]:
        """The values of every cell, as `Neuron.coefficients` takes them."""
        values = {name: self.parameter(name)() for name in self.held}
        return values if self.psc_shape is None else values | {"psc_shape": self.psc_shape}
