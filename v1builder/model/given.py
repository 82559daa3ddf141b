"""What a rollout is given, looked at: spike counts of any type, and a state that another rollout left.

Spikes are counts. Flags and uint8 go to the backends as they are; wider integers are narrowed where that
changes nothing, and become floating point where a unit has more than 255 spikes in a step (exact: float32
holds every integer up to 2^24). Negative counts, and what is no tensor, are refused.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any, Final, TypeVar

import torch
from torch import Tensor

from v1builder.model.rollout import State
from v1builder.schema.errors import ConfigError, Problem

StateT = TypeVar("StateT", bound=State)

_NARROW: Final = (torch.bool, torch.uint8)
#: Largest integer up to which a type of floating point has all.
_EXACT: Final = {torch.float32: 1 << 24, torch.float64: 1 << 53}
#: Nodes of a state's graph that are looked at for one whose buffers are gone.
_NODES: Final = 100


def named_tensors(inputs: Any, where: str) -> dict[str, Tensor]:
    """The inputs as a dictionary.

    Raises:
        ConfigError: they are not tensors by name.
    """
    if inputs is None:
        return {}
    if not isinstance(inputs, Mapping):
        raise ConfigError.of(
            "inputs are not given by name",
            where,
            type(inputs).__name__,
            'give a dictionary of tensors, for example {"lgn": spikes}',
        )
    for name, spikes in inputs.items():
        _require_tensor(spikes, f"{where}, input '{name}'")
    return dict(inputs)


def require_current(current: Any, where: str) -> None:
    """Raise ConfigError unless a current is a tensor, or None."""
    if current is not None:
        _require_tensor(current, f"{where}, current")


def _require_tensor(value: Any, where: str) -> None:
    if isinstance(value, Tensor):
        return
    fix = "torch.from_numpy(...) makes one of a numpy array"
    raise ConfigError.of("this is not a tensor", where, type(value).__name__, fix)


def count_problems(inputs: Mapping[str, Tensor], dtype: torch.dtype, where: str) -> list[Problem]:
    """What keeps integers from being numbers of spikes, for a model of `dtype`."""
    problems = []
    for name, spikes in inputs.items():
        if spikes.dtype in _NARROW or spikes.is_floating_point() or spikes.numel() == 0:
            continue
        here = f"{where}, input '{name}'"
        if spikes.is_complex():
            problems.append(Problem("spikes are not complex numbers", here, str(spikes.dtype)))
            continue
        low, high = (int(end) for end in spikes.aminmax())
        if low < 0:
            fix = "spikes are counts; inhibition is in the weights of the edges"
            problems.append(Problem("a number of spikes is negative", here, str(low), fix))
        elif high > _EXACT[dtype]:
            fix = "a step of a unit cannot hold so many"
            problems.append(Problem("a number of spikes is too large", here, str(high), fix))
    return problems


def spike_counts(inputs: Mapping[str, Tensor], like: Tensor) -> dict[str, Tensor]:
    """Inputs in which `count_problems` found nothing, as backends take them.

    They are bool, uint8 or of the type of `like`, and lie where it does.
    """
    return {name: _counts(spikes, like.dtype).to(like.device) for name, spikes in inputs.items()}


def _counts(spikes: Tensor, dtype: torch.dtype) -> Tensor:
    if spikes.dtype in _NARROW:
        return spikes
    if spikes.is_floating_point():
        return spikes.to(dtype)
    narrow = spikes.numel() == 0 or int(spikes.max()) <= torch.iinfo(torch.uint8).max
    return spikes.to(torch.uint8 if narrow else dtype)


def carried(state: StateT) -> StateT:
    """The state, of whose history a gradient may ask when it is gone: then `ConfigError` says what to do.

    Truncated back-propagation through time carries a state from one rollout into the next. The gradient of
    the next goes on into the first, whose buffers are freed once it was differentiated.
    """
    tensors = {f.name: getattr(state, f.name) for f in fields(state)}
    with_history = {
        name: _Carried.apply(tensor)
        for name, tensor in tensors.items()
        if isinstance(tensor, Tensor) and tensor.grad_fn is not None
    }
    return replace(state, **with_history) if with_history else state


class _Carried(torch.autograd.Function):
    """Identity."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        del ctx
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        if any(_is_freed(node) for node in _history(ctx)):
            raise ConfigError.of(
                "the state comes from a rollout whose gradient was already taken",
                "V1Network.forward, state",
                "a second backward pass through the same steps",
                "end the gradient there: state = state.detach(); or keep it: backward(retain_graph=True)",
            )
        return grads[0]


def _history(node: Any) -> Iterator[Any]:
    """Nodes of the graph before a node, nearest first."""
    nodes, seen = [node], set()
    while nodes and len(seen) < _NODES:
        for before, _ in nodes.pop(0).next_functions:
            if before is not None and before not in seen:
                seen.add(before)
                nodes.append(before)
                yield before


def _is_freed(node: Any) -> bool:
    """Whether a node of a graph has lost what it saved for the backward pass."""
    saved = [name for name in dir(node) if name == "saved_tensors" or name.startswith("_saved_")]
    try:
        for name in saved:
            getattr(node, name)
    except RuntimeError:
        return True
    return False
