"""Another device, played by the CPU: where tensors of two devices meet, it fails as on a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map, tree_map_only

from v1builder.model import device

#: What its tensors say of their device.
DEVICE = torch.device("meta")
#: Operations that may take tensors of both places: copies, and positions that lie on the CPU.
_BOTH = {"copy_", "_to_copy", "index", "index_put", "index_put_", "_index_put_impl_"}


class Elsewhere(torch.Tensor):
    """A tensor of the other device; its numbers are in `inner`."""

    inner: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner):
        found = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), dtype=inner.dtype, device=DEVICE
        )
        found.inner = inner
        return found

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _computed(func, args, kwargs or {})


class OtherDevice(TorchFunctionMode):
    """While it is active tensors can be made on `DEVICE`, and moved there and back."""

    def __init__(self):
        super().__init__()
        self._operations = _Operations()

    def __enter__(self):
        self._operations.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._operations.__exit__(*error)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") == DEVICE:
            return func(*args, **kwargs | {"device": "cpu"}).to(DEVICE)
        if func is torch.Tensor.tolist and isinstance(args[0], Elsewhere):
            return args[0].inner.tolist()
        return func(*args, **kwargs)


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _computed(func, args, kwargs or {})


def _computed(func: Any, args: Any, kwargs: Any) -> Any:
    name = func._schema.name.partition("::")[2]
    there: dict[int, Elsewhere] = {}
    here = []

    def unwrap(tensor: torch.Tensor) -> torch.Tensor:
        if isinstance(tensor, Elsewhere):
            there[id(tensor.inner)] = tensor
            return tensor.inner
        if tensor.ndim:
            here.append(tuple(tensor.shape))
        return tensor

    asked = kwargs.get("device")
    given = tree_map_only(torch.Tensor, unwrap, (args, kwargs))
    if there and here and name not in _BOTH:
        raise RuntimeError(f"{name}: tensors on two devices, {here} on the CPU")
    if asked == DEVICE and kwargs.get("generator") is not None:
        raise RuntimeError(f"{name}: a generator on the CPU draws on another device")
    options = given[1] | ({"device": torch.device("cpu")} if asked is not None else {})
    if name == "_conj":  # else only marked as conjugate, which nobody would look at below
        func = torch.ops.aten.conj_physical.default
    found = func(*given[0], **options)
    on_other = bool(there) if asked is None else asked == DEVICE
    if name == "copy_":
        on_other = isinstance(args[0], Elsewhere)

    def wrap(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not on_other:
            return value
        known = there.get(id(value))  # what was computed in place
        return Elsewhere(value) if known is None else known

    return tree_map(wrap, found)


@contextmanager
def played_gpu() -> Iterator[None]:
    """While it lasts the other device is the one GPU of this machine."""
    with pytest.MonkeyPatch.context() as patch, OtherDevice():
        patch.setattr(torch.cuda, "device_count", lambda: 1)
        patch.setitem(device._FIRST, "cuda", DEVICE)
        yield
