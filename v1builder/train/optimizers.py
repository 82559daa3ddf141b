"""Optimisers of a training. A step changes a weight by a part of itself, so none changes its sign.

"adam": Adam (Kingma & Ba 2015, arXiv:1412.6980) on all that is learned. Weights are learned as
w = w_0 exp(s), and positive parameters as logarithms, so a step of Adam, which is about the learning rate
whatever the gradient, changes each by about the learning rate times itself.

"exponentiated_gradient": w <- w exp(-eta m / rms(m)) for what is learned as a logarithm, with m the mean of
dL/d|w| over recent steps (Kivinen & Warmuth 1997, Inf. Comput. 132:1; Cornford et al. 2024,
bioRxiv 2024.10.25.620272, for circuits
with Dale's law). Normalised over each set of parameters, so that
the learning rate is the root mean square of the relative changes of a step, as it about is with Adam. Since
dL/d|w| = (dL/ds) / |w|, strong and weak synapses of equal dL/d|w| change by equal *factors*: a lognormal
distribution of weights stays one, and synapses of little use fall behind. Adam instead gives every synapse
a step of its own size, however small its gradient. What is not learned as a logarithm (a readout, voltages)
is left to Adam.
"""

from collections.abc import Iterable
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from v1builder.model import V1Network
from v1builder.model.edges import Edges
from v1builder.model.parameters import GroupedParameter
from v1builder.train.gradient_norm import sum_of_squares

OptimizerName = Literal["adam", "exponentiated_gradient"]
#: Of the mean gradient, as Adam's first.
_MOMENTUM: Final = 0.9


class ExponentiatedGradient(torch.optim.Optimizer):
    """See the module. Each parameter is a logarithm (plus a constant, its `base`) of what it stands for.

    Attributes:
        base: by parameter, what it is the logarithm relative to: |w| = base exp(s).
    """

    def __init__(self, logarithms: Iterable[tuple[nn.Parameter, Tensor]], lr: float):
        pairs = list(logarithms)
        self.base = dict(pairs)
        super().__init__([parameter for parameter, _ in pairs], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Change every parameter that has a gradient."""
        del closure
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                size = self.base[parameter] * parameter.exp()
                gradient = torch.where(size > 0, parameter.grad / size, 0.0)
                state = self.state[parameter]
                mean = state.get("mean")
                mean = gradient if mean is None else mean.lerp(gradient, 1 - _MOMENTUM)
                state["mean"] = mean
                scale = (sum_of_squares(mean) / mean.numel()).sqrt()
                if scale > 0:
                    parameter -= group["lr"] * mean / scale


class Optimizers:
    """Several optimisers of different parameters as one.

    Attributes:
        parts: each of them.
    """

    def __init__(self, *parts: torch.optim.Optimizer):
        self.parts = parts

    def step(self) -> None:
        """A step of each."""
        for part in self.parts:
            part.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """The states of all, for a checkpoint."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        for part, state in zip(self.parts, saved["parts"], strict=True):
            part.load_state_dict(state)


def make_optimizer(
    name: OptimizerName,
    network: V1Network,
    readouts: list[nn.Parameter],
    *,
    lr: float,
    readout_lr: float,
) -> torch.optim.Optimizer | Optimizers:
    """The optimiser of a network and its readouts.

    Args:
        name: see the module.
        network: that learns.
        readouts: parameters of the readouts.
        lr: learning rate of the network.
        readout_lr: of the readouts.
    """
    if name == "adam":
        return _adam(list(network.parameters()), readouts, lr, readout_lr)
    logarithms = dict(_logarithms(network))
    rest = [parameter for parameter in network.parameters() if parameter not in logarithms]
    parts: list[torch.optim.Optimizer] = []
    if logarithms:
        parts.append(ExponentiatedGradient(logarithms.items(), lr))
    if rest or readouts:
        parts.append(_adam(rest, readouts, lr, readout_lr))
    return Optimizers(*parts)


def _adam(
    network: list[nn.Parameter], readouts: list[nn.Parameter], lr: float, readout_lr: float
) -> torch.optim.Optimizer:
    return torch.optim.Adam([{"params": network, "lr": lr}, {"params": readouts, "lr": readout_lr}])


def _logarithms(network: V1Network) -> Iterable[tuple[nn.Parameter, Tensor]]:
    """What is learned as a logarithm, each with what it is relative to."""
    for module in network.modules():
        if isinstance(module, Edges) and module.log_scale is not None:
            size = module.base.abs()
            if (
                module.group_of is not None
            ):  # a factor that edges share stands for their mean weight
                total = size.new_zeros(len(module.log_scale)).index_add(0, module.group_of, size)
                size = total / module.group_of.bincount(minlength=len(total))
            yield module.log_scale, size
        elif (
            isinstance(module, GroupedParameter)
            and module.trainable
            and module.bounds.kind == "positive"
        ):
            yield module.raw, torch.ones_like(module.raw)
