"""Ways to run many independent pieces of work: one after another here, or on a Ray cluster.

Ray finds its cluster as usual (`RAY_ADDRESS`, else it starts one on this machine with a worker per core).
A job whose worker or machine dies is started again, on another if need be.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import torch

from v1builder.schema.errors import ConfigError, V1BuilderError

ENGINES: Final = ("local", "ray")

#: How often a job is started again after its worker died.
_RETRIES: Final = 3

Job = Callable[[], None]
Progress = Callable[[str, int, int], None]


def run_on_ray(stages: Sequence[Sequence[Job]], progress: Progress) -> None:
    """Run all jobs, those of a stage at once, stage after stage.

    Args:
        stages: jobs; each stage needs what those before it made.
        progress: called with ("conditions on Ray", done, total).

    Raises:
        ConfigError: Ray is not installed.
        V1BuilderError: what a job raised. Jobs that are done stay done.
    """
    if find_spec("ray") is None:
        raise ConfigError.of(
            "Ray is not installed", "engine 'ray'", fix="pip install 'v1builder[ray]', or use local"
        )
    ray: Any = import_module("ray")
    started_here = not ray.is_initialized()
    if started_here:
        ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        _run(ray, stages, progress)
    finally:
        if started_here:
            ray.shutdown()


def _run(ray: Any, stages: Sequence[Sequence[Job]], progress: Progress) -> None:
    start = ray.remote(max_retries=_RETRIES, num_cpus=1)(_do)
    total, finished = sum(len(stage) for stage in stages), 0
    for stage in stages:
        waiting = [start.remote(job) for job in stage]
        while waiting:
            progress("conditions on Ray", finished, total)
            done, waiting = ray.wait(waiting, timeout=1.0)
            finished += len(done)
            try:
                ray.get(done)
            except ray.exceptions.RayTaskError as error:
                for left in waiting:
                    ray.cancel(left, force=True)
                if isinstance(error.cause, V1BuilderError):
                    raise error.cause from None
                raise
    progress("conditions on Ray", total, total)


def _do(job: Job) -> None:
    """What a worker does: one job on one core."""
    torch.set_num_threads(1)
    job()
