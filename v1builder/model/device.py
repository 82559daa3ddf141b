"""Where networks compute."""

from typing import Final, Literal, get_args

import torch

from v1builder.schema.errors import ConfigError, unknown_name

Accelerator = Literal["cpu", "cuda", "auto"]
ACCELERATORS: Final[tuple[str, ...]] = get_args(Accelerator)
_FIRST: Final = {"cpu": torch.device("cpu"), "cuda": torch.device("cuda", 0)}


def found_accelerator(accelerator: str, n_devices: int = 1) -> str:
    """The accelerator of which there are so many devices, "cpu" or "cuda".

    Args:
        accelerator: one of `ACCELERATORS`; "auto" for GPUs where there are so many.
        n_devices: of this machine.

    Raises:
        ConfigError: it is unknown, or there are not so many GPUs.
    """
    if accelerator not in ACCELERATORS:
        raise ConfigError([unknown_name("accelerator", accelerator, ACCELERATORS, "accelerator")])
    n_gpus = torch.cuda.device_count() if accelerator != "cpu" else 0
    if accelerator == "auto":
        return "cuda" if n_gpus >= n_devices else "cpu"
    if accelerator == "cuda" and n_gpus < n_devices:
        raise ConfigError.of(
            "there are not so many GPUs",
            "accelerator 'cuda'",
            f"{n_devices} asked for, {n_gpus} found",
            "use --accelerator cpu or auto, or fewer --devices",
        )
    return accelerator


def device_of(accelerator: str) -> torch.device:
    """The first device of an accelerator; raises as `found_accelerator`."""
    return _FIRST[found_accelerator(accelerator)]
