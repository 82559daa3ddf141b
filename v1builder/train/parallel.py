"""One training over several processes and machines: each computes its share of every batch.

All processes draw the same trials and the same noise, and each keeps its share of them. Gradients are
summed, so every process makes the same step, and that step is the one a single process would make with the
whole batch, but for the order of sums. Lightning Fabric starts the processes (`--devices`), or finds those
that torchrun or SLURM's srun have started.
"""

import atexit
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from v1builder.model.device import device_of, found_accelerator
from v1builder.schema.errors import ConfigError

if TYPE_CHECKING:  # takes longer to import than all else, and a single process needs none of it
    from lightning_fabric import Fabric

#: Variables in which those who start processes say how many: all of them, and how many per machine.
_STARTED_BY: Final = {
    "torchrun": ("TORCHELASTIC_RUN_ID", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    "srun": ("SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS_PER_NODE"),
}


class _Summed(torch.autograd.Function):
    """Sum over all processes. The gradient of each is that of the sum of all their losses."""

    @staticmethod
    def forward(ctx, value: Tensor, processes: "Processes") -> Tensor:
        ctx.count = processes.count
        return processes.total(value.clone())

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        # Every process computes the same number from the sum, and all of them count.
        return grad_outputs[0] * ctx.count, None


@dataclass(frozen=True)
class Processes:
    """The processes of a training, seen from one of them.

    Attributes:
        device: of this one.
        rank: its number, from 0.
        count: how many there are.
        fabric: what connects them, launched; None where there is only one.
    """

    device: torch.device
    rank: int = 0
    count: int = 1
    fabric: "Fabric | None" = None

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """Which of n trials are this process's; shares differ by at most one trial."""
        return slice(n * self.rank // self.count, n * (self.rank + 1) // self.count)

    def own(self, inputs: dict[str, Tensor], share: slice) -> dict[str, Tensor]:
        """A share of the inputs, on this process's device; the rest can be forgotten."""
        if self.count > 1:
            inputs = {name: spikes[share].clone() for name, spikes in inputs.items()}
        return {name: spikes.to(self.device) for name, spikes in inputs.items()}

    def total(self, value: Tensor) -> Tensor:
        """Sum over all processes, in place."""
        if self.count > 1:
            assert self.fabric is not None
            self.fabric.all_reduce(value, reduce_op="sum")
        return value

    def totals(self, values: dict[str, float]) -> dict[str, float]:
        """Sum of every value over all processes."""
        summed = torch.tensor(list(values.values()), dtype=torch.float64)
        if self.count > 1:
            summed = self.total(summed.to(self.device))
        return dict(zip(values, summed.tolist(), strict=True))

    def summed(self, value: Tensor) -> Tensor:
        """Sum over all processes, differentiable: see `_Summed`."""
        return _Summed.apply(value, self) if self.count > 1 else value  # pyright: ignore[reportReturnType]

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by the sum over all processes."""
        if self.count == 1:
            return
        for parameter in parameters:
            if parameter.requires_grad:
                # In a share without spikes a weight has no part in the loss.
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                self.total(parameter.grad)

    def any(self, flag: bool) -> bool:
        """Whether it is set in any process."""
        return self.totals({"flag": float(flag)})["flag"] > 0

    def barrier(self) -> None:
        """Wait for all."""
        if self.count > 1:
            assert self.fabric is not None
            self.fabric.barrier()


def one_process(accelerator: str = "cpu") -> Processes:
    """This process alone, whatever started it.

    Args:
        accelerator: "cpu", "cuda", or "auto" for a GPU where there is one.

    Raises:
        ConfigError: it is unknown, or there is no GPU.
    """
    return Processes(device_of(accelerator))


def start(
    devices: int | None = None, nodes: int | None = None, accelerator: str = "cpu"
) -> Processes:
    """Start the processes of a training, or join those that were started.

    Without torchrun or srun this process becomes the first of its machine, and the others run the same
    command again: what comes before this call is done by all of them.

    Args:
        devices: processes per machine; as many as torchrun or srun started, else 1, when None.
        nodes: machines; likewise.
        accelerator: "cpu", "cuda" for one GPU per process, or "auto" for that where there are so many.

    Raises:
        ConfigError: the numbers are not positive or not those that were started, or there are not
            so many GPUs.
    """
    for name, value in (("devices", devices), ("nodes", nodes)):
        if value is not None and value < 1:
            raise ConfigError.of(f"the number of {name} must be positive", "train", value)
    there = _started()
    if there is not None:
        by, *numbers = there
        for name, wanted, found in zip(
            ("devices", "nodes"), (devices, nodes), numbers, strict=True
        ):
            if wanted is not None and wanted != found:
                raise ConfigError.of(
                    f"{by} started another number of processes than asked for",
                    f"train, {name}",
                    f"{wanted}, {by} has {found}",
                    f"leave --{name} out",
                )
        devices, nodes = numbers
    devices, nodes = devices or 1, nodes or 1
    if devices * nodes == 1:
        return one_process(accelerator)
    accelerator = found_accelerator(accelerator, devices)
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    # The strategy starts the processes and connects them; the loop itself sums what is to be summed.
    fabric = Fabric(
        accelerator=accelerator, devices=devices, num_nodes=nodes, strategy=DDPStrategy()
    )
    fabric.launch()
    # The threads of gloo must have ended before the interpreter goes, or it may abort.
    atexit.register(_disconnect)
    return Processes(fabric.device, fabric.global_rank, fabric.world_size, fabric)


def _disconnect() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def is_first() -> bool:
    """Whether this process is the only one or the first: the one that speaks to the user."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


def _started() -> tuple[str, int, int] | None:
    """Who started this process beside others: name, processes per machine, machines."""
    for name, (mark, all_of_them, per_machine) in _STARTED_BY.items():
        if mark in os.environ:
            n = int(os.environ[all_of_them])
            # Without --ntasks-per-node srun says only on how many machines they are.
            each = int(os.environ.get(per_machine, n // int(os.environ.get("SLURM_NNODES", "1"))))
            return name, each, n // each
    return None
