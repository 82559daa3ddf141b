"""Cell types and their GLIF models from the Allen Cell Types Database.

allensdk knows the queries: its `CellTypesApi` and `GlifApi` build every address. The answers travel
through our own archive instead of allensdk's (which has no time-outs, no retries, no hashes and asks
over plain http), so a query is one file like any other: checked, resumable, pinned.

The archive afterwards holds, as they were sent:
    cell_types/cells.json              all cells                  (ApiCellTypesSpecimenDetail)
    cell_types/ephys_features.json     measured electrophysiology (EphysFeature)
    cell_types/models/<n>.json         GLIF models of a batch of specimens, with their runs
    cell_types/model_files/<n>.json    where the parameter files of a batch of models are
    cell_types/configs/<model>.json    neuron_config of a model
A query with more rows than one answer has more files, <name>.page2.json and so on.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from v1builder.fetch.archive import Archive
from v1builder.fetch.transfer import WantedFile
from v1builder.schema.errors import FetchError

MOUSE = "Mus musculus"
#: Where the parameter files of models are in the archive.
CONFIGS = "cell_types/configs/"
_BATCH = 50  # identifiers in one query: the address stays below 2 000 characters
_CONFIG_KEYS = ("El", "El_reference", "C", "R_input", "th_inf", "dt", "coeffs")
_MAX_PAGES = 1000


def fetch_cell_types(archive: Archive, service: str) -> None:
    """Bring cells, features, GLIF models of all levels and their configurations into the archive.

    Args:
        archive: locked.
        service: base address, https://api.brain-map.org in normal life.

    Raises:
        FetchError: allensdk is missing, or something without which nothing else can be asked for
            could not be had. Single models that could not be had are in `archive.failures`.
    """
    cells_api, glif_api = clients(service)
    queries = _Queries(archive)
    cells_api.retrieve_parsed_json_over_http = queries.answer
    glif_api.retrieve_parsed_json_over_http = queries.answer

    cells = queries.named("cells", "cells", cells_api.list_cells_api)
    queries.named("ephys_features", "ephys features", cells_api.get_ephys_features)
    if cells is None:
        return  # without the list of cells there is nothing to ask for
    mice = sorted(
        int(cell["specimen__id"]) for cell in cells if cell.get("donor__species") == MOUSE
    )
    specimens = queries.in_batches("models", "GLIF models", glif_api.get_neuronal_models, mice)
    models = sorted(
        int(model["id"])
        for specimen in specimens
        for model in specimen.get("neuronal_models") or ()
        if model.get("neuronal_model_template") is not None
    )
    described = queries.in_batches(
        "model_files", "GLIF model files", glif_api.get_neuronal_models_by_id, models
    )
    configs = [
        WantedFile(
            f"{CONFIGS}{int(model['id'])}.json",
            service + link,
            check=_check_config,
            without="; to go on without such models, pass --allow-missing",
        )
        for model in described
        if (link := _config_link(model)) is not None
    ]
    archive.fetch(configs, "GLIF configurations")


def clients(service: str) -> tuple[Any, Any]:
    """The two clients of allensdk, CellTypesApi and GlifApi; FetchError where it is not installed."""
    try:
        from allensdk.api.queries.cell_types_api import CellTypesApi  # pyright: ignore[reportMissingImports]
        from allensdk.api.queries.glif_api import GlifApi  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise FetchError.of(
            "allensdk is not installed, which asks the Cell Types Database",
            "fetch, source live, cell_types",
            error,
            "with Python 3.11, in an environment of its own: pip install -c constraints-allen.txt "
            "'v1builder[allen]' (in a checkout: make env-allen), and fetch there; or leave the cell "
            "types out: --select synaptic_physiology. The store can be used in any environment",
        ) from None
    return CellTypesApi(base_uri=service), GlifApi(base_uri=service)


def _config_link(model: dict[str, Any]) -> str | None:
    """Path of the file with the parameters; where several files are named, the one so called."""
    files = model.get("well_known_files") or []
    named = [file for file in files if str(file.get("path", "")).endswith("neuron_config.json")]
    for file in named or files:
        link = file.get("download_link")
        if isinstance(link, str) and link.startswith("/"):
            return link
    return None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not text ({error.reason})") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON (line {error.lineno}: {error.msg})") from None


def _check_config(path: Path) -> None:
    config = _read_json(path)
    if not isinstance(config, dict) or any(key not in config for key in _CONFIG_KEYS):
        raise ValueError("not the configuration of a GLIF model")


def _check_envelope(path: Path) -> None:
    """An RMA answer: {"success": true, "start_row": ..., "total_rows": ..., "msg": [...]}."""
    answer = _read_json(path)
    if not isinstance(answer, dict) or "success" not in answer or "msg" not in answer:
        raise ValueError("not an answer of the Allen API")
    if answer["success"] is not True:
        raise ValueError(f"the service reports an error: {str(answer['msg'])[:200]}")
    if not isinstance(answer["msg"], list):
        raise ValueError("an answer without rows")
    counts = [answer.get(key) for key in ("start_row", "num_rows", "total_rows")]
    if not all(count is None or isinstance(count, int) for count in counts):
        raise ValueError("an answer whose numbers of rows are no numbers")


class _Queries:
    """Answers RMA queries out of the archive, under names that the caller sets."""

    def __init__(self, archive: Archive):
        self._archive = archive
        self._name, self._stage = "", ""

    def answer(self, url: str, post: bool = False) -> dict[str, Any]:
        """What allensdk calls with the address of a query; all pages in one answer."""
        assert not post, "no query of ours is sent by POST"
        rows: list[Any] = []
        done = (
            0  # rows of the database, which the service counts; an element of msg can join several
        )
        for page in range(1, _MAX_PAGES):
            more = f"[start_row$eq{done}]" if page > 1 else ""
            suffix = f".page{page}" if page > 1 else ""
            wanted = WantedFile(
                f"cell_types/{self._name}{suffix}.json",
                quote(url + more, safe=";/?:@&=+$,"),  # as allensdk encodes it
                check=_check_envelope,
            )
            if not self._archive.fetch([wanted], self._stage):
                raise _UnansweredError
            answer = json.loads(self._archive.path(wanted.name).read_text(encoding="utf-8"))
            rows += answer["msg"]
            n_rows = answer.get("num_rows") or 0
            done = (answer.get("start_row") or 0) + n_rows
            # Queries without a count need not say how many rows there are: then this is all.
            if n_rows == 0 or done >= (answer.get("total_rows") or 0):
                break
        return {"msg": rows}

    def named(
        self, name: str, stage: str, query: Callable[..., Any], *arguments: Any
    ) -> list[dict[str, Any]] | None:
        """Rows of a query; None if it could not be had, which the archive remembers."""
        self._name, self._stage = name, stage
        try:
            return query(*arguments)
        except _UnansweredError:
            return None

    def in_batches(
        self, folder: str, stage: str, query: Callable[..., Any], identifiers: Sequence[int]
    ) -> list[dict[str, Any]]:
        """Rows of a query about many identifiers."""
        rows: list[dict[str, Any]] = []
        starts = range(0, len(identifiers), _BATCH)
        for number, first in enumerate(starts):
            self._archive.report(stage, number, len(starts))
            batch = list(identifiers[first : first + _BATCH])
            rows += self.named(f"{folder}/{number:04d}", "", query, batch) or []
        self._archive.report(stage, len(starts), len(starts))
        return rows


class _UnansweredError(Exception):
    """A query could not be had."""
