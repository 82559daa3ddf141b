"""The command line: one command per stage. Each prints what it does, and says how to fix what is wrong."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from v1builder.schema.errors import ConfigError, NetworkError, V1BuilderError
from v1builder.schema.memory import keep_memory
from v1builder.terminal import (
    Bars,
    console,
    errors,
    print_any_name,
    show_differences,
    show_learned_delays,
    show_problem,
    show_sources,
    show_store,
    show_table,
    show_unexpected,
    written,
)

# torch, pandas and numba take seconds to import, so each command imports what it needs itself.

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Published Allen Institute data on mouse V1 -> SONATA network -> trainable PyTorch network.",
)

Out = Annotated[Path, typer.Option("--out", help="Folder to write. Must not exist, or be empty.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there, once done.")]
Net = Annotated[Path, typer.Argument(help="Folder of a network (holds circuit_config.json).")]
ExperimentFile = Annotated[Path, typer.Argument(help="Experiment, a TOML file.")]
Carry = Annotated[
    str, typer.Option(help="psp: weights fit the new cells; none: they stay in pA (breaks rates).")
]
Background = Annotated[
    str, typer.Option(help="calibrated: tuned for new cells; ratio: its part of rheobase stays.")
]
Trials = Annotated[
    int, typer.Option(help="Of gray and of drifting gratings, for the table.", min=1)
]
Accelerator = Annotated[
    str,
    typer.Option(help="Where networks compute: cpu, cuda, or auto for a GPU where there is one."),
]
AsExperiment = Annotated[
    str | None,
    typer.Option("--accelerator", help="cpu, cuda or auto; else as the experiment says."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run stopped.")]


def _version(shown: bool) -> None:
    if shown:
        from importlib.metadata import version

        console.print(version("v1builder"), highlight=False)
        raise typer.Exit


#: Commands that go through many batches of trials.
_MANY_BATCHES = {"train", "battery", "compare", "measure", "lesion", "judge", "demo"}


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say it and exit.")
    ] = False,
) -> None:
    """Options of all commands."""
    del version
    if context.invoked_subcommand in _MANY_BATCHES:
        keep_memory()


@app.command()
def fetch(
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write; with --diff, a CSV file.")
    ] = None,
    source: Annotated[
        str,
        typer.Option(
            help="snapshot (shipped with the package), live (the Allen services); or images: "
            "fashion_mnist, mnist."
        ),
    ] = "snapshot",
    origin: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Images: folder of their IDX files, or Debian package; else a download."
        ),
    ] = None,
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
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out models without a parameter file.")
    ] = False,
    diff: Annotated[
        tuple[str, str] | None,
        typer.Option("--diff", help="Compare two stores (or 'snapshot') instead of fetching."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Put published tables into a store, or images into a folder, verified; live: only what is missing."""
    from v1builder import stores

    if diff is not None:
        show_differences(*diff, out)
        return
    if out is None:
        raise ConfigError.of("no folder for the store", "fetch, --out", fix="pass --out FOLDER")
    live_only = {
        "select": select, "pins": pins, "service": service, "allow-missing": allow_missing
    }  # fmt: skip
    used = ", ".join(f"--{name}" for name, value in live_only.items() if value)
    if used and source != stores.LIVE:
        fix = "add --source live, or leave them out"
        raise ConfigError.of("these options are for live sources", "fetch", used, fix)
    of_tables = source in ("snapshot", stores.LIVE)
    if of_tables and origin is not None:
        fix = "add the --source of the images, such as fashion_mnist, or leave it out"
        raise ConfigError.of("this option is for images", "fetch", "--from", fix)
    mirrors = {name: address for name, _, address in (one.partition("=") for one in service or ())}
    with Bars() as progress:
        stores.fetch(
            out,
            source=source,
            overwrite=overwrite,
            progress=progress if source != "snapshot" else None,
            select=select or stores.LIVE_SOURCES,
            pins=pins,
            services=mirrors,
            allow_missing=allow_missing,
            origin=origin,
        )
    if source == stores.LIVE:
        show_store(out)
    if not of_tables:
        from v1builder.load.images import read_image_set

        for split, part in read_image_set(out).items():
            n, rows, columns = part.images.shape
            classes = f"{len(part.class_names)} classes"
            console.print(f"{split}: {n} images of {rows} x {columns}, {classes}", highlight=False)
    written("store" if of_tables else "images", out)


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

    with Bars() as progress:
        pipeline.build(
            out,
            radius=radius,
            seed=seed,
            store=store,
            recipe=recipe,
            overwrite=overwrite,
            progress=progress,
        )
    written("network", out)
    if (out / "network" / "boundary_nodes.h5").exists():
        console.print(
            f"its cells hear a boundary that the published background was not tuned with: "
            f"v1builder calibrate {out} --out TUNED"
        )


@app.command()
def validate(net: Net) -> None:
    """Check a network folder and list every problem."""
    from v1builder.validate import validate as find_problems

    problems = find_problems(net)
    if problems:
        raise NetworkError(problems)
    console.print(f"{net}: no problem found", soft_wrap=True)


@app.command()
def info(
    net: Annotated[Path, typer.Argument(help="Folder of a network, or of a store.")],
    html: Annotated[
        Path | None, typer.Option(help="Of a network: write an interactive page about it.")
    ] = None,
) -> None:
    """Say what is in a network or a store: cells, models, tables, sources, citations."""
    from v1builder.load import load_network
    from v1builder.report.inventory import take_inventory

    if (net / "tables").is_dir() or (net / "raw").is_dir():
        show_store(net, sources=True)
        return
    network = load_network(net)
    if html is not None:
        from v1builder.report.network_page import write_network_page

        written("page", write_network_page(network, html, name=net.resolve().name))
        return
    inventory = take_inventory(network)
    show_table(inventory.populations, "Populations")
    show_table(inventory.edges, "Edges")
    console.print("Built with", inventory.settings)
    for sentence in network.provenance.get("defaults", []):
        console.print(Text.assemble(("default:", "yellow"), " ", sentence), highlight=False)
    for sentence in inventory.notes:
        console.print(sentence, highlight=False, soft_wrap=True)
    console.print()
    show_sources(inventory.sources)


@app.command()
def simulate(
    config: Annotated[Path, typer.Argument(help="SONATA simulation config, JSON.")],
    backend: Annotated[str, typer.Option(help="auto, fused, triton or reference.")] = "auto",
    accelerator: Accelerator = "cpu",
) -> None:
    """Run a SONATA simulation config; spikes and reports go where it says."""
    from v1builder.simulate import simulate as run

    with Bars() as progress:
        result = run(
            config, backend=backend, accelerator=accelerator, progress=progress, say=_noted
        )
    written("output", result)


def _noted(sentence: str) -> None:
    console.print(Text.assemble(("note:", "yellow"), " ", sentence), highlight=False)


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
    accelerator: Accelerator = "cpu",
    overwrite: Overwrite = False,
) -> None:
    """Tune background weights to spontaneous rates; compare the network with recordings."""
    import json

    from v1builder.calibrate import calibrate as run
    from v1builder.report.operating_point import sentences

    with Bars() as progress:
        run(
            net,
            out,
            seed=seed,
            targets=targets,
            fraction=fraction,
            tolerance=tolerance,
            seconds=seconds,
            trials=trials,
            accelerator=accelerator,
            overwrite=overwrite,
            progress=progress,
        )
    page = out / "calibration" / "index.html"
    for sentence in sentences(json.loads(page.with_name("calibration.json").read_text())):
        console.print(f"  - {sentence}", highlight=False)
    written("network", out)
    written("page", page)


@app.command()
def characterize(net: Net, out: Out, overwrite: Overwrite = False) -> None:
    """Measure rheobase, f-I curves, PSPs and connection statistics, against data and the rule."""
    from v1builder.characterize import characterize as run

    with Bars() as progress:
        page = run(net, out, overwrite=overwrite, progress=progress)
    written("page", page)


@app.command()
def train(
    experiment: ExperimentFile,
    out: Out,
    resume: Resume = False,
    devices: Annotated[
        int | None, typer.Option(help="Processes that share every batch; else 1, or torchrun's.")
    ] = None,
    nodes: Annotated[int | None, typer.Option(help="Machines, see docs/cluster.md.")] = None,
    accelerator: AsExperiment = None,
) -> None:
    """Train the experiment's intact network with its first seed."""
    from v1builder.train import load_experiment
    from v1builder.train import train as run
    from v1builder.train.parallel import is_first

    with Bars() as progress:
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
    main = result["main_score"]
    console.print(f"held-out {main['label']}: {main['value']:.3f} ({result['n_trials']} trials)")
    for name, further in result.get("also", {}).items():
        main = further["main_score"]
        console.print(
            f"{name}, held-out {main['label']}: {main['value']:.3f} ({further['n_trials']} trials)"
        )
    written("run", out)


@app.command()
def battery(
    experiments: Annotated[list[Path], typer.Argument(help="Experiment files, one per task.")],
    out: Out,
    baseline_trials: Annotated[
        int,
        typer.Option(min=16, help="From which each baseline learns, and on which it is tested."),
    ] = 1024,
    accelerator: AsExperiment = None,
) -> None:
    """Train a network on several tasks, each beside chance, the LGN and the untrained column."""
    from v1builder.experiments.battery import markdown, run_battery

    with Bars() as progress:
        rows = run_battery(
            experiments,
            out,
            baseline_trials=baseline_trials,
            accelerator=accelerator,
            progress=progress,
        )
    console.print(markdown(rows), highlight=False, soft_wrap=True)
    written("table", out / "tasks.md")


@app.command()
def compare(
    experiment: ExperimentFile,
    out: Out,
    engine: Annotated[str, typer.Option(help="local, or ray (see docs/cluster.md).")] = "local",
    workers: Annotated[
        int, typer.Option(help="Processes on this machine, each for one condition at a time.")
    ] = 1,
    accelerator: AsExperiment = None,
) -> None:
    """Train and test every ablated network with every seed; finished ones are not run again."""
    from v1builder.experiments import compare as run
    from v1builder.train import load_experiment

    with Bars() as progress:
        run(
            load_experiment(experiment),
            out,
            engine=engine,
            workers=workers,
            accelerator=accelerator,
            pages=True,
            progress=progress,
        )
    written("comparison", out / "comparison.json")
    written("report", out / "report" / "index.html")


@app.command()
def ablate(
    net: Net,
    ablation: Annotated[str, typer.Argument(help="Such as 'mean(population) | no_asc'.")],
    out: Out,
    seed: Annotated[int, typer.Option(help="Of random ablations, and of the trials.")] = 1,
    carry: Carry = "psp",
    background: Background = "calibrated",
    accelerator: Accelerator = "cpu",
    trials: Trials = 16,
    overwrite: Overwrite = False,
) -> None:
    """Write the ablated network as SONATA, and its operating point beside the intact one's."""
    from v1builder.experiments.ablate import ablate_network
    from v1builder.experiments.operating_table import markdown

    with Bars() as progress:
        rows = ablate_network(
            net,
            ablation,
            out,
            seed=seed,
            carry=carry,
            background=background,
            accelerator=accelerator,
            n_trials=trials,
            overwrite=overwrite,
            progress=progress,
        )
    console.print(markdown(rows), highlight=False, soft_wrap=True)
    written("network", out)


@app.command()
def operating_point(
    nets: Annotated[list[Path], typer.Argument(help="Networks, as of several seeds.")],
    out: Annotated[
        Path, typer.Option("--out", help="Markdown file; its numbers as JSON beside it.")
    ],
    ablation: Annotated[
        list[str] | None, typer.Option(help="May be given several times; a catalogue unless given.")
    ] = None,
    carry: Carry = "psp",
    background: Background = "calibrated",
    accelerator: Accelerator = "cpu",
    trials: Trials = 16,
) -> None:
    """Rates, silent cells and spread of ablated networks beside the intact, held against the bars.

    What is done is kept beside the table until it is written, so that an interrupted command goes on.
    """
    from v1builder.experiments import operating_table as table

    with Bars() as progress:
        rows = table.measure(
            nets,
            ablation or table.DEFAULT_ABLATIONS,
            out=out,
            carry=carry,
            background=background,
            accelerator=accelerator,
            n_trials=trials,
            progress=progress,
        )
    table.write(rows, out, table.title(nets, carry, background, trials))
    console.print(table.markdown(rows), highlight=False, soft_wrap=True)
    written("table", out)


@app.command()
def measure(
    net: Annotated[
        Path, typer.Argument(help="Folder of a network, or of a finished train or compare.")
    ],
    out: Annotated[
        Path,
        typer.Option("--out", help="CSV file; what made it, and the same rows, as JSON beside it."),
    ],
    task: Annotated[
        str | None,
        typer.Option(
            help="Name of a task, with its defaults; or an experiment that has one. A run has its own."
        ),
    ] = None,
    select: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this measure or protocol, several times if need be. Else measures but of currents."
        ),
    ] = None,
    ablation: Annotated[
        list[str] | None,
        typer.Option(
            help="Several times if need be; of a network none unless given, of a run all."
        ),
    ] = None,
    protocol: Annotated[
        list[str] | None, typer.Option(help="Of a comparison: only this; all unless given.")
    ] = None,
    trials: Annotated[
        int,
        typer.Option(
            help="Of each network, the same for all; equally often of every class.", min=1
        ),
    ] = 20,
    level: Annotated[
        list[str] | None,
        typer.Option(
            help="Groups: network, layer, class, population, cell, or a node set; else all but cells."
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Of trials, spikes, random ablations: 1; of a run only this, else all."),
    ] = None,
    carry: Carry = "psp",
    background: Background = "calibrated",
    accelerator: Accelerator = "cpu",
    overwrite: Overwrite = False,
) -> None:
    """Write measures of a network as it is, intact and ablated, or of a run before and after training."""
    from v1builder.experiments.finished import FinishedRun
    from v1builder.experiments.measure_network import measure_network, task_named
    from v1builder.experiments.measure_run import measure_run
    from v1builder.schema.files import check_free

    if FinishedRun.is_one(net):
        if task is not None:
            raise ConfigError.of("a run has its own task", "measure, --task", task, "leave it out")
        check_free(out, overwrite=overwrite)
        with Bars() as progress:
            measure_run(
                net,
                out,
                select=select or (),
                protocols=protocol or (),
                ablations=ablation or (),
                seeds=() if seed is None else (seed,),
                n_trials=trials,
                levels=level,
                accelerator=accelerator,
                progress=progress,
            )
        written("table", out)
        return
    if protocol:
        fix = "leave it out, or give the folder of a compare"
        raise ConfigError.of("a network has no protocols", "measure, --protocol", protocol[0], fix)
    settings, dt = (None, 1.0) if task is None else task_named(task)
    check_free(out, overwrite=overwrite)
    with Bars() as progress:
        measured = measure_network(
            net,
            settings,
            select=select or (),
            ablations=ablation or (),
            n_trials=trials,
            levels=level,
            seed=1 if seed is None else seed,
            dt=dt,
            carry=carry,
            background=background,
            accelerator=accelerator,
            out=out,
            progress=progress,
        )
    measured.write(out)
    written("table", out)


@app.command()
def lesion(
    run: Annotated[Path, typer.Argument(help="Folder of a finished train or compare.")],
    out: Annotated[Path, typer.Option("--out", help="CSV file; what made it as JSON beside it.")],
    level: Annotated[
        str, typer.Option(help="Groups: layer, class, population, or a node set.")
    ] = "population",
    protocol: Annotated[str, typer.Option(help="Of the condition.")] = "retrain",
    ablation: Annotated[str, typer.Option(help="Of the condition.")] = "intact",
    seed: Annotated[int | None, typer.Option(help="Of the condition; else all.")] = None,
    trials: Annotated[int, typer.Option(help="Of the test, for each lesion.", min=1)] = 256,
    accelerator: Accelerator = "cpu",
    overwrite: Overwrite = False,
) -> None:
    """Silence every type of cell of a trained network, and as many others at random: what it loses."""
    from v1builder.experiments.measure_run import lesion_run
    from v1builder.schema.files import check_free

    check_free(out, overwrite=overwrite)
    with Bars() as progress:
        lesion_run(
            run,
            out,
            level=level,
            protocols=[protocol],
            ablations=[ablation],
            seeds=() if seed is None else (seed,),
            n_trials=trials,
            accelerator=accelerator,
            progress=progress,
        )
    written("table", out)


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(help="Folder of a finished compare.")],
    select: Annotated[
        list[str] | None,
        typer.Option(
            help="A further metric, MEASURE[GROUP]:WINDOW@PHASE; several times if need be."
        ),
    ] = None,
) -> None:
    """Say which metrics explain what ablations do to the outcome, as far as it can be said."""
    from v1builder.experiments.explain import explain_run, markdown
    from v1builder.schema.files import write_json

    found = explain_run(run, select or ())
    console.print(markdown(found), highlight=False, soft_wrap=True)
    write_json(run / "explanation.json", found)
    written("explanation", run / "explanation.json")


@app.command()
def judge(
    run_or_net: Annotated[
        Path, typer.Argument(help="Folder of a finished train or compare, or of a network.")
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Markdown file; its numbers as JSON beside it.")
    ],
    core: Annotated[
        float | None, typer.Option(help="Cells within so many um are judged; else as trained.")
    ] = None,
    ablation: Annotated[str, typer.Option(help="Of the condition.")] = "intact",
    protocol: Annotated[str, typer.Option(help="Of the condition.")] = "retrain",
    repeats: Annotated[
        int, typer.Option(help="Gratings of 2 s in each direction; 15 were recorded.", min=2)
    ] = 15,
    contrasts: Annotated[
        int, typer.Option(help="Gratings of each contrast and direction.", min=1)
    ] = 2,
    images: Annotated[int, typer.Option(help="Sequences of photographs.", min=1)] = 24,
    accelerator: Accelerator = "cpu",
    seed: Annotated[int, typer.Option(help="Of trials and spikes.")] = 1,
    overwrite: Overwrite = False,
) -> None:
    """Compare a network, before and after training, with recordings that it was not trained to."""
    from v1builder.experiments import judge as judging
    from v1builder.experiments.judge_table import markdown, write
    from v1builder.schema.files import check_free

    check_free(out, overwrite=overwrite)
    subject = judging.subject_of(
        run_or_net,
        core_radius_um=core,
        ablation=ablation,
        protocol=protocol,
        accelerator=accelerator,
    )
    with Bars() as progress:
        shown = judging.Repeats(repeats, contrasts, images)
        result = judging.judge(
            subject, shown, seed=seed, accelerator=accelerator, progress=progress
        )
    write(result, out)
    console.print(markdown(result), highlight=False, soft_wrap=True)
    written("table", out)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a finished train or compare.")],
    out: Out,
    protocol: Annotated[str, typer.Option(help="Of the condition.")] = "retrain",
    ablation: Annotated[str, typer.Option(help="Of the condition.")] = "intact",
    seed: Annotated[int | None, typer.Option(help="Of the condition; else the first.")] = None,
    accelerator: Accelerator = "cpu",
    overwrite: Overwrite = False,
) -> None:
    """Write a trained network, intact or a condition of a comparison, as SONATA."""
    from v1builder.experiments.export import trained_network
    from v1builder.load import save_network

    network, origin = trained_network(
        run, protocol=protocol, ablation=ablation, seed=seed, accelerator=accelerator
    )
    save_network(network, out, overwrite=overwrite, recordings_of=origin)
    written("network", out)
    show_learned_delays(network.provenance)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a compare, finished or still running.")],
) -> None:
    """Write one interactive HTML page about a comparison, and a table."""
    from v1builder.report import write_report

    written("report", write_report(run))


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

    with Bars() as progress:
        rows = run(out, select=select or (), slow=not fast, overwrite=overwrite, progress=progress)
    console.print(shown(rows))
    written("table", out / "agreement.md")
    if any(row.passed is False for row in rows):
        raise typer.Exit(1)


@app.command()
def demo(out: Out = Path("demo"), overwrite: Overwrite = False) -> None:
    """The whole way on a laptop: fetch, build, validate, train, ablate, compare, report."""
    from v1builder.demo import run_demo

    with Bars() as progress:
        page = run_demo(out, overwrite=overwrite, heading=progress.heading, progress=progress)
    written("\nThe report", page)


def main() -> None:
    """Entry point: an error is printed with how to mend it, never as a traceback; exit code 1."""
    print_any_name()
    try:
        app(prog_name="v1builder")  # also for python -m v1builder
    except V1BuilderError as error:
        for problem in error.problems:
            show_problem(problem)
        if len(error.problems) > 1:
            errors.print(f"{len(error.problems)} problems")
        sys.exit(1)
    except Exception as error:
        show_unexpected(error)
        sys.exit(1)
