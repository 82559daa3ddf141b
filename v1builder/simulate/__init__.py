"""Run a standard SONATA simulation configuration, see `run`.

Modules: `run` (the run and its spikes), `inputs` (spikes and current clamps), `reports` (membrane reports).
"""

from v1builder.simulate.run import simulate

__all__ = ["simulate"]
