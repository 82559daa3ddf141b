"""What the command line prints: progress, tables, stores, differences, what went wrong."""

import io
import platform
import shlex
import signal
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from v1builder.schema.errors import Problem
from v1builder.schema.files import NO_ROOM, storage_error
from v1builder.schema.names import LEARNED_DELAYS

if TYPE_CHECKING:
    import pandas as pd

# What is printed has names out of files: brackets and colons in them are no markup.
console = Console(markup=False, emoji=False)
errors = Console(stderr=True, markup=False, emoji=False)


def print_any_name() -> None:
    """Let streams print names that they have no characters for, such as file names of another encoding."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def show_problem(problem: Problem) -> None:
    """Print what is wrong and how to mend it."""
    errors.print(
        Text.assemble(("error:", "bold red"), " ", str(problem)), highlight=False, soft_wrap=True
    )


def show_unexpected(error: Exception) -> None:
    """Say that something failed of which no message was thought of; the traceback goes to a file."""
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        where = Path(str(error.filename)) if error.filename else Path.cwd()
        for problem in storage_error(error, where).problems:
            show_problem(problem)
        return
    said = str(error).strip().splitlines() or [""]
    what = f"{type(error).__name__}: {said[0]}" if said[0] else type(error).__name__
    fix = "send it to the developers with what you did"
    if isinstance(error, MemoryError):
        fix = "make the network, the batch or the trials smaller"
    show_problem(Problem("this should not have happened", _kept(error), what[:500], fix))


def _kept(error: Exception) -> str:
    """Write the traceback to a file; says where it is."""
    text = (
        f"command: {shlex.join(sys.argv)}\n"
        f"python: {platform.python_version()} {platform.platform()}\n\n"
        + "".join(traceback.format_exception(error))
    )
    try:
        with tempfile.NamedTemporaryFile(
            "w",
            prefix="v1builder-",
            suffix=".txt",
            delete=False,
            encoding="utf-8",
            errors="backslashreplace",
        ) as file:
            file.write(text)
    except OSError:  # not even there
        return text
    return f"traceback in {file.name}"


def written(what: str, path: Path) -> None:
    """Say where a result lies, on one line however narrow the terminal: a person copies it."""
    console.print(f"{what}: {path}", highlight=False, soft_wrap=True)


class Bars:
    """Progress bars, one per stage; a heading closes those above it.

    An instance is a context manager and a progress callback (stage, done, total). It also sees to
    Ctrl-C: Python drops a KeyboardInterrupt that falls into a destructor or weak reference callback,
    of which h5py has many, so it is remembered and raised again at the next sign of progress.
    """

    def __init__(self) -> None:
        self._interrupted = False
        self._begin()

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        self._interrupted = True
        raise KeyboardInterrupt

    def _begin(self) -> None:
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, console=console)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "Bars":
        self._previous = signal.signal(signal.SIGINT, self._interrupt)
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        self._progress.stop()
        signal.signal(signal.SIGINT, self._previous)
        if kind is KeyboardInterrupt:
            errors.print(
                "interrupted; nothing half-written is left. "
                "Run the same command again (train: with --resume)."
            )

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Move the bar of a stage; begin it where there is none."""
        if self._interrupted:
            raise KeyboardInterrupt
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(escape(stage), total=total)
        self._progress.update(self._tasks[stage], completed=done, total=total)

    def heading(self, title: str, command: str) -> None:
        """Begin a part of the work; `command` is what would run it alone."""
        self._progress.stop()
        console.print(
            Text.assemble("\n", (title, "bold"), "   ", (command, "dim")), highlight=False
        )
        self._begin()
        self._progress.start()


def show_learned_delays(provenance: Mapping[str, Any]) -> None:
    """Say how far the delays of an exported network are from those that were learned."""
    for edges, record in provenance.get(LEARNED_DELAYS, {}).items():
        console.print(
            f"delays of {edges}: {record['moved_edges']:.0%} of the edges moved; rounded to whole steps by "
            f"{record['mean_rounding_ms']:.2f} ms on average, {record['largest_rounding_ms']:.2f} at most"
        )


def show_differences(before: str, after: str, out: Path | None) -> None:
    """Print what is different between two stores; all of it goes to `out` as CSV."""
    from v1builder.curate.compare import (
        compare_stores,
        differences_frame,
        source_changes,
        summary,
    )
    from v1builder.schema.files import write_text

    stores = [None if one == "snapshot" else one for one in (before, after)]
    found = compare_stores(*stores)
    for line in source_changes(*stores) + summary(found):
        console.print(line, highlight=False, soft_wrap=True)
    if out is not None:
        write_text(out, differences_frame(found).to_csv(index=False))
        written("all of them", out)


def show_table(frame: "pd.DataFrame", title: str) -> None:
    """Print a table; numbers with 3 digits."""
    from pandas.api.types import is_numeric_dtype

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in frame.columns:
        table.add_column(name, justify="right" if is_numeric_dtype(frame[name]) else "left")
    for row in frame.itertuples(index=False):
        table.add_row(*(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row))
    console.print(table)
    console.print()


def show_sources(sources: list[dict[str, Any]]) -> None:
    """Print what to cite, with version and licence."""
    console.print("Sources (cite them):")
    for source in sources:
        console.print(f"  - {source.get('citation', source)}", highlight=False)
        if source.get("licence"):
            taken = f", taken {source['retrieved']}" if source.get("retrieved") else ""
            text = f"{source.get('version', '')}{taken}. {source['licence']}"
            console.print(Text(f"    {text}", "dim"), highlight=False)


def show_store(folder: Path, sources: bool = False) -> None:
    """Check a store and print what is in it, and its sources if asked."""
    from v1builder.curate.inventory import take_store_inventory

    inventory = take_store_inventory(folder)
    show_table(inventory.tables, "Tables")
    for sentence in inventory.notes:
        console.print(f"  {sentence}", highlight=False, soft_wrap=True)
    if sources:
        show_sources(inventory.sources)
