"""Ways to do many independent jobs: here, in several processes of this machine, or on a Ray cluster.

A job is given to a worker, which keeps what the next job may need as well, such as the network of a seed.
Only files connect workers, so every way gives the same results and any goes on where another stopped.

Ray finds its cluster as usual (`RAY_ADDRESS`, else it starts one on this machine with a worker per core).
A job whose worker or machine dies is started again there, on another if need be.
"""

import multiprocessing
import os
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Final, Protocol, TypeVar

import torch

from v1builder.schema.errors import ConfigError, V1BuilderError
from v1builder.schema.memory import keep_memory

ENGINES: Final = ("local", "ray")

#: How often Ray starts a job again after its worker died.
_RETRIES: Final = 3

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
    pool = _Pool(n_workers, make)
    try:
        for stage in stages:
            for job in pool.do(stage, progress):
                done(job)
    finally:
        pool.end()


class _Pool:
    """Processes that do one job after another. Those of the standard library cannot be asked to stop."""

    def __init__(self, n_workers: int, make: Make[Any]):
        context = multiprocessing.get_context("spawn")
        n_threads = max(1, torch.get_num_threads() // n_workers)
        self._processes: dict[Connection, BaseProcess] = {}
        for _ in range(n_workers):
            here, there = context.Pipe()
            assert isinstance(here, Connection)
            process = context.Process(target=_work, args=(there, make, n_threads), daemon=True)
            process.start()
            there.close()
            self._processes[here] = process

    def do(self, jobs: Sequence[Job], progress: Progress) -> Iterator[Job]:
        """Yield every job when it is done."""
        left, idle = deque(jobs), list(self._processes)
        at: dict[Connection, Job] = {}
        while left or at:
            while left and idle:
                connection = idle.pop()
                at[connection] = left.popleft()
                with suppress(BrokenPipeError):  # it died, which is seen below
                    connection.send(at[connection])
            # Only those at work say anything; nobody need be looked for who does not.
            for connection in wait(list(at)):
                assert isinstance(connection, Connection)
                told = self._told(connection)
                if isinstance(told, tuple):
                    progress(*told)
                    continue
                if told is not None:
                    raise told
                idle.append(connection)
                yield at.pop(connection)

    def _told(self, connection: Connection) -> Any:
        """Progress, None for a job that is done, or what it raised."""
        try:
            return connection.recv()
        except (EOFError, ConnectionResetError):
            process = self._processes[connection]
            process.join()
            raise V1BuilderError.of(
                "a process of the comparison died",
                f"one of {len(self._processes)} workers",
                f"exit code {process.exitcode}",
                "run the same command again; with fewer workers, if memory ran out",
            ) from None

    def end(self) -> None:
        """Ask all to stop, once, and wait: a training finishes its step and is saved."""
        for process in self._processes.values():
            process.terminate()
        for connection, process in self._processes.items():
            with suppress(Exception):  # what it still says, until it ends or its job does
                while isinstance(connection.recv(), tuple):
                    pass
            connection.close()
            process.join()


def _work(connection: Connection, make: Make[Any], n_threads: int) -> None:
    """What a process of a pool does; it ends with the one that started it, however that ends.

    A terminal's Ctrl-C is for that one alone, which then asks this one to stop: a training asked twice stops
    at once and loses its last steps.
    """
    os.setpgid(0, 0)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    keep_memory()
    torch.set_num_threads(n_threads)
    worker = make(lambda *told: connection.send(told))
    with suppress(EOFError, OSError):  # nobody listens any more
        while True:
            job, error = connection.recv(), None
            try:
                worker.do(job)
            except KeyboardInterrupt:  # it was asked to stop
                return
            except Exception as raised:
                error = raised
                if not isinstance(error, V1BuilderError):
                    error.add_note(traceback.format_exc())  # which does not travel
            connection.send(error)


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
