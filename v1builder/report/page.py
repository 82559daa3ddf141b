"""Turn a finished comparison into one self-contained HTML page, its figures as files, and a table."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from v1builder.report import figures
from v1builder.schema.citations import write_citations
from v1builder.schema.errors import NetworkError
from v1builder.schema.files import atomic_file, write_text


def _read(run: Path) -> dict[str, Any]:
    path = run / "comparison.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NetworkError.of(
            "the folder holds no finished comparison",
            path,
            "no such file",
            "run `v1builder compare EXPERIMENT.toml --out RUN` to its end first",
        ) from None
    except json.JSONDecodeError as error:
        raise NetworkError.of(
            "the comparison cannot be read", path, error, "run `v1builder compare` again"
        ) from None


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def _draw(comparison: dict[str, Any], run: Path) -> dict[str, Figure]:
    cells = pd.DataFrame(comparison["cells"])
    summary = pd.DataFrame(comparison["summary"])
    drawn = {}
    example = run / "example_trial.npz"
    if example.exists():
        with np.load(example, allow_pickle=False) as trial:
            drawn["network"] = figures.network_figure(
                pd.DataFrame({name: trial[name] for name in ("x", "y", "ei", "pop_name")}),
                pd.DataFrame({"time": trial["spike_time"], "cell": trial["spike_cell"]}),
                (float(trial["stimulus"][0]), float(trial["stimulus"][1])),
            )
    drawn["accuracy"] = figures.accuracy_figure(cells, summary, comparison["chance"])
    trained = cells[cells["protocol"] == "retrain"]
    if len(trained):
        curves = {
            str(ablation): np.array(
                list(trained.loc[trained["ablation"] == ablation, "learning_curve"])
            )
            for ablation in dict.fromkeys(trained["ablation"])
        }
        drawn["learning"] = figures.learning_figure(curves, comparison["chance"])
    if comparison.get("rates"):
        drawn["rates"] = figures.rates_figure(
            pd.DataFrame(comparison["rates"]).set_index("population")
        )
    return drawn


def headline(comparison: dict[str, Any]) -> list[str]:
    """What came out, in sentences, also when nothing did.

    Judged by Student's t, not by the bootstrap interval: with few seeds that is too narrow.
    """
    summary = {
        (row["protocol"], row["ablation"], row["metric"]): row for row in comparison["summary"]
    }
    protocol = comparison["cells"][0]["protocol"]
    intact = summary[protocol, "intact", "accuracy"]
    above = intact["t_interval"][0] is not None and intact["t_interval"][0] > comparison["chance"]
    sentences = [
        f"The intact network answers {intact['mean']:.1%} of held-out trials correctly "
        f"({_interval(intact, '.1%')}, {intact['n']} seeds; chance {comparison['chance']:.0%}): "
        f"{'above' if above else 'not distinguishable from'} chance."
    ]
    for row in comparison["differences"]:
        if row["metric"] != "accuracy":
            continue
        when = (
            "trained after the ablation"
            if row["protocol"] == "retrain"
            else "ablated after training"
        )
        p = row["p_holm"]
        clear = p is not None and p < 0.05
        verdict = "no clear difference from"
        if clear:
            verdict = "lower accuracy than" if row["mean"] < 0 else "higher accuracy than"
        same_sign = sum(difference * row["mean"] > 0 for difference in row["per_seed"])
        sentences.append(
            f"{row['ablation']}, {when}: {verdict} intact ({row['mean']:+.1%}, "
            f"{_interval(row, '+.1%')}, Holm-corrected p = {'undefined' if p is None else f'{p:.2g}'}; "
            f"{same_sign} of {row['n']} seeds on that side)."
        )
    if intact["n"] < 10:
        sentences.append(
            f"{intact['n']} paired seeds show the method; a claim needs at least 10 "
            "(`seeds` in the experiment)."
        )
    return sentences


def _interval(row: dict[str, Any], form: str) -> str:
    """Student's 95 % interval of a mean, for a sentence."""
    low, high = row["t_interval"]
    return "no interval" if low is None else f"95 % interval {low:{form}} to {high:{form}}"


def write_report(run: Path | str) -> Path:
    """Write RUN/report/: index.html, comparison.csv, the figures as PNG, and what to cite.

    Args:
        run: folder of a finished `compare`.

    Returns:
        Path of the page.

    Raises:
        NetworkError: the folder holds no finished comparison.
        StorageError: the report cannot be written.
    """
    run = Path(run)
    comparison = _read(run)
    folder = run / "report"
    images = {}
    for name, figure in _draw(comparison, run).items():
        image = _png(figure)
        with atomic_file(folder / f"{name}.png") as temporary:
            temporary.write_bytes(image)
        images[name] = base64.b64encode(image).decode("ascii")
    table = pd.DataFrame(comparison["cells"]).drop(
        columns=["learning_curve", "matching"], errors="ignore"
    )
    write_text(folder / "comparison.csv", table.to_csv(index=False, lineterminator="\n"))
    if comparison["sources"]:
        write_citations(folder, comparison)
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        (Path(__file__).parent / "page.html.jinja").read_text(encoding="utf-8")
    )
    page = template.render(
        comparison=comparison,
        headline=headline(comparison),
        images=images,
        settings=json.dumps(comparison["experiment"], indent=2),
        versions=comparison["provenance"]["versions"],
    )
    write_text(folder / "index.html", page)
    return folder / "index.html"
