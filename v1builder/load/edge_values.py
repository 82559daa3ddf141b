"""What every edge is worth: its column, its type's, the synaptic model's, or a simulator's default.

Where neither an edge nor its type says anything, BMTK's PointNet has defaults, and so have we; each is
noted, so that none is silent:

    nsyns   1
    delay   the synaptic model file's `delay`, else NEST's 1 ms
    receptor of an integrate-and-fire cell: by the sign of the weight

`syn_weight` has none, and a column that looks like a misspelled one is an error. A `weight_function` is
Python code that a user of BMTK registers; those that BMTK has itself (`WEIGHT_FUNCTIONS`) multiply
syn_weight by nsyns, as is done without one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.schema.errors import NetworkError, unknown_name
from v1builder.sonata import edge_rules as rules
from v1builder.sonata.integrate_fire import EXCITATORY, INHIBITORY
from v1builder.sonata.join import SYNAPSE_PARAMETER, joined, misspelled, numbers

WEIGHT_FUNCTIONS: Final = ("default_weight_fnc", "set_syn_weight", "wmax")
DEFAULT_DELAY: Final = 1.0


@dataclass
class EdgeValues:
    """Reads the values of one edge population, chunk by chunk.

    Attributes:
        types: edge types, with the synaptic models and with `receptor_type`.
        where: for messages.
        n_ports: [n_cells] see `membrane.CellParameters`.
        defaults: what was taken from a default, as sentences.
    """

    types: pd.DataFrame
    where: str
    n_ports: NDArray[np.int64]
    defaults: dict[str, None] = field(default_factory=dict)

    def check_weight_functions(self, own: Mapping[str, NDArray[Any]]) -> None:
        """Raise NetworkError where weights come from a function that is not BMTK's."""
        found = own.get("weight_function", self.types.get("weight_function"))
        for name in () if found is None else pd.unique(pd.Series(np.asarray(found, dtype=object))):
            if not pd.isna(name) and name not in ("", *WEIGHT_FUNCTIONS):
                where = f"{self.where}, column weight_function"
                raise NetworkError(
                    [unknown_name("weight function", str(name), WEIGHT_FUNCTIONS, where)]
                )

    def number(
        self, key: str, own: Mapping[str, NDArray[Any]], rows: NDArray[np.int64], start: int
    ) -> NDArray[np.float64]:
        """[e] one value per edge.

        Raises:
            NetworkError: an edge has none and there is no default, or it is not finite.
        """
        values = joined(key, own, self.types, rows)
        guess = misspelled(key, self.types.columns, own)
        default = None if guess else self._default(key, rows)
        if values is None and default is None:
            raise NetworkError([rules.no_column(key, self.where, guess)])
        if values is None:
            assert default is not None
            return self._noted(key, default)
        column = numbers(values)
        rules.refuse([rules.not_finite(key, column, column)], self.where, start)
        return column

    def synapses(
        self, own: Mapping[str, NDArray[Any]], rows: NDArray[np.int64], start: int
    ) -> NDArray[np.int64]:
        """[e] number of synapses, `nsyns`.

        Raises:
            NetworkError: as `number`, or it is not a whole number.
        """
        found = self.number("nsyns", own, rows, start)
        rules.refuse([rules.broken_synapses(found)], self.where, start)
        return found.astype(np.int64)

    def delay(
        self, own: Mapping[str, NDArray[Any]], rows: NDArray[np.int64], start: int
    ) -> NDArray[np.float64]:
        """[e] ms.

        Raises:
            NetworkError: as `number`, or it is not positive.
        """
        found = self.number("delay", own, rows, start)
        rules.refuse([rules.not_positive_delay(found)], self.where, start)
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
        own: Mapping[str, NDArray[Any]],
        rows: NDArray[np.int64],
        target: NDArray[np.integer[Any]],
        weight: NDArray[np.float64],
        start: int,
    ) -> NDArray[np.int64]:
        """[e] receptor index from 0.

        Raises:
            NetworkError: a port is missing, or the target cell does not have it.
        """
        n_ports = self.n_ports[target]
        by_sign = n_ports == 0
        if by_sign.any():
            values = joined("receptor_type", own, self.types, rows)
            port = np.full(len(rows), np.nan) if values is None else numbers(values)
            self._check_ports_given(port, by_sign, start)
        else:
            port = self.number("receptor_type", own, rows, start)
        rules.refuse(rules.unknown_ports(port, n_ports), self.where, start)
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
