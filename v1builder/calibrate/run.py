"""`v1builder calibrate`: tune the background, switch recurrence on, compare, write the new network."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.analysis.invivo import compare_with_recordings
from v1builder.analysis.rates import summarise_rates
from v1builder.calibrate.bisection import MET
from v1builder.calibrate.operating_point import GRAY_SECONDS, TunedPoint, operating_point
from v1builder.calibrate.output import (
    add_provenance,
    background_file,
    copy_with_background,
    with_background,
)
from v1builder.calibrate.spontaneous import N_TRIALS, WARM_UP_MS, gray_rates
from v1builder.calibrate.targets import TARGETS, cell_models, read_targets
from v1builder.calibrate.tuning import tune
from v1builder.load import Network, load_network
from v1builder.load.coordinates import require_glif
from v1builder.load.reference import read_in_vivo
from v1builder.report.operating_point import write_calibration_page
from v1builder.schema.checksums import write_checksums
from v1builder.schema.errors import ConfigError, NetworkError, Problem, raise_if_any
from v1builder.schema.files import atomic_folder, sha256_of, write_json, write_text
from v1builder.schema.names import CELL_CLASSES
from v1builder.schema.provenance import provenance

Progress = Callable[[str, int, int], None]

#: Folder of the tables and the page, within the network.
CALIBRATION: Final = "calibration"


def calibrate(
    net: Path | str,
    out: Path | str,
    *,
    seed: int = 1,
    targets: Path | str | None = None,
    fraction: float = 1.0,
    tolerance: float = 0.01,
    seconds: float | None = None,
    max_weight: float | None = None,
    trials: int = 10,
    dt: float = 1.0,
    backend: str = "auto",
    accelerator: str = "cpu",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Tune the background weight of every cell model to its population's spontaneous rate.

    Writes a copy of the network with the tuned weights and, in its folder calibration/,
    calibration.json, cell_models.csv, populations.csv, in_vivo.csv, index.html and figures.

    Args:
        net: network folder.
        out: folder to create.
        seed: of all spike trains; same seed, same bytes.
        targets: CSV with columns population, target_median_rate_Hz; the network's own unless given.
        fraction: of the target rates that LGN and background alone shall give, recurrence being left
            to add the rest. The published weights correspond to 0.27.
        tolerance: relative, of each cell model's median rate.
        seconds: simulated time per cell; chosen by the number of cells and their rate unless given.
        max_weight: pA, largest weight allowed; that of 10 rheobases unless given.
        trials: gratings per direction with recurrence on.
        dt: ms.
        backend: of the model.
        accelerator: where it computes, see `model.device`.
        overwrite: replace an existing folder.
        progress: told how far it is, as progress(stage, done, total).

    Returns:
        `out`. Cell models whose target cannot be reached get the nearest weight and are listed in
        calibration.json, `unreached`.

    Raises:
        ConfigError: an argument is out of range.
        NetworkError: the network is not valid or cannot be calibrated.
        DataError: there are no target rates, or they are not valid.
        StorageError: the file system refused.
    """
    net, out = Path(net), Path(out)
    _check(seed, fraction, tolerance, seconds, max_weight, trials)
    with atomic_folder(out, overwrite=overwrite) as folder:
        if not net.is_dir():
            raise NetworkError.of("there is no such network folder", net)
        target_file = Path(targets) if targets is not None else net / TARGETS
        rates = read_targets(target_file)
        network = load_network(net)
        require_glif(network.membrane)
        background_file(net, network)  # before the work, not after it
        gray_rates(network, dt)
        models, model_of = cell_models(network, rates * fraction)
        models, alone = tune(
            network,
            models,
            model_of,
            seed=seed,
            tolerance=tolerance,
            seconds=seconds,
            max_weight=max_weight,
            dt=dt,
            backend=backend,
            accelerator=accelerator,
            progress=progress,
        )
        tuned = with_background(network, models["weight_pA"].to_numpy()[model_of])
        point = operating_point(
            tuned,
            seed=seed,
            trials=trials,
            dt=dt,
            backend=backend,
            accelerator=accelerator,
            progress=progress,
        )
        copy_with_background(net, folder, tuned)
        settings = {
            "seed": seed,
            "fraction": fraction,
            "tolerance": tolerance,
            "seconds_per_cell": seconds or "by cell model",
            "max_weight_pA": max_weight or "10 rheobases",
            "replicas": N_TRIALS,
            "warm_up_ms": WARM_UP_MS,
            "dt_ms": dt,
            "gray_seconds_recurrent": GRAY_SECONDS,
            "grating_trials_per_direction": trials,
        }
        tables = {
            "cell_models": _with_source(models, network),
            "populations": _populations(tuned, models, alone, point, rates),
        }
        recordings = read_in_vivo(net)
        known = set(tables["populations"]["population"]) <= set(CELL_CLASSES)
        if recordings is not None and known:
            tables["in_vivo"] = compare_with_recordings(point.measured(), tuned.cells, recordings)
        _write(folder, settings, tables, _origin(net, target_file))
        write_checksums(folder)
    return out


def _check(
    seed: int,
    fraction: float,
    tolerance: float,
    seconds: float | None,
    max_weight: float | None,
    trials: int,
) -> None:
    problems = []
    for name, value, good, fix in (
        ("seed", seed, seed >= 0, "choose a whole number >= 0"),
        ("fraction", fraction, 0 < fraction < math.inf, "choose a positive number"),
        ("tolerance", tolerance, 0 < tolerance < 1, "choose a number between 0 and 1"),
        (
            "seconds",
            seconds,
            seconds is None or 1 <= seconds < math.inf,
            "simulate at least 1 s per cell",
        ),
        (
            "max_weight",
            max_weight,
            max_weight is None or 0 < max_weight < math.inf,
            "choose a positive weight",
        ),
        ("trials", trials, trials >= 1, "show every direction at least once"),
    ):
        if not good:
            what = f"the {name.replace('_', ' ')} is out of range"
            problems.append(Problem(what, name, str(value), fix))
    raise_if_any(problems, ConfigError)


def _with_source(models: pd.DataFrame, network: Network) -> pd.DataFrame:
    """`models` with where the weight before came from, where the network says so."""
    types = network.cells.types
    if "bkg_weight_source" not in types:
        return models
    source = types["bkg_weight_source"].loc[models["cell_model"]].to_numpy()
    return models.assign(before_source=source)


def _populations(
    network: Network,
    models: pd.DataFrame,
    alone: NDArray[np.float64],
    point: TunedPoint,
    recorded: pd.Series,
) -> pd.DataFrame:
    """One row per population: recorded and target rates, recurrence off and on, gratings."""
    off = summarise_rates(alone, network.cells)
    on = summarise_rates(point.spontaneous, network.cells)
    of_population = models.groupby("population")
    table = pd.DataFrame(
        {
            "n_cells": on["n_cells"],
            "n_cell_models": of_population.size(),
            "recorded_Hz": recorded.loc[on.index],
            "target_Hz": of_population["target_Hz"].first(),
            "models_met": of_population["status"].agg(lambda status: int((status == MET).sum())),
            "alone_median_Hz": off["median_Hz"],
            "recurrent_median_Hz": on["median_Hz"],
            "recurrent_mean_Hz": on["mean_Hz"],
            "recurrent_silent_fraction": on["silent_fraction"],
        }
    )
    measured = point.measured()
    for column, metric in (
        ("grating_mean_Hz", "mean_rate_Hz"),
        ("grating_preferred_Hz", "preferred_rate_Hz"),
        ("osi", "osi"),
        ("dsi", "dsi"),
    ):
        if metric in measured:
            names = network.cells.attributes["pop_name"].astype(str)
            table[column] = pd.Series(measured[metric]).groupby(names).median()
    return table.loc[on.index].rename_axis("population").reset_index()


def _origin(net: Path, targets: Path) -> dict[str, Any]:
    """What the network was made from, by the hash of the files that say it."""
    record = net / "provenance.json"
    return {
        "network": net.name,
        "provenance_sha256": sha256_of(record) if record.is_file() else None,
        "targets": targets.name,
        "targets_sha256": sha256_of(targets),
    }


def summarise(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """The calibration in a few numbers."""
    models = tables["cell_models"]
    met = models.loc[models["status"] == MET]
    target, error = _array(met, "target_Hz"), _array(met, "error_Hz")
    held_out = _array(met, "held_out_Hz") / target - 1
    simulated = models.drop_duplicates("seconds")
    summary: dict[str, Any] = {
        "n_cell_models": len(models),
        "n_met": len(met),
        "largest_deviation": _statistic(np.max, abs(_array(met, "achieved_Hz") / target - 1)),
        "held_out_deviation_rms": _statistic(_rms, held_out),
        "held_out_deviation_expected_rms": _statistic(_rms, np.sqrt(2) * error / target),
        "standard_error_median": _statistic(np.median, error / target),
        "simulations": int(_array(simulated, "simulations").sum()),
    }
    comparable = (met["before_pA"] > 0) & (met["weight_pA"] > 0)
    if "before_source" in met:
        comparable &= met["before_source"] == "published"
    before = met.loc[comparable]
    if len(before) > 2:
        weight, was = _array(before, "weight_pA"), _array(before, "before_pA")
        rate = _array(before, "before_Hz") / _array(before, "target_Hz")
        summary["before"] = {
            "weights": "published" if "before_source" in models else "network's",
            "n_cell_models": len(before),
            "correlation": float(np.corrcoef(weight, was)[0, 1]),
            "median_ratio": float(np.median(weight / was)),
            "ratio_q25": float(np.quantile(weight / was, 0.25)),
            "ratio_q75": float(np.quantile(weight / was, 0.75)),
            "median_rate_over_target": float(np.median(rate)),
        }
    if "in_vivo" in tables:
        scores = tables["in_vivo"].dropna(subset=["score"])
        summary["in_vivo_score"] = {
            metric: float(np.mean(_array(scores.loc[scores["metric"] == metric], "score")))
            for metric in dict.fromkeys(scores["metric"])
        }
    return summary


def _array(table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    return table[column].to_numpy(dtype=np.float64)


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _statistic(
    function: Callable[[NDArray[np.float64]], Any], values: NDArray[np.float64]
) -> float | None:
    return float(function(values)) if len(values) else None


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return json.loads(str(table.to_json(orient="records", double_precision=15)))


def _write(
    folder: Path,
    settings: dict[str, Any],
    tables: dict[str, pd.DataFrame],
    origin: dict[str, Any],
) -> None:
    place = folder / CALIBRATION
    models = tables["cell_models"]
    columns = ["cell_model", "population", "target_Hz", "achieved_Hz", "weight_pA", "status"]
    result = {
        "settings": settings,
        "origin": origin,
        "summary": summarise(tables),
        "unreached": _records(models.loc[models["status"] != MET, columns]),
    }
    add_provenance(folder, provenance("calibrate", **result))
    write_json(place / "calibration.json", result)
    for name, table in tables.items():
        write_text(place / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    write_calibration_page(place, result, tables)
