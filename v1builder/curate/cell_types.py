"""Tables glif_models and specimens from the raw answers of the Allen Cell Types Database.

What the service does not give is taken from the snapshot, by specimen: electrophysiological and
morphological types (Gouwens et al. 2019, supplement) and the published model's exclusions. A specimen
that the snapshot does not know has none of them, so it fits only populations that ask for none.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from v1builder.curate.glif_config import LEVEL_OF_TEMPLATE, convert_config
from v1builder.schema.errors import DataError, Problem, raise_if_any
from v1builder.schema.tables import Column, TableSchema

_MOUSE = "Mus musculus"
#: Column of table specimens -> field of ApiCellTypesSpecimenDetail.
_OF_CELL = {
    "transgenic_line": "line_name",
    "area": "structure_parent__acronym",
    "layer": "structure__layer",
    "dendrite_type": "tag__dendrite_type",
    "apical_dendrite": "tag__apical",
    "reporter_status": "cell_reporter_status",
    "normalized_depth": "csl__normalized_depth",
}
#: Column of table specimens -> field of EphysFeature, which is in the unit of the column.
_OF_FEATURES = {
    "rheobase_pA": "threshold_i_long_square",
    "f_i_slope_Hz_per_pA": "f_i_curve_slope",
    "tau_ms": "tau",
    "input_resistance_MOhm": "ri",
    "v_rest_mV": "vrest",
    "adaptation_index": "adaptation",
    "mean_isi_ms": "avg_isi",
    "upstroke_downstroke_ratio": "upstroke_downstroke_ratio_long_square",
}
_FROM_SNAPSHOT = ("e_type", "m_type", "me_type", "excluded_because")
_NOT_SAID = ("", "NA", "None")


@dataclass(frozen=True)
class CellTypes:
    """What the service gave, as tables.

    Attributes:
        glif_models: as table glif_models; explained_variance_noise1 is empty, because the service
            gives one explained variance per model, that of the stimulus held out of the fit.
        specimens: as table specimens.
        left_out: specimen_id and reason: mice that cannot be in table specimens, and models without
            parameters, in a form that is not known, or with a value out of its range.
    """

    glif_models: pd.DataFrame
    specimens: pd.DataFrame
    left_out: pd.DataFrame


def cell_type_tables(
    raw: Path, snapshot_specimens: pd.DataFrame, schemas: Mapping[str, TableSchema]
) -> CellTypes:
    """Convert the answers in a folder.

    Args:
        raw: `raw/cell_types` of a store, complete.
        snapshot_specimens: table specimens of the snapshot.
        schemas: of the tables, by name.

    Raises:
        DataError: most models of a level cannot be converted, or a table is not as its manifest says.
    """
    cells = [cell for cell in _rows(raw, "cells") if cell.get("donor__species") == _MOUSE]
    features = {int(row["specimen_id"]): row for row in _rows(raw, "ephys_features")}
    models, n_models, faults = _glif_models(raw)
    models, out_of_range = _within_range(models, schemas["glif_models"])
    specimens, left_out = _specimens(cells, features, n_models, snapshot_specimens, schemas)
    tables = {"glif_models": models, "specimens": specimens}
    problems: list[Problem] = []
    for name, frame in tables.items():
        problems += schemas[name].problems(frame, f"{raw}, table {name}")
    raise_if_any(problems, DataError)
    out = pd.DataFrame(sorted(left_out + faults + out_of_range), columns=["specimen_id", "reason"])
    return CellTypes(models, specimens, out)


def _rows(raw: Path, name: str) -> list[dict[str, Any]]:
    """All rows of a query, whatever number of pages it came in."""
    pages = [raw / f"{name}.json", *sorted(raw.glob(f"{name}.page*.json"), key=_page)]
    return [row for page in pages for row in json.loads(page.read_text(encoding="utf-8"))["msg"]]


def _page(path: Path) -> int:
    return int(path.name.rpartition(".page")[2].removesuffix(".json"))


def _batches(raw: Path, folder: str) -> Iterator[dict[str, Any]]:
    for path in sorted((raw / folder).glob("*.json")):
        yield from json.loads(path.read_text(encoding="utf-8"))["msg"]


def _glif_models(raw: Path) -> tuple[pd.DataFrame, dict[int, int], list[tuple[int, str]]]:
    """Table glif_models, the number of models of every specimen, and the models that cannot be in it.

    Raises:
        DataError: most models of a level cannot be converted.
    """
    rows, faults, n_models = [], [], {}
    unknown: dict[int, list[str]] = {level: [] for level in LEVEL_OF_TEMPLATE.values()}
    for specimen in _batches(raw, "models"):
        specimen_id = int(specimen["id"])
        n_models[specimen_id] = 0
        for model in specimen.get("neuronal_models") or ():
            level = _level(model)
            path = raw / "configs" / f"{int(model['id'])}.json"
            if level is None:
                continue
            if not path.is_file():
                faults.append(
                    (specimen_id, f"GLIF level {level}: no parameters, model {model['id']}")
                )
                continue
            try:
                config = json.loads(path.read_text(encoding="utf-8"))
                parameters = convert_config(config, level)
            except ValueError as error:
                reason = f"GLIF level {level}: not convertible, model {model['id']}: {error}"
                faults.append((specimen_id, reason))
                unknown[level].append(f"{path}: {error}")
                continue
            n_models[specimen_id] += 1
            names = {"specimen_id": specimen_id, "cre_line": _line(model, specimen)}
            explained = {
                "explained_variance_noise1": None,
                "explained_variance_noise2": _explained_variance(model),
            }
            rows.append(
                names | {"glif_level": level} | parameters | explained | {"model": int(model["id"])}
            )
    _check_form_is_known(rows, unknown)
    columns = list(rows[0]) if rows else ["specimen_id", "glif_level", "model"]
    frame = pd.DataFrame(rows, columns=columns)
    for name in frame.columns:
        if name not in ("specimen_id", "cre_line", "glif_level", "model"):
            frame[name] = frame[name].astype(float)
    # The database keeps one model per level; should it keep two, the newer one counts.
    frame = frame.sort_values(["specimen_id", "glif_level", "model"])
    frame = frame.drop_duplicates(["specimen_id", "glif_level"], keep="last")
    return frame.drop(columns="model").reset_index(drop=True), n_models, faults


def _check_form_is_known(rows: list[dict[str, Any]], unknown: Mapping[int, list[str]]) -> None:
    """An odd model is left out; a level that is odd as a whole means that we read it wrongly."""
    converted = [row["glif_level"] for row in rows]
    problems = [
        Problem(
            f"{len(odd)} of {len(odd) + converted.count(level)} models of GLIF level {level} "
            "cannot be converted",
            odd[0].partition(": ")[0],
            odd[0].partition(": ")[2],
            "report it: the service gives models in a form that is not known",
        )
        for level, odd in unknown.items()
        if len(odd) > converted.count(level)
    ]
    raise_if_any(problems, DataError)


def _level(model: Mapping[str, Any]) -> int | None:
    """GLIF level; None for a model of another kind."""
    template = model.get("neuronal_model_template") or {}
    identifier = model.get("neuronal_model_template_id", template.get("id"))
    return LEVEL_OF_TEMPLATE.get(int(identifier)) if identifier is not None else None


def _line(model: Mapping[str, Any], specimen: Mapping[str, Any]) -> str:
    """Driver line from a name like "(3LIF-ASC)_Rorb-IRES2-Cre-D;Ai14-168053.05.01.01"."""
    name = str(model.get("name") or specimen.get("name") or "")
    return name.partition(")_")[2].partition(";")[0] or name.partition(";")[0] or "not said"


def _explained_variance(model: Mapping[str, Any]) -> float | None:
    """Of the newest run that has one."""
    runs = [
        run
        for run in model.get("neuronal_model_runs") or ()
        if run.get("explained_variance_ratio") is not None
    ]
    if not runs:
        return None
    return float(max(runs, key=lambda run: int(run.get("id", 0)))["explained_variance_ratio"])


def _specimens(
    cells: list[dict[str, Any]],
    features: Mapping[int, Mapping[str, Any]],
    n_models: Mapping[int, int],
    snapshot: pd.DataFrame,
    schemas: Mapping[str, TableSchema],
) -> tuple[pd.DataFrame, list[tuple[int, str]]]:
    """Table specimens, and who is not in it and why."""
    columns = schemas["specimens"].columns
    classified = {int(row["specimen_id"]): row for row in snapshot.to_dict("records")}
    rows, left_out = [], []
    for cell in cells:
        specimen_id = int(cell["specimen__id"])
        measured = features.get(specimen_id, {})
        row: dict[str, Any] = {"specimen_id": specimen_id}
        row |= {column: _said(cell.get(field)) for column, field in _OF_CELL.items()}
        row |= {column: _said(measured.get(field)) for column, field in _OF_FEATURES.items()}
        known = classified.get(specimen_id, {})
        row |= {column: _said(known.get(column)) for column in _FROM_SNAPSHOT}
        if row["reporter_status"] is not None:  # "cre reporter positive" in older answers
            row["reporter_status"] = str(row["reporter_status"]).rpartition(" ")[2]
        lacking = [fault for column in columns if (fault := _fault(column, row[column.name]))]
        if n_models.get(specimen_id, 0) == 0:
            left_out.append((specimen_id, "no GLIF model"))
        elif lacking:
            left_out.append((specimen_id, "no valid " + ", ".join(lacking)))
        else:
            rows.append(row)
    rows.sort(key=lambda row: row["specimen_id"])
    frame = pd.DataFrame(rows, columns=[column.name for column in columns])
    for column in columns:
        kind = float if column.dtype == "float" else object if column.dtype == "str" else int
        frame[column.name] = frame[column.name].astype(kind)
        if kind is object:
            frame[column.name] = frame[column.name].where(frame[column.name].notna(), None)
    return frame, left_out


def _fault(column: Column, value: Any) -> str:
    """Why a specimen cannot be in the table; empty if this column is no reason."""
    if value is None:
        return "" if column.nullable else column.name
    wrong = bool(column.choices) and value not in (column.choices or ())
    if column.dtype in ("int", "float"):
        try:
            wrong = bool(column.out_of_range(pd.Series([float(value)]))[0])
        except (TypeError, ValueError):
            wrong = True
    return f"{column.name} ({value})" if wrong else ""


def _within_range(
    models: pd.DataFrame, schema: TableSchema
) -> tuple[pd.DataFrame, list[tuple[int, str]]]:
    """The models whose every value is in its range, and what is wrong with the others."""
    good, faults = np.ones(len(models), dtype=np.bool_), []
    for column in schema.columns:
        if column.dtype != "float":
            continue
        for row in np.flatnonzero(column.out_of_range(pd.Series(models[column.name]))):
            good[row] = False
            one = models.iloc[row]
            reason = f"GLIF level {one['glif_level']}: {column.name} is {one[column.name]:g}"
            faults.append((int(one["specimen_id"]), reason))
    return pd.DataFrame(models[good]).reset_index(drop=True), faults


def _said(value: Any) -> Any:
    """None for the several ways in which the service says nothing."""
    if value is None or value != value or (isinstance(value, str) and value.strip() in _NOT_SAID):
        return None
    return value
