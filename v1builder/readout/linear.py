"""A linear readout of exponentially filtered spikes of all selected cells.

    x_i(t) = exp(-dt/tau) x_i(t - 1) + z_i(t),    output_k = sum_i W_ki <x_i> + b_k

with <x_i> the mean of the trace over a window, or the trace itself where every step has an answer. Cells
are the column's layer 5 within 55 um, as for pools, unless said otherwise.
"""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from v1builder.load.network import Network
from v1builder.readout.readout import Asked, Readout, ReadoutSettings
from v1builder.schema.errors import ConfigError


class Linear(Readout):
    """Outputs that are linear in filtered spikes.

    Attributes:
        cells: [cell] positions of the cells that are read.
        kernel: [step, window or step] weight of a spike in the trace of each answer.
    """

    cells: Tensor
    kernel: Tensor

    def __init__(self, cells: Tensor, asked: Asked, tau_ms: float, generator: torch.Generator):
        super().__init__()
        self.register_buffer("cells", cells)
        self.register_buffer("kernel", _kernel(asked, tau_ms), persistent=False)
        bound = 1 / math.sqrt(len(cells))
        weight = torch.empty(asked.n_outputs, len(cells))
        self.weight = nn.Parameter(weight.uniform_(-bound, bound, generator=generator))
        self.bias = nn.Parameter(torch.zeros(asked.n_outputs))

    def forward(self, spikes: Tensor) -> Tensor:
        """Outputs [trial, window or step, output] of spikes [trial, step, cell]."""
        trace = self.trace(spikes)
        return trace @ self.weight.T.to(trace) + self.bias

    def trace(self, spikes: Tensor) -> Tensor:
        """What outputs are linear in: [trial, window or step, cell] of spikes [trial, step, cell]."""
        read = spikes[:, :, self.cells]
        return torch.einsum("bsn,sw->bwn", read, self.kernel.to(read))


def _kernel(asked: Asked, tau_ms: float) -> Tensor:
    """[step, answer] what a spike in a step adds to the trace that an answer is read from."""
    step = torch.arange(asked.n_steps, dtype=torch.float64)
    age = step - step[:, None]  # [spike, now]
    trace = torch.where(age >= 0, torch.exp(-age.clamp(min=0) * asked.dt / tau_ms), 0.0)
    parts = [trace[:, window] for window in asked.windows]
    if not asked.per_step:
        parts = [part.mean(dim=1, keepdim=True) for part in parts]
    return torch.cat(parts, dim=1).to(torch.float32)


class LinearSettings(ReadoutSettings):
    """Linear in filtered spikes, see `Linear`.

    Attributes:
        tau_ms: time constant of the filter.
        fit_trials: training trials of the untrained network to which the initial weights are fitted
            (`train.fitted_readout`); 0 draws them at random.
    """

    kind: Literal["linear"] = "linear"
    tau_ms: float = Field(default=20.0, gt=0)
    fit_trials: int = Field(default=0, ge=0)

    def make(self, network: Network, asked: Asked, seed: int) -> Linear:
        """Random initial weights.

        Raises:
            ConfigError: a population is unknown, or there is no cell to read.
            NetworkError: cells lack pop_name, or x or z for a radius.
        """
        chosen = self.candidates(network)
        if not len(chosen):
            raise ConfigError.of(
                "there is no cell to read",
                f"readout, {self.named}",
                "0 cells",
                "choose a larger radius_um or other cells",
            )
        generator = torch.Generator().manual_seed(seed)
        return Linear(torch.from_numpy(chosen), asked, self.tau_ms, generator)
