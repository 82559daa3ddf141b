"""What came out, in sentences, and what it rests on: what a page begins with."""

from typing import Any

from v1builder.report import comparison_tables as tables

Row = dict[str, Any]


def headline(comparison: Row) -> list[str]:
    """What came out, also when nothing did: the answer, its validity, and whether it learned.

    Judged by Student's t, not by the bootstrap interval: with few seeds that is too narrow.
    """
    return [answer(comparison), tables.validity(comparison), learned(comparison)]


def answer(comparison: Row) -> str:
    """The answer in one sentence; of a run that is not finished, what is missing."""
    unfinished = comparison.get("unfinished")
    if unfinished is not None:
        done, seeds = unfinished["done"], unfinished["seeds"]
        return (
            f"Not finished: {done} of {seeds} seeds have all their conditions. Nothing is tested before all "
            "have: who looks early finds by chance what is not there."
        )
    return comparison.get(
        "sentence", "Made by an earlier version, without verdicts: run `v1builder compare` again."
    )


def learned(comparison: Row) -> str:
    """Whether the intact network answers better than by guessing."""
    main = next(iter(tables.scores_of(comparison).values()))
    intact = next(
        row
        for row in comparison["summary"]
        if row["ablation"] == "intact" and row["metric"] == main["name"]
    )
    low, high = intact["t_interval"]
    above = low is not None and low > main["chance"]
    proportion = main["unit"] == "proportion"
    form = ".1%" if proportion else ".2f"
    between = "no interval" if low is None else f"95 % interval {low:{form}} to {high:{form}}"
    said = (
        f"answers {intact['mean']:.1%} of held-out trials correctly"
        if main["name"] == "accuracy"
        else f"reaches {main['label']} {intact['mean']:{form}} on held-out trials"
    )
    chance = f"{main['chance']:.0%}" if proportion else f"{main['chance']:g}"
    return (
        f"The intact network {said} ({between}, {intact['n']} seeds; chance {chance}): "
        f"{'above' if above else 'not distinguishable from'} chance."
    )


def rests(comparison: Row) -> list[Row]:
    """What the answer rests on: validity, seeds, power, and that the task was learned. name, text, look."""
    said = learned(comparison)
    invalid = bool(comparison.get("invalid"))
    measured = any("valid" in cell for cell in comparison["cells"])
    validity = "bad" if invalid else "good" if measured else ""
    return [
        {"name": "Validity", "text": tables.validity(comparison), "look": validity},
        {"name": "Seeds", "text": _seeds(comparison), "look": ""},
        {"name": "Power", "text": _power(comparison), "look": ""},
        {"name": "Learned", "text": said, "look": "good" if ": above chance" in said else ""},
    ]


def _seeds(comparison: Row) -> str:
    n = len(comparison["seeds"])
    trials = [cell["n_trials"] for cell in comparison["cells"] if "n_trials" in cell]
    each = f", {min(trials):,} test trials of each network" if trials else ""
    return f"{n} paired seed{'' if n == 1 else 's'}{each}."


def _power(comparison: Row) -> str:
    rows = comparison.get("power", {}).get("rows", [])
    found = [row["detectable"] for row in rows if row["detectable"] is not None]
    if not found:
        return "Not known: it needs differences of at least two seeds."
    score = tables.scores_of(comparison)[tables.primary_of(comparison)]
    scale, unit = (100, " points") if score["unit"] == "proportion" else (1, "")
    low, high = (f"{scale * pick(found):.3g}" for pick in (min, max))
    size = low if low == high else f"{low} to {high}"
    return f"The smallest difference of {score['label']} that is found four times of five: {size}{unit}."
