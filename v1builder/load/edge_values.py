"""What every edge is worth: its column, its type's, the synaptic model's, or a simulator's default.

Where neither an edge nor its type says anything, BMTK's PointNet has defaults, and so have we; each is
noted, so that none is silent:

    nsyns   1
    delay   the synaptic model file's `delay`, else NEST's 1 ms
    receptor of an integrate-and-fire cell: by the sign of the weight

`syn_weight` has none, and a column that looks like a misspelled one is an error. Where edge groups differ in
their columns, edges of a group that lacks one have the default. A `weight_function` is Python code that a
user of BMTK registers; those that BMTK has itself multiply syn_weight by nsyns, as is done without one, and
those of AllenInstitute/biorealistic-v1-model leave it as it is (`sonata.edge_rules`).
"""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.schema.errors import NetworkError, raise_if_any
from v1builder.sonata import edge_rules as rules
from v1builder.sonata.edges import EdgeTable
from v1builder.sonata.integrate_fire import EXCITATORY, INHIBITORY
from v1builder.sonata.join import ALIASES, SYNAPSE_PARAMETER, joined, misspelled, numbers

DEFAULT_DELAY: Final = 1.0


@dataclass
class EdgeValues:
    """Reads the values of one edge population, chunk by chunk.

    Attributes:
        types: edge types, with the synaptic models and with `receptor_type`.
        where: for messages.
        n_ports: [n_cells] see `membrane.CellFiles`.
        defaults: what was taken from a default, as sentences.
    """

    types: pd.DataFrame
    where: str
    n_ports: NDArray[np.int64]
    defaults: dict[str, None] = field(default_factory=dict)

    def weight(
        self,
        chunk: EdgeTable,
        rows: NDArray[np.int64],
        synapses: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """[e] what syn_weight, nsyns and the weight function of an edge come to.

        Raises:
            NetworkError: as `number`, or a weight function is not known.
        """
        weight = self.number("syn_weight", chunk, rows)
        names = joined("weight_function", chunk.attributes, self.types, rows)
        if names is None:
            return weight * synapses
        raise_if_any(rules.weight_functions(names, self.where), NetworkError)
        return np.where(np.isin(names.astype(str), rules.AS_IT_IS), weight, weight * synapses)

    def number(self, key: str, chunk: EdgeTable, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """[e] one value per edge.

        Raises:
            NetworkError: an edge has none and there is no default, or it is not finite.
        """
        values = joined(key, chunk.attributes, self.types, rows)
        guess = misspelled(key, self.types.columns, chunk.attributes)
        default = None if guess else self._default(key, rows)
        if values is None and default is None:
            raise NetworkError([rules.no_column(key, self.where, guess)])
        if values is None:
            assert default is not None
            return self._noted(key, default)
        column = numbers(values)
        lacking = next(
            (chunk.lacking[k] for k in ALIASES.get(key, (key,)) if k in chunk.lacking), None
        )
        if lacking is not None and default is not None:
            lacking = lacking & np.isnan(column)
            if lacking.any():
                self._noted(key, default[lacking])
                column = np.where(lacking, default, column)
        rules.refuse([rules.not_finite(key, column, column)], self.where, chunk.start)
        return column

    def synapses(self, chunk: EdgeTable, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """[e] number of synapses, `nsyns`.

        Raises:
            NetworkError: as `number`, or it is not a whole number.
        """
        found = self.number("nsyns", chunk, rows)
        rules.refuse(
            [rules.broken_synapses(found), rules.negative_synapses(found)], self.where, chunk.start
        )
        return found.astype(np.int64)

    def delay(self, chunk: EdgeTable, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """[e] ms.

        Raises:
            NetworkError: as `number`, or it is not positive or too long.
        """
        found = self.number("delay", chunk, rows)
        faults = rules.not_positive_delay(found), rules.too_long_delay(found)
        rules.refuse(faults, self.where, chunk.start)
        return found

    def _default(self, key: str, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
        if key == "nsyns":
            return np.ones(len(rows))
        if key != "delay":
            return None
        delay = np.full(len(rows), DEFAULT_DELAY)
        in_model = self.types.get(SYNAPSE_PARAMETER + "delay")
        if in_model is not None:
            own = numbers(in_model.to_numpy())[rows]
            delay = np.where(np.isnan(own), delay, own)
        return delay

    def _noted(self, key: str, default: NDArray[np.float64]) -> NDArray[np.float64]:
        shown = ", ".join(f"{value:g}" for value in np.unique(default)[:3])
        self.defaults[f"{self.where}: no '{key}'; taken as {shown or 'default'}"] = None
        return default

    def receptor(
        self,
        chunk: EdgeTable,
        rows: NDArray[np.int64],
        target: NDArray[np.integer[Any]],
        weight: NDArray[np.float64],
    ) -> NDArray[np.int64]:
        """[e] receptor index from 0.

        Raises:
            NetworkError: a port is missing, or the target cell does not have it.
        """
        n_ports = self.n_ports[target]
        by_sign = n_ports == 0
        if by_sign.any():
            values = joined("receptor_type", chunk.attributes, self.types, rows)
            port = np.full(len(rows), np.nan) if values is None else numbers(values)
            self._check_ports_given(port, by_sign, chunk.start)
        else:
            values = joined("receptor_type", chunk.attributes, self.types, rows)
            if values is None or (len(rows) and np.isnan(numbers(values)).all()):
                guess = misspelled("receptor_type", self.types.columns, chunk.attributes)
                raise NetworkError([rules.no_column("receptor_type", self.where, guess)])
            port = self.number("receptor_type", chunk, rows)
        rules.refuse(rules.unknown_ports(port, n_ports), self.where, chunk.start)
        receptor = np.where(by_sign, np.where(weight < 0, INHIBITORY, EXCITATORY), port - 1)
        return receptor.astype(np.int64)

    def _check_ports_given(
        self, port: NDArray[np.float64], by_sign: NDArray[np.bool_], start: int
    ) -> None:
        wrong = ~by_sign & ~np.isfinite(port)
        if wrong.any():
            raise NetworkError.of(
                "'receptor_type' is missing, NaN or infinite",
                self.where,
                f"edge {start + int(np.flatnonzero(wrong)[0])}, onto a cell with ports",
                "add the column 'receptor_type'",
            )
