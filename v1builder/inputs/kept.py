"""Tensors worth keeping, within a limit of memory."""

from collections import OrderedDict
from collections.abc import Hashable

from torch import Tensor


class Kept:
    """Tensors by key, of which those unused for longest are forgotten when they take too much memory.

    The last one is kept whatever its size.
    """

    def __init__(self, limit: int):
        """Nothing yet.

        Args:
            limit: bytes.
        """
        self._limit, self._size = limit, 0
        self._tensors: OrderedDict[Hashable, Tensor] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._tensors

    def __getitem__(self, key: Hashable) -> Tensor:
        self._tensors.move_to_end(key)
        return self._tensors[key]

    def __setitem__(self, key: Hashable, tensor: Tensor) -> None:
        self._tensors[key] = tensor
        self._size += tensor.nbytes
        while self._size > self._limit and len(self._tensors) > 1:
            _, forgotten = self._tensors.popitem(last=False)
            self._size -= forgotten.nbytes
