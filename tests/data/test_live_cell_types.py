"""The live Cell Types Database through the real allensdk client, against a server on this machine."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from allen_server import AllenServer, instead, silence, status, truncated
from allen_world import add_specimen, fill
from synphys_database import write_database

from v1builder.curate import Store, cell_models, read_store
from v1builder.curate.compare import compare_stores, source_changes
from v1builder.fetch.transfer import Transfer
from v1builder.schema.errors import DataError, FetchError, StorageError
from v1builder.schema.files import sha256_of
from v1builder.stores import fetch

pytest.importorskip(
    "allensdk", reason="allensdk lives in an environment of its own: make test-allen"
)
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:allensdk.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
SELECT = ("cell_types",)


@pytest.fixture(scope="module")
def snapshot() -> Store:
    return read_store()


@pytest.fixture(scope="module")
def chosen(snapshot: Store) -> list[int]:
    """A few published cell models of every population, and a specimen with all five levels."""
    published = snapshot.population_cell_models
    published = published[published["in_glif_models"]]
    few = list(published.groupby("population")["specimen_id"].first())
    levels = snapshot.glif_models.groupby("specimen_id")["glif_level"].nunique()
    complete = [int(one) for one in levels.index[levels == 5] if one not in few][:2]
    return sorted(int(one) for one in few + complete)


@pytest.fixture
def world(server: AllenServer, snapshot: Store, chosen: list[int]) -> AllenServer:
    fill(server, snapshot, chosen)
    return server


@pytest.fixture
def run(world: AllenServer, tmp_path: Path, quick: Transfer):
    def fetch_into(name: str = "store", **options) -> Path:
        options = {"services": {"cell_types": world.url}, "transfer": quick} | options
        return fetch(tmp_path / name, source="live", select=SELECT, **options)

    return fetch_into


def test_live_store_equals_the_snapshot_where_both_have_the_model(
    run, snapshot: Store, chosen: list[int]
) -> None:
    store = read_store(run())
    mine, theirs = store.glif_models, snapshot.glif_models
    theirs = theirs[theirs["specimen_id"].isin(chosen)].reset_index(drop=True)
    assert len(mine) == len(theirs) > 60
    assert mine["explained_variance_noise1"].isna().all()
    for column in mine.columns.drop("explained_variance_noise1"):
        if mine[column].dtype == float:
            both_empty = mine[column].isna() & theirs[column].isna()
            close = (mine[column] / theirs[column] - 1).abs() < 1e-8
            assert (both_empty | close | (mine[column] == theirs[column])).all(), column
        else:
            assert (mine[column] == theirs[column]).all(), column
    of_snapshot = snapshot.specimens[snapshot.specimens["specimen_id"].isin(chosen)]
    changed = {one.table for one in compare_stores(None, run()) if one.kind == "changed"}
    assert changed == {"glif_models"}  # in explained_variance_noise1 alone, as seen above
    assert list(store.specimens["specimen_id"]) == list(of_snapshot["specimen_id"])


def test_a_network_can_select_its_cells_from_a_live_store(run) -> None:
    """Every population that selects something in the snapshot does so here, from fewer models."""
    models = cell_models(read_store(run()))
    assert models["population"].nunique() == 22
    assert set(models.loc[models["borrowed_from"] == "", "bkg_weight_source"]) == {"published"}


def test_requests_are_the_recorded_ones(world: AllenServer, run, chosen: list[int]) -> None:
    run()
    kinds = [re.sub(r"[0-9,]+", "#", request) for request in world.requests]
    assert len(set(kinds)) == 5
    assert world.count("well_known_file_download") == len(world.configs)
    assert max(world.times().values()) == 1


def test_provenance_names_service_client_queries_and_days(run, chosen: list[int]) -> None:
    folder = run()
    record = json.loads((folder / "provenance.json").read_text())
    assert record["source"] == "live"
    (source,) = (one for one in record["sources"] if one["name"] == "allen_cell_types")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", source["retrieved"])
    assert source["live"]["client"] == "allensdk 2.16.2"
    assert source["live"]["files"] == len((folder / "raw/downloads.jsonl").read_text().splitlines())
    queries = source["live"]["first_of_each_kind"]
    assert any("ApiCellTypesSpecimenDetail" in url for url in queries.values())
    assert source["tables"]["glif_models"]["from"] == "live"
    (model,) = (one for one in record["sources"] if one["name"] == "allen_v1_model")
    assert model["tables"]["populations"]["from"] == "snapshot"
    assert "Teeter" in (folder / "CITATIONS.md").read_text()
    assert "@article{teeter2018," in (folder / "CITATIONS.bib").read_text()


def test_second_run_is_offline_and_gives_the_same(world: AllenServer, run) -> None:
    folder = run()
    before = (folder / "tables" / "glif_models.csv").read_bytes()
    world.requests.clear()
    assert run() == folder
    assert world.requests == []
    assert (folder / "tables" / "glif_models.csv").read_bytes() == before


def test_answers_in_pages(world: AllenServer, run, chosen: list[int]) -> None:
    world.page_rows = 7
    store = read_store(run())
    assert list(store.specimens["specimen_id"]) == chosen
    assert world.count("[start_row$eq7]") >= 3


def test_answers_that_do_not_count_their_rows(
    world: AllenServer, run, chosen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queries with count = false need not say total_rows."""
    monkeypatch.setattr(
        world,
        "envelope",
        lambda rows, _first: json.dumps({"success": True, "id": 0, "msg": rows}).encode(),
    )
    assert list(read_store(run()).specimens["specimen_id"]) == chosen


@pytest.mark.parametrize(
    "fault",
    [
        status(500),
        silence(3.0),
        truncated(30),
        instead(b"<html>garbage</html>"),
        instead(b'{"success": false, "id": 0, "start_row": 0, "num_rows": 0, "msg": "busy"}'),
        instead(b'{"success": true, "msg": "not rows"}'),
        instead(b"\xff\xfe\x00"),
    ],
    ids=["500", "time-out", "truncated", "garbage", "no success", "no rows", "binary"],
)
@pytest.mark.parametrize("request_part", ["model::Specimen,", "well_known_file_download"])
def test_passing_trouble(
    world: AllenServer, run, chosen: list[int], fault, request_part: str
) -> None:
    world.faults[request_part] = [fault]
    assert list(read_store(run()).specimens["specimen_id"]) == chosen


def test_partial_failure_lists_what_is_missing_and_goes_on_later(world: AllenServer, run) -> None:
    bad = sorted(world.configs)[3]
    world.faults[f"download/{bad}"] = [status(503)] * 3
    with pytest.raises(FetchError, match="HTTP 503") as caught:
        run()
    assert f"cell_types/configs/{bad}.json" in str(caught.value)
    assert "same command again" in str(caught.value)
    world.requests.clear()
    folder = run()
    assert world.requests == [f"/api/v2/well_known_file_download/{bad}"]
    assert read_store(folder).glif_models.shape[0] == len(world.configs)


def test_unfinished_store_is_not_a_store(world: AllenServer, run, tmp_path: Path) -> None:
    world.faults["model::EphysFeature"] = [status(404)]
    with pytest.raises(FetchError):
        run()
    with pytest.raises(DataError, match="not finished"):
        read_store(tmp_path / "store")


def test_without_the_list_of_cells_nothing_else_is_asked(world: AllenServer, run) -> None:
    world.faults["ApiCellTypesSpecimenDetail"] = [status(500)] * 3
    with pytest.raises(FetchError, match=r"cells\.json"):
        run()
    assert world.count("model::Specimen,") == 0


def test_missing_level_is_no_fault(world: AllenServer, run, chosen: list[int]) -> None:
    specimen = world.specimens[chosen[0]]
    specimen["neuronal_models"] = [
        model for model in specimen["neuronal_models"] if not str(model["id"]).endswith("3")
    ]
    store = read_store(run())
    levels = store.glif_models.groupby("specimen_id")["glif_level"].agg(set)
    assert levels[chosen[0]] == {1}
    published = store.population_cell_models.set_index("specimen_id")
    assert not published.loc[chosen[0], "in_glif_models"]


def test_specimen_without_a_model_is_left_out_and_named(
    world: AllenServer, run, chosen: list[int]
) -> None:
    world.specimens[chosen[0]]["neuronal_models"] = []
    folder = run()
    assert chosen[0] not in set(read_store(folder).specimens["specimen_id"])
    left_out = (folder / "extra" / "left_out.csv").read_text()
    assert f"{chosen[0]},no GLIF model" in left_out


def test_specimen_without_a_measurement_is_left_out_and_named(
    world: AllenServer, run, chosen: list[int]
) -> None:
    world.features[0]["tau"] = None
    world.cells[1]["line_name"] = ""
    world.features[2]["vrest"] = 12.0
    folder = run()
    left_out = (folder / "extra" / "left_out.csv").read_text()
    assert f"{chosen[0]},no valid tau_ms" in left_out
    assert f"{chosen[1]},no valid transgenic_line" in left_out
    assert f"{chosen[2]},no valid v_rest_mV (12.0)" in left_out
    store = read_store(folder)
    assert set(store.specimens["specimen_id"]) == set(chosen[3:])
    assert set(store.glif_models["specimen_id"]) == set(chosen)


def test_model_with_a_value_out_of_range_is_left_out_and_named(
    world: AllenServer, run, chosen: list[int]
) -> None:
    model = chosen[0] * 10 + 3
    config = json.loads(world.configs[model])
    config["AScurrent_reset_method"]["params"]["r"][1] = 1.5
    world.configs[model] = json.dumps(config).encode()
    folder = run()
    assert (
        f"{chosen[0]},GLIF level 3: asc_r_1 is 1.5" in (folder / "extra/left_out.csv").read_text()
    )
    store = read_store(folder)
    assert len(store.glif_models) == len(world.configs) - 1
    published = store.population_cell_models.set_index("specimen_id")
    assert not published.loc[chosen[0], "in_glif_models"]


def test_model_that_cannot_be_converted_is_left_out_and_named(
    world: AllenServer, run, chosen: list[int]
) -> None:
    bad = chosen[0] * 10 + 3
    config = json.loads(world.configs[bad])
    config["R_input"] = 0.0
    world.configs[bad] = json.dumps(config).encode()
    folder = run()
    left_out = (folder / "extra" / "left_out.csv").read_text()
    assert f"{chosen[0]},GLIF level 3: not convertible, model {bad}: no g_nS" in left_out.replace(
        '"', ""
    )
    assert len(read_store(folder).glif_models) == len(world.configs) - 1


def test_a_level_in_an_unknown_form_is_an_error(world: AllenServer, run) -> None:
    """Then we read it wrongly, and a store without the level would hide that."""
    level_5 = [model for model in world.configs if model % 10 == 5]
    for model in level_5:
        config = json.loads(world.configs[model])
        del config["threshold_dynamics_method"]["params"]["a_voltage"]
        world.configs[model] = json.dumps(config).encode()
    n = len(level_5)
    with pytest.raises(DataError, match=f"{n} of {n} models of GLIF level 5") as caught:
        run()
    (problem,) = caught.value.problems
    assert "th_voltage_index" in problem.got


def test_model_without_parameters_is_named_and_can_be_left_out(
    world: AllenServer, run, chosen: list[int]
) -> None:
    """A file that the service lists and does not have must not stand in the way for ever."""
    bad = chosen[0] * 10 + 3
    unlinked = chosen[1] * 10 + 3
    world.models[unlinked]["well_known_files"] = []
    lost = world.configs.pop(bad)
    with pytest.raises(FetchError, match="HTTP 404") as caught:
        run()
    assert "--allow-missing" in str(caught.value)
    folder = run(allow_missing=True)
    left_out = (folder / "extra" / "left_out.csv").read_text()
    for specimen, model in ((chosen[0], bad), (chosen[1], unlinked)):
        assert f"{specimen},GLIF level 3: no parameters, model {model}" in left_out.replace('"', "")
    assert len(read_store(folder).glif_models) == len(world.configs) - 1
    world.configs[bad] = lost
    assert f"model {bad}" not in (run() / "extra" / "left_out.csv").read_text()


def test_a_dead_service_is_not_allowed_to_be_missing(world: AllenServer, run) -> None:
    world.faults["well_known_file_download"] = [status(500)] * 999
    with pytest.raises(FetchError, match="not tried"):
        run(allow_missing=True)


def test_pins_of_files_that_no_longer_exist_are_an_error(
    world: AllenServer, run, chosen: list[int]
) -> None:
    """Else a pin with a slip in its name would be no pin."""
    old = run("old")
    pins = old / "pins.toml"
    wrong = pins.with_name("wrong.toml")
    text = pins.read_text()
    wrong.write_text(text + '[files."cell_types/configs/7.json"]\nsha256 = "' + "0" * 64 + '"\n')
    with pytest.raises(FetchError, match="1 pinned files do not exist") as caught:
        run("new", pins=wrong)
    assert "configs/7.json" in str(caught.value)


def test_sources_add_up(world: AllenServer, run, tmp_path: Path, quick: Transfer) -> None:
    """Another source into the same store keeps the first; it is not asked again."""
    database = write_database(tmp_path / "synphys.sqlite")
    world.files["/synphys_r2.1_small.sqlite"] = database.read_bytes()
    pins = tmp_path / "pins.toml"
    pins.write_text(
        f'files."synaptic_physiology/synphys_r2.1_small.sqlite".sha256 = "{sha256_of(database)}"\n'
    )
    folder = run()
    cells = (folder / "tables" / "glif_models.csv").read_bytes()
    asked = world.count("model::")
    options = {"services": {"synaptic_physiology": world.url}, "transfer": quick, "pins": pins}
    fetch(folder, source="live", select=["synaptic_physiology"], **options)
    assert world.count("model::") == asked
    assert (folder / "tables" / "glif_models.csv").read_bytes() == cells
    record = json.loads((folder / "provenance.json").read_text())
    assert record["select"] == ["cell_types", "synaptic_physiology"]
    source = {one["name"]: one for one in record["sources"]}
    assert source["allen_cell_types"]["live"]["client"] == "allensdk 2.16.2"
    assert source["allen_synaptic_physiology"]["tables"]["synaptic_physiology"]["from"] == "live"
    config = next((folder / "raw/cell_types/configs").iterdir())
    config.unlink()
    with pytest.raises(FetchError, match="is missing") as caught:
        fetch(folder, source="live", select=["synaptic_physiology"], **options)
    assert "--select cell_types" in str(caught.value)
    read_store(folder)  # as it was


def test_the_published_models_that_the_snapshot_lacks(
    server: AllenServer, snapshot: Store, tmp_path: Path, quick: Transfer
) -> None:
    """With GLIF models of the 36 from the service, the rule gives the 201 published ones, no other,
    in their populations, and nobody borrows. (Their parameters here are another cell's.)"""
    published = snapshot.population_cell_models
    lacking = [int(one) for one in published.loc[~published["in_glif_models"], "specimen_id"]]
    assert len(lacking) == 36
    fill(
        server,
        snapshot,
        [int(i) for i in published.loc[published["in_glif_models"], "specimen_id"]],
    )
    cells = snapshot.specimens.set_index("specimen_id", drop=False)
    glif = snapshot.glif_models
    lent = glif[(glif["specimen_id"] == 485058595) & glif["glif_level"].isin([1, 3])]
    for specimen in lacking:
        add_specimen(server, dict(cells.loc[specimen]), lent)
    folder = fetch(
        tmp_path / "s", source="live", select=SELECT, transfer=quick,
        services={"cell_types": server.url},
    )  # fmt: skip
    models = cell_models(read_store(folder))
    assert len(models) == 201
    assert set(models["borrowed_from"]) == {""}
    assert set(models["bkg_weight_source"]) == {"published"}
    pairs = set(zip(models["specimen_id"], models["population"], strict=True))
    assert pairs == set(zip(published["specimen_id"], published["population"], strict=True))


def test_new_specimen_comes_in_without_a_type(
    world: AllenServer, run, snapshot: Store, chosen: list[int]
) -> None:
    cell = dict(snapshot.specimens.set_index("specimen_id", drop=False).loc[chosen[0]])
    models = snapshot.glif_models[snapshot.glif_models["specimen_id"] == chosen[0]]
    add_specimen(world, cell | {"specimen_id": 999_000_001}, models)
    specimens = read_store(run()).specimens.set_index("specimen_id")
    assert specimens.loc[999_000_001, "me_type"] is None
    assert specimens.loc[999_000_001, "tau_ms"] == cell["tau_ms"]


def test_changed_upstream_shows_as_a_difference(world: AllenServer, run, chosen: list[int]) -> None:
    """Into a new folder it comes, and --diff says which parameter; under the old pins it is refused."""
    old = run("old")
    model = chosen[0] * 10 + 3
    config = json.loads(world.configs[model])
    config["C"] *= 1.01
    world.configs[model] = json.dumps(config).encode()
    with pytest.raises(FetchError, match="not the one that is pinned"):
        run("pinned", pins=old / "pins.toml")
    new = run("new")
    assert len(source_changes(old, new)) <= 1  # none, unless it is midnight
    (line,) = source_changes(None, new)
    assert line.startswith("source allen_cell_types: snapshot 1")
    assert re.search(r"-> live service, \d{4}-\d\d-\d\d$", line)
    (one,) = compare_stores(old, new)
    assert (one.table, one.column) == ("glif_models", "C_m_pF")
    assert one.row == f"specimen_id {chosen[0]}, glif_level 3"
    assert one.relative_change() == pytest.approx(0.01)


def test_pins_give_the_same_bytes(world: AllenServer, run) -> None:
    old = run("old")
    new = run("new", pins=old / "pins.toml")
    for table in ("glif_models", "specimens"):
        path = f"tables/{table}.csv"
        assert (old / path).read_bytes() == (new / path).read_bytes()


def test_a_folder_of_something_else_is_left_alone(run, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "precious").write_text("data")
    with pytest.raises(StorageError, match="already exists"):
        run()
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["precious"]


def test_full_disk_in_the_middle(
    world: AllenServer,
    run,
    chosen: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fsync, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 40:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left"):
            run()
    before = world.times()
    (log,) = tmp_path.rglob("downloads.jsonl")
    kept = {
        json.loads(line)["url"].removeprefix(world.url) for line in log.read_text().splitlines()
    }
    downloads = {request for request in before if "well_known_file_download" in request}
    assert 10 <= len(kept & downloads) < len(downloads)  # 40 calls: a file and its log line each
    assert list(read_store(run()).specimens["specimen_id"]) == chosen
    again = {request for request, n in world.times().items() if n > 1 and before[request]}
    assert not again & kept & downloads
    assert again & downloads == downloads - kept


def test_two_fetches_at_once(world: AllenServer, run, chosen: list[int]) -> None:
    world.faults["model::EphysFeature"] = [silence(0.3)]
    first = threading.Thread(target=run)
    first.start()
    while not world.requests:
        time.sleep(0.005)
    with pytest.raises(StorageError, match="another fetch"):
        run()
    first.join()
    assert list(read_store(run()).specimens["specimen_id"]) == chosen
    assert world.count("ApiCellTypesSpecimenDetail") == 1


def test_ctrl_c_in_the_middle(world: AllenServer, run, chosen: list[int], tmp_path: Path) -> None:
    """Through the command, in a process of its own."""
    configs = sorted(world.configs)
    for model in configs[10:]:
        world.faults[f"download/{model}"] = [silence(0.3)]
    code = "from v1builder.cli import main; main()"
    command = [sys.executable, "-W", "ignore", "-c", code, "fetch", "--source", "live"]
    command += ["--out", str(tmp_path / "store"), "--select", "cell_types"]
    process = subprocess.Popen(
        [*command, "--service", f"cell_types={world.url}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while world.count("well_known_file_download") < 12 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert "Run the same command again" in error
    assert "Traceback" not in error
    assert process.returncode != 0
    asked = world.times()
    assert world.count("well_known_file_download") < len(configs)
    world.faults.clear()
    assert list(read_store(run()).specimens["specimen_id"]) == chosen
    again = [
        request for request, n in world.times().items() if asked[request] and n > asked[request]
    ]
    assert len(again) <= 4  # what was under way
