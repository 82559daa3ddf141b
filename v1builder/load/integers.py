"""Integer columns of edges, no wider than their values: a large column has hundreds of millions."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

_AT_ONCE: Final = 1 << 20


class Integers:
    """[n] integers of the narrowest signed type that holds all those set.

    Attributes:
        values: the array.

    Example:
        column = Integers(3)
        column[0:2] = np.array([1, 300])
        column.values.dtype  # int16
    """

    def __init__(self, n: int):
        self.values: NDArray[np.signedinteger] = np.empty(n, np.int8)

    def __setitem__(self, here: slice, values: NDArray[np.integer]) -> None:
        ends = (int(values.min()), int(values.max())) if len(values) else (0, 0)
        # -x - 1 needs as many bits as x with a sign
        kinds = (np.min_scalar_type(end if end < 0 else -end - 1) for end in ends)
        self.values = self.values.astype(np.result_type(self.values, *kinds), copy=False)
        self.values[here] = values

    @classmethod
    def filled(
        cls, n: int, part: Callable[[slice], NDArray[np.integer]]
    ) -> NDArray[np.signedinteger]:
        """[n] what `part` says of some of them at a time, so that its temporary arrays are small."""
        column = cls(n)
        for first in range(0, n, _AT_ONCE):
            here = slice(first, min(first + _AT_ONCE, n))
            column[here] = part(here)
        return column.values
