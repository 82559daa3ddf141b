"""Ways to do many independent jobs: here, in several processes of this machine, or on a Ray cluster.

A job is given to a worker, which keeps what the next job may need as well, such as the network of a seed.
Only files connect workers, so every way gives the same results and any goes on where another stopped.

Ray finds its cluster as usual (`RAY_ADDRESS`, else it starts one on this machine with a worker per core).
A job whose worker or machine dies is started again there, on another if need be.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from importlib.util import find_spec
from multiprocessing.queues import SimpleQueue
from typing import Any, Final, Protocol, TypeVar

import torch

from v1builder.schema.errors import ConfigError, V1BuilderError
from v1builder.schema.memory import keep_memory

ENGINES: Final = ("local", "ray")

#: How often Ray starts a job again after its worker died.
_RETRIES: Final = 3
#: Seconds after which progress is looked for.
_LOOK: Final = 0.2

Job = TypeVar("Job")
J = TypeVar("J", contravariant=True)
Progress = Callable[[str, int, int], None]


class Worker(Protocol[J]):
    """What does jobs, one after another."""

    def do(self, job: J, /) -> None:
        """Make what a job makes; what it raises ends the run."""
        ...


#: Makes a worker that shows its progress so. It and the jobs must be picklable but for `run_here`.
Make = Callable[[Progress], Worker[Job]]
Stages = Sequence[Sequence[Job]]


def silent(_stage: str, _done: int, _total: int) -> None:
    """The progress that nobody wants to see."""


def run_here(
    stages: Stages[Job], make: Make[Job], progress: Progress, done: Callable[[Job], None]
) -> None:
    """Do all jobs in this process.

    Args:
        stages: jobs; each stage needs what those before it made.
        make: makes the worker.
        progress: what the worker is given.
        done: called after every job.
    """
    worker = make(progress)
    for stage in stages:
        for job in stage:
            worker.do(job)
            done(job)


def run_in_processes(
    stages: Stages[Job],
    make: Make[Job],
    progress: Progress,
    done: Callable[[Job], None],
    n_workers: int,
) -> None:
    """Do the jobs of a stage at once in processes of this machine, which share its cores.

    Args:
        stages: jobs; each stage needs what those before it made.
        make: makes the worker of a process.
        progress: called here with what the workers show.
        done: called here after every job, in the order in which they are done.
        n_workers: processes. Each has the threads that torch has here, divided by their number.

    Raises:
        V1BuilderError: what a job raised, or a process died. Jobs that are done stay done, others are ended.
    """
    context = multiprocessing.get_context("spawn")
    shown: SimpleQueue[tuple[str, int, int]] = context.SimpleQueue()
    n_threads = max(1, torch.get_num_threads() // n_workers)
    others = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(n_workers, context, _begin, (make, shown, n_threads))
    try:
        for stage in stages:
            waiting: dict[Future[None], Job] = {
                executor.submit(_do_here, job): job for job in stage
            }
            while waiting:
                finished, _ = wait(waiting, timeout=_LOOK, return_when=FIRST_COMPLETED)
                while not shown.empty():
                    progress(*shown.get())
                for future in finished:
                    job = waiting.pop(future)
                    future.result()
                    done(job)
    except BrokenProcessPool:
        raise V1BuilderError.of(
            "a process of the comparison died",
            f"one of {n_workers} workers",
            fix="run the same command again; with fewer workers, if memory ran out",
        ) from None
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
            process.join()


_worker: Worker[Any] | None = None


def _begin(make: Make[Any], shown: "SimpleQueue[tuple[str, int, int]]", n_threads: int) -> None:
    """Begin a process of `run_in_processes`; it ends with the one that started it, however that ends."""
    global _worker
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    keep_memory()
    torch.set_num_threads(n_threads)
    _worker = make(lambda *told: shown.put(told))


def _do_here(job: Any) -> None:
    assert _worker is not None
    _worker.do(job)


def run_on_ray(stages: Stages[Job], make: Make[Job], progress: Progress) -> None:
    """Do the jobs of a stage at once on a Ray cluster, each with a worker of its own on one core.

    Args:
        stages: jobs; each stage needs what those before it made.
        make: makes the worker of a job.
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
        _run(ray, stages, make, progress)
    finally:
        if started_here:
            ray.shutdown()


def _run(ray: Any, stages: Stages[Job], make: Make[Job], progress: Progress) -> None:
    start = ray.remote(max_retries=_RETRIES, num_cpus=1)(_do_there)
    total, finished = sum(len(stage) for stage in stages), 0
    for stage in stages:
        waiting = [start.remote(make, job) for job in stage]
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


def _do_there(make: Make[Any], job: Any) -> None:
    torch.set_num_threads(1)
    make(silent).do(job)
