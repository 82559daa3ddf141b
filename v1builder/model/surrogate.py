"""Surrogate derivatives of the spike: what the backward pass uses where the true one is zero.

The spike is a step of x = (U - V_th)/V_th, with U and V_th relative to E_L. Its derivative is
replaced by a bump of height `dampening` at x = 0 and width `width`:

| kind | derivative / dampening | support |
|---|---|---|
| triangular | max(0, 1 - abs(x)/width) | compact |
| boxcar | 1 where abs(x) < width/2 | compact |
| gaussian | exp(-x^2/(2 width^2)) | infinite |
| sigmoid | 4 s(x/width) (1 - s(x/width)) | infinite |
| fast_sigmoid | 1/(1 + abs(x)/width)^2 | infinite |

A cell that is anywhere near its threshold passes a gradient in every step, as if it fired hundreds of times
a second, so gradients grow on their way back through a recurrent network unless the bump is low. The default
is that of the published trainer of V1 (github.com/JavierGalvan9/V1_GLIF_model), triangular .1. In a column of
100 um (evidence accumulation, 600 ms at 1 ms, untrained, norm of the gradient of the recurrent weights) that
gives .02, .3 gives 1e18, and .5 no finite number; at 50 um all three are stable (.01 to .03).

Sources: triangular Esser et al. 2016, Bellec et al. 2018 and Chen et al. 2022 (dampening .3-.5
there); fast_sigmoid Zenke & Ganguli 2018; an overview Neftci et al. 2019.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from v1builder.schema.errors import ConfigError, unknown_name

SurrogateKind = Literal["triangular", "boxcar", "gaussian", "sigmoid", "fast_sigmoid"]
SURROGATE_KINDS: tuple[SurrogateKind, ...] = get_args(SurrogateKind)


@dataclass(frozen=True)
class Surrogate:
    """A surrogate derivative. `width` is in units of V_th - E_L; `dampening` is the height at 0."""

    kind: SurrogateKind = "triangular"
    dampening: float = 0.1
    width: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in SURROGATE_KINDS:
            raise ConfigError([unknown_name("surrogate", self.kind, SURROGATE_KINDS, "Surrogate")])
        for name in ("dampening", "width"):
            if not getattr(self, name) > 0:
                raise ConfigError.of(
                    f"the surrogate's {name} must be positive", "Surrogate", getattr(self, name)
                )

    @property
    def code(self) -> int:
        """Position of `kind` in `SURROGATE_KINDS`, for compiled kernels."""
        return SURROGATE_KINDS.index(self.kind)

    @property
    def has_compact_support(self) -> bool:
        """True when the derivative is exactly zero away from threshold."""
        return self.kind in ("triangular", "boxcar")

    def derivative(self, x: Tensor) -> Tensor:
        """Elementwise surrogate dz/dx at x = (U - V_th)/V_th."""
        scaled = x / self.width
        if self.kind == "triangular":
            bump = (1 - scaled.abs()).clamp(min=0)
        elif self.kind == "boxcar":
            bump = (scaled.abs() < 0.5).to(x.dtype)
        elif self.kind == "gaussian":
            bump = torch.exp(-0.5 * scaled**2)
        elif self.kind == "sigmoid":
            sigmoid = torch.sigmoid(scaled)
            bump = 4 * sigmoid * (1 - sigmoid)
        else:
            bump = 1 / (1 + scaled.abs()) ** 2
        return self.dampening * bump


class _Spike(torch.autograd.Function):
    """1 where x > 0, with the surrogate as its derivative."""

    @staticmethod
    def forward(ctx, x: Tensor, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(x)
        ctx.surrogate = surrogate
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grad_outputs[0] * ctx.surrogate.derivative(x), None


def spike(x: Tensor, surrogate: Surrogate) -> Tensor:
    """1 where x > 0, else 0, with the derivative of `surrogate`."""
    return _Spike.apply(x, surrogate)  # pyright: ignore[reportReturnType]
