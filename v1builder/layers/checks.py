"""What a layer is told before anything is made of it: one message for every argument that is wrong."""

from collections.abc import Sequence
from typing import Any, Final, Literal, get_args

import numpy as np
import torch

from v1builder.model.rollout import State
from v1builder.model.surrogate import SURROGATE_KINDS, Surrogate
from v1builder.schema.errors import ConfigError, Problem, raise_if_any, unknown_name

InputKind = Literal["current", "spikes"]
INPUT_KINDS: Final[tuple[InputKind, ...]] = get_args(InputKind)


def is_number(value: Any) -> bool:
    """Whether it is a finite number, or an array of numbers, and no truth value or text."""
    try:
        return np.asarray(value).dtype.kind in "iuf" and bool(np.isfinite(value).all())
    except (TypeError, ValueError):
        return False


def check_arguments(
    in_features: Any,
    hidden: Any,
    *,
    input: Any,
    recurrent: Any,
    plasticity: Any,
    input_delay: Any,
    tau_syn: Any,
    dt: Any,
    bias: Any,
    trainable: Sequence[str] | Any,
    surrogate: Any,
    seed: Any,
) -> None:
    """Refuse what cannot be a layer, as of `GLIF`.

    Raises:
        ConfigError: listing every argument that is wrong.
    """
    problems = [
        Problem(f"{name} must be a positive whole number", "layer", str(value))
        for name, value in (("in_features", in_features), ("hidden", hidden))
        if isinstance(value, bool) or not (isinstance(value, int | np.integer) and value > 0)
    ]

    def refuse(wrong: bool, what: str, name: str, value: Any, fix: str) -> None:
        if wrong:
            problems.append(Problem(what, f"layer, {name}", str(value), fix))

    if input not in INPUT_KINDS:
        problems.append(unknown_name("kind of input", str(input), INPUT_KINDS, "layer, input"))
    no_density = not isinstance(recurrent, str) and not (
        is_number(recurrent) and np.ndim(recurrent) == 0
    )
    refuse(
        recurrent is not None and no_density, "the recurrence is no density", "recurrent", recurrent,
        "give a part of all pairs in (0, 1], 'dense', or None for no recurrence",
    )  # fmt: skip
    refuse(
        recurrent is None and plasticity is not None,
        "there are no recurrent connections whose short-term plasticity this could be",
        "plasticity", "recurrent=None", "leave the plasticity out, or recurrent=None",
    )  # fmt: skip
    refuse(
        input == "current" and input_delay is not None,
        "an input of currents has no delay", "input_delay", input_delay,
        "leave it out, or take input='spikes'",
    )  # fmt: skip
    refuse(
        not is_number(tau_syn), "tau_syn is not a number", "tau_syn", tau_syn,
        "give ms, one number or one per cell",
    )  # fmt: skip
    refuse(
        not is_number(dt) or np.ndim(dt) != 0,
        "dt is not a number",
        "dt",
        dt,
        "give ms, such as 1.0",
    )
    refuse(
        bias is not None and not isinstance(bias, bool) and not (is_number(bias) and np.ndim(bias) == 0),
        "the bias is not a number", "bias", bias, "give where it starts, or None for no bias",
    )  # fmt: skip
    refuse(
        isinstance(trainable, str), "trainable is a name and not a list of names", "trainable",
        trainable, f"give [{trainable!r}]",
    )  # fmt: skip
    refuse(
        surrogate is not None and not isinstance(surrogate, Surrogate),
        "the surrogate is not a Surrogate", "surrogate", surrogate,
        "give v1builder.model.surrogate.Surrogate(kind), where kind is "
        f"{', '.join(SURROGATE_KINDS[:-1])} or {SURROGATE_KINDS[-1]}",
    )  # fmt: skip
    refuse(
        seed is not None
        and (isinstance(seed, bool) or not (isinstance(seed, int | np.integer) and seed >= 0)),
        "the seed must be a whole number from 0 up", "seed", seed, "or leave it out",
    )  # fmt: skip
    raise_if_any(problems, ConfigError)


def check_forward(layer: str, input: Any, in_features: int, axes: str, state: Any) -> None:
    """Refuse an input or a state that is none of a layer.

    Args:
        layer: name of its class.
        input: that was given.
        in_features: numbers per step.
        axes: the first two, for people.
        state: that was given.

    Raises:
        ConfigError: saying what was expected.
    """
    expected = f"[{axes}, {in_features}]"
    if not isinstance(input, torch.Tensor):
        raise ConfigError.of(
            "the input is not a tensor",
            f"{layer}.forward",
            type(input).__name__,
            f"give a torch.Tensor {expected}",
        )
    if input.ndim != 3 or input.shape[2] != in_features or 0 in input.shape:
        raise ConfigError.of(
            "the input has a wrong shape",
            f"{layer}.forward",
            str(list(input.shape)),
            f"make it {expected}",
        )
    if not (state is None or isinstance(state, State)):
        raise ConfigError.of(
            "the state is none of a layer",
            f"{layer}.forward",
            type(state).__name__,
            "give the state that a call returned, or none",
        )
