"""From published Allen Institute data on mouse V1 to a trainable, heterogeneous spiking network.

    import v1builder

    v1builder.build("net", radius=100, seed=1)             # SONATA network from the embedded data
    network = v1builder.load("net", dt=1.0)                # a torch.nn.Module
    rollout = network({"lgn": lgn_spikes, "bkg": background_spikes})

The same verbs are commands: `v1builder --help`.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from v1builder.schema.threads import wait_briefly

if TYPE_CHECKING:
    from v1builder.calibrate import calibrate
    from v1builder.characterize import characterize
    from v1builder.experiments import compare
    from v1builder.load import load_network
    from v1builder.model import V1Network, load
    from v1builder.pipeline import build
    from v1builder.report import write_report
    from v1builder.simulate import simulate
    from v1builder.stores import fetch
    from v1builder.train import train
    from v1builder.validate import validate

wait_briefly()  # before torch and numba are loaded

# Loaded when first used, so that fetching and building need neither torch nor the time to import it.
_HOME = {
    "V1Network": "v1builder.model",
    "build": "v1builder.pipeline",
    "calibrate": "v1builder.calibrate",
    "characterize": "v1builder.characterize",
    "compare": "v1builder.experiments",
    "fetch": "v1builder.stores",
    "load": "v1builder.model",
    "load_network": "v1builder.load",
    "simulate": "v1builder.simulate",
    "train": "v1builder.train",
    "validate": "v1builder.validate",
    "write_report": "v1builder.report",
}

__all__ = [
    "V1Network",
    "build",
    "calibrate",
    "characterize",
    "compare",
    "fetch",
    "load",
    "load_network",
    "simulate",
    "train",
    "validate",
    "write_report",
]


class _Package(ModuleType):
    """Keeps a verb the function it names when the package of the same name is imported.

    `import v1builder.build.cells` would else replace the function `v1builder.build` by the package.
    """

    def __getattr__(self, name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'v1builder' has no attribute '{name}'")
        return getattr(import_module(_HOME[name]), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
