"""The command line: one command per stage. Each prints what it does, and says how to fix what is wrong."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
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

from v1builder.schema.errors import ConfigError, NetworkError, V1BuilderError

# torch, pandas and numba take seconds to import, so each command imports what it needs itself.

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Published Allen Institute data on mouse V1 -> SONATA network -> trainable PyTorch network.",
)
console = Console()
errors = Console(stderr=True)

Out = Annotated[Path, typer.Option("--out", help="Folder to write. Must not exist, or be empty.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there, once done.")]
Net = Annotated[Path, typer.Argument(help="Folder of a network (holds circuit_config.json).")]
ExperimentFile = Annotated[Path, typer.Argument(help="Experiment, a TOML file.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run stopped.")]


class _Bars:
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

    def __enter__(self) -> "_Bars":
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
        if self._interrupted:
            raise KeyboardInterrupt
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(escape(stage), total=total)
        self._progress.update(self._tasks[stage], completed=done, total=total)

    def heading(self, title: str, command: str) -> None:
        """Begin a part of the work; `command` is what would run it alone."""
        self._progress.stop()
        console.print(f"\n[bold]{escape(title)}[/]   [dim]{escape(command)}[/]", highlight=False)
        self._begin()
        self._progress.start()


@app.command()
def fetch(
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write; with --diff, a CSV file.")
    ] = None,
    source: Annotated[
        str, typer.Option(help="snapshot (shipped with the package) or live (the Allen services).")
    ] = "snapshot",
    select: Annotated[
        list[str] | None,
        typer.Option(help="Live sources: cell_types, synaptic_physiology, neuropixels; else all."),
    ] = None,
    pins: Annotated[
        Path | None, typer.Option(help="Hashes that downloads must have: pins.toml of a store.")
    ] = None,
    service: Annotated[
        list[str] | None,
        typer.Option(help="SOURCE=ADDRESS of a mirror, in place of the published."),
    ] = None,
    diff: Annotated[
        tuple[str, str] | None,
        typer.Option("--diff", help="Compare two stores (or 'snapshot') instead of fetching."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Put the published tables into a store, verified; from the live services, only what is missing."""
    from v1builder import stores

    if diff is not None:
        _show_differences(*diff, out)
        return
    if out is None:
        raise ConfigError.of("no folder for the store", "fetch, --out", fix="pass --out FOLDER")
    mirrors = {name: address for name, _, address in (one.partition("=") for one in service or ())}
    with _Bars() as progress:
        stores.fetch(
            out,
            source=source,
            overwrite=overwrite,
            progress=progress if source == stores.LIVE else None,
            select=select or stores.LIVE_SOURCES,
            pins=pins,
            services=mirrors,
        )
    left_out = out / "extra" / "left_out.csv"
    if source == stores.LIVE and left_out.is_file():
        n_left_out = len(left_out.read_text(encoding="utf-8").splitlines()) - 1
        console.print(f"specimens and models left out, with the reason: {n_left_out} ({left_out})")
    console.print(f"store: {out}")


def _show_differences(before: str, after: str, out: Path | None) -> None:
    from v1builder.curate.compare import compare_stores, differences_frame, summary
    from v1builder.schema.files import write_text

    found = compare_stores(*(None if one == "snapshot" else one for one in (before, after)))
    for line in summary(found):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if out is not None:
        write_text(out, differences_frame(found).to_csv(index=False))
        console.print(f"all of them: {out}")


@app.command()
def build(
    out: Out,
    radius: Annotated[float, typer.Option(help="Radius of the column, um (30 to 700).")] = 100.0,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 1,
    store: Annotated[
        Path | None, typer.Option(help="Store made by fetch; else the snapshot.")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe TOML; else the published model.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Build a V1 column with its LGN and background as a SONATA network."""
    from v1builder import pipeline

    with _Bars() as progress:
        pipeline.build(
            out,
            radius=radius,
            seed=seed,
            store=store,
            recipe=recipe,
            overwrite=overwrite,
            progress=progress,
        )
    console.print(f"network: {out}")


@app.command()
def validate(net: Net) -> None:
    """Check a network folder and list every problem."""
    from v1builder.sonata import validate as find_problems

    problems = find_problems(net)
    if problems:
        raise NetworkError(problems)
    console.print(f"{net}: no problem found")


@app.command()
def info(net: Net) -> None:
    """Say what is in a network: populations, cells, edges, models, sources, citations."""
    from v1builder.load import load_network
    from v1builder.report.inventory import take_inventory

    network = load_network(net)
    inventory = take_inventory(network)
    for title, frame in (("Populations", inventory.populations), ("Edges", inventory.edges)):
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for name in frame.columns:
            table.add_column(name, justify="left" if frame[name].dtype == object else "right")
        for row in frame.itertuples(index=False):
            table.add_row(
                *(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row)
            )
        console.print(table)
        console.print()
    console.print("Built with", inventory.settings)
    for sentence in network.provenance.get("defaults", []):
        console.print(f"[yellow]default:[/] {escape(sentence)}", highlight=False)
    console.print("\nSources (cite them):")
    for source in inventory.sources:
        console.print(f"  - {source.get('citation', source)}", highlight=False)
        if source.get("licence"):
            taken = f", taken {source['retrieved']}" if source.get("retrieved") else ""
            text = f"{source.get('version', '')}{taken}. {source['licence']}"
            console.print(f"    [dim]{escape(text)}[/dim]", highlight=False)


@app.command()
def simulate(
    config: Annotated[Path, typer.Argument(help="SONATA simulation config, JSON.")],
    backend: Annotated[str, typer.Option(help="auto, fused or reference.")] = "auto",
) -> None:
    """Run a SONATA simulation config; spikes and reports go where it says."""
    from v1builder.simulate import simulate as run

    with _Bars() as progress:
        result = run(config, backend=backend, progress=progress)
    console.print(f"output: {result}")


@app.command()
def calibrate(
    net: Net,
    out: Out,
    seed: Annotated[int, typer.Option(help="Of all spike trains. Same seed, same bytes.")] = 1,
    targets: Annotated[
        Path | None, typer.Option(help="CSV: population, target_median_rate_Hz; else NET's own.")
    ] = None,
    fraction: Annotated[
        float, typer.Option(help="Of the targets. The published weights correspond to 0.27.")
    ] = 1.0,
    tolerance: Annotated[float, typer.Option(help="Relative, of each median rate.")] = 0.01,
    seconds: Annotated[
        float | None, typer.Option(help="Simulated time per cell; else by number and rate.")
    ] = None,
    trials: Annotated[int, typer.Option(help="Gratings per direction, recurrence on.")] = 10,
    overwrite: Overwrite = False,
) -> None:
    """Tune background weights to spontaneous rates; compare the network with recordings."""
    import json

    from v1builder.calibrate import calibrate as run
    from v1builder.report.operating_point import sentences

    with _Bars() as progress:
        run(
            net,
            out,
            seed=seed,
            targets=targets,
            fraction=fraction,
            tolerance=tolerance,
            seconds=seconds,
            trials=trials,
            overwrite=overwrite,
            progress=progress,
        )
    page = out / "calibration" / "index.html"
    for sentence in sentences(json.loads(page.with_name("calibration.json").read_text())):
        console.print(f"  - {escape(sentence)}", highlight=False)
    console.print(f"network: {out}\npage: {page}")


@app.command()
def characterize(net: Net, out: Out, overwrite: Overwrite = False) -> None:
    """Measure rheobase, f-I curves, PSPs and connection statistics, against data and the rule."""
    from v1builder.characterize import characterize as run

    with _Bars() as progress:
        page = run(net, out, overwrite=overwrite, progress=progress)
    console.print(f"page: {page}")


@app.command()
def train(
    experiment: ExperimentFile,
    out: Out,
    resume: Resume = False,
    devices: Annotated[
        int | None, typer.Option(help="Processes that share every batch; else 1, or torchrun's.")
    ] = None,
    nodes: Annotated[int | None, typer.Option(help="Machines, see docs/cluster.md.")] = None,
    accelerator: Annotated[str, typer.Option(help="cpu, or cuda (a GPU per process).")] = "cpu",
) -> None:
    """Train the experiment's intact network with its first seed."""
    from v1builder.train import load_experiment
    from v1builder.train import train as run
    from v1builder.train.parallel import is_first

    with _Bars() as progress:
        result = run(
            load_experiment(experiment),
            out,
            resume=resume,
            devices=devices,
            nodes=nodes,
            accelerator=accelerator,
            progress=lambda done, total, _record: progress("training", done, total),
        )
    if not is_first():
        return
    console.print(f"held-out accuracy: {result['accuracy']:.3f} ({result['n_trials']} trials)")
    console.print(f"run: {out}")


@app.command()
def compare(
    experiment: ExperimentFile,
    out: Out,
    engine: Annotated[str, typer.Option(help="local, or ray (see docs/cluster.md).")] = "local",
) -> None:
    """Train and test every ablated network with every seed; finished ones are not run again."""
    from v1builder.experiments import compare as run
    from v1builder.train import load_experiment

    with _Bars() as progress:
        run(load_experiment(experiment), out, engine=engine, progress=progress)
    console.print(f"comparison: {out / 'comparison.json'}")


@app.command()
def report(run: Annotated[Path, typer.Argument(help="Folder of a finished compare.")]) -> None:
    """Write figures, a table and one HTML page about a comparison."""
    from v1builder.report import write_report

    console.print(f"report: {write_report(run)}")


@app.command()
def verify(
    out: Out,
    select: Annotated[
        list[str] | None,
        typer.Option(
            help="Only cases whose topic or name has this word; * and ? as in file names."
        ),
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Leave slow cases out.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Compare with NEST, BMTK, allensdk and libsonata; write the table of agreement."""
    from v1builder.verify import verify as run
    from v1builder.verify.table import shown

    with _Bars() as progress:
        rows = run(out, select=select or (), slow=not fast, overwrite=overwrite, progress=progress)
    console.print(shown(rows))
    console.print(f"table: {out / 'agreement.md'}")
    if any(row.passed is False for row in rows):
        raise typer.Exit(1)


@app.command()
def demo(out: Out = Path("demo"), overwrite: Overwrite = False) -> None:
    """The whole way on a laptop: fetch, build, validate, train, ablate, compare, report."""
    from v1builder.demo import run_demo

    with _Bars() as progress:
        page = run_demo(out, overwrite=overwrite, heading=progress.heading, progress=progress)
    console.print(f"\nThe report: {page}")


def main() -> None:
    """Entry point: an error a user can mend is printed as such, with exit code 1."""
    # torch and numba each bring an OpenMP runtime. Threads of one that spin while they wait for work
    # hold the cores the other needs, which costs a factor of 5 on two busy cores. Read when loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except V1BuilderError as error:
        for problem in error.problems:
            errors.print(
                f"[bold red]error:[/] {escape(str(problem))}", highlight=False, soft_wrap=True
            )
        if len(error.problems) > 1:
            errors.print(f"{len(error.problems)} problems")
        sys.exit(1)
