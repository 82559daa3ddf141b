"""Aggregates of the synaptic physiology database against values counted by hand."""

import math
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from allen_server import AllenServer
from scipy.stats import binomtest
from synphys_database import write_database, write_published

from v1builder.curate import read_store, short_term_plasticity
from v1builder.curate.compare import compare_stores
from v1builder.curate.synaptic_physiology import (
    METRICS,
    SUBCLASSES,
    CellGroup,
    SynapticPhysiology,
    by_layer,
)
from v1builder.fetch.transfer import Transfer
from v1builder.schema.errors import DataError, FetchError
from v1builder.schema.files import sha256_of
from v1builder.stores import fetch

FILE = "synaptic_physiology/synphys_r2.1_small.sqlite"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_database(tmp_path_factory.mktemp("synphys") / "synphys_r2.1_small.sqlite")


@pytest.fixture(scope="module")
def database(path: Path) -> SynapticPhysiology:
    return SynapticPhysiology(path)


def row(frame: pd.DataFrame, **key: str) -> dict:
    for name, value in key.items():
        frame = frame[frame[name] == value]
    (found,) = frame.to_dict("records")
    return found


def test_probed_and_connected(database: SynapticPhysiology) -> None:
    """Excitatory cells 1, 2, 3 and 6: probed 1-2, 2-1, 1-3, 3-1, 3-2, 6-1; 1-2, 1-3, 6-1 connect."""
    table = database.connectivity()
    pyr = row(table, pre="pyr", post="pyr")
    assert (pyr["n_probed"], pyr["n_connected"]) == (6, 3)
    assert pyr["cp"] == 0.5
    inhibitory = row(table, pre="pvalb", post="pyr")
    assert (inhibitory["n_probed"], inhibitory["n_connected"]) == (2, 1)
    assert {(pre, post) for pre, post in zip(table["pre"], table["post"], strict=True)} == {
        ("pyr", "pyr"),
        ("pyr", "pvalb"),
        ("pvalb", "pyr"),
    }


def test_interval_is_the_exact_binomial_one(database: SynapticPhysiology) -> None:
    """Against scipy's test inversion; at all connected the upper end is 1."""
    table = database.connectivity()
    for one in table.to_dict("records"):
        exact = binomtest(one["n_connected"], one["n_probed"]).proportion_ci(0.95, "exact")
        assert one["cp_lo"] == pytest.approx(exact.low, rel=1e-9)
        assert one["cp_hi"] == pytest.approx(exact.high, rel=1e-9)
    assert row(table, pre="pyr", post="pvalb")["cp_hi"] == 1.0


def test_peak_probability_uses_pairs_of_known_distance(database: SynapticPhysiology) -> None:
    """1-2 at 0, 2-1 at sigma, 3-1 at 2 sigma, 3-2 at sigma/2, 6-1 at sigma/10; not 1-3."""
    pyr = row(database.connectivity(), pre="pyr", post="pyr")
    reach = np.mean([math.exp(-(d**2) / 2) for d in (0.0, 1.0, 2.0, 0.5, 0.1)])
    exact = binomtest(2, 5).proportion_ci(0.95, "exact")
    assert pyr["cp_adj"] == pytest.approx(2 / 5 / reach, rel=1e-12)
    assert pyr["cp_adj_lo"] == pytest.approx(exact.low / reach, rel=1e-9)
    assert pyr["cp_adj_hi"] == pytest.approx(min(1.0, exact.high / reach), rel=1e-9)


def test_probability_by_distance(database: SynapticPhysiology) -> None:
    """1-2 at 0 and 6-1 at 10 um connect; 3-2 at 50, 2-1 at 100, 3-1 at 200 um do not; 1-3 has none."""
    table = database.connectivity_by_distance()
    pyr = table[(table["pre"] == "pyr") & (table["post"] == "pyr")]
    counts = {
        (round(one["distance_from"] * 1e6), round(one["distance_to"] * 1e6)): (
            one["n_connected"],
            one["n_probed"],
        )
        for one in pyr.to_dict("records")
    }
    assert counts == {(0, 50): (2, 2), (50, 100): (0, 1), (100, 150): (0, 1), (200, 300): (0, 1)}
    exact = binomtest(2, 2).proportion_ci(0.95, "exact")
    assert pyr.iloc[0]["cp_lo"] == pytest.approx(exact.low)


@pytest.mark.parametrize("farthest", [150e-6, 400e-6])
def test_peak_and_profile_of_a_known_rule_are_recovered(farthest: float) -> None:
    """Pairs connected with p_max exp(-d^2 / 2 sigma^2), however far apart cells were probed."""
    rng = np.random.default_rng(2)
    n, p_max = 60_000, 0.3
    distance = rng.uniform(0, farthest, n)
    database = SynapticPhysiology.__new__(SynapticPhysiology)
    database.cells = pd.DataFrame(
        {"cell_class": ["in", "ex"], "cre_type": ["pvalb", "unknown"], "target_layer": "4"},
        index=[1, 2],
    )
    database.pairs = pd.DataFrame(
        {
            "pre_cell_id": 1,
            "post_cell_id": 2,
            "n_ex_test_spikes": 0,
            "n_in_test_spikes": 100,
            "lateral_distance": distance,
            "has_synapse": rng.random(n) < p_max * np.exp(-(distance**2) / (2 * 100e-6**2)),
        }
    )
    (one,) = database.connectivity().to_dict("records")
    assert (one["pre"], one["post"]) == ("pvalb", "pyr")
    assert one["cp_adj"] == pytest.approx(p_max, rel=0.03)
    assert one["cp_adj_lo"] < p_max < one["cp_adj_hi"]
    assert one["cp"] < 0.9 * p_max
    for bin_ in database.connectivity_by_distance(edges=(0, 50e-6, 150e-6)).to_dict("records"):
        inside = np.linspace(bin_["distance_from"], bin_["distance_to"], 1001)
        expected = p_max * np.exp(-(inside**2) / (2 * 100e-6**2)).mean()
        assert bin_["cp"] == pytest.approx(expected, rel=0.05)


def test_medians_over_synapses_that_have_the_metric(database: SynapticPhysiology) -> None:
    """By hand from the four excitatory-to-excitatory synapses; signs stay."""
    table = database.medians()
    expected = {
        "latency": (2.5e-3, 4),
        "psc_rise_time": (5e-3, 4),
        "psp_amplitude": (0.4e-3, 3),
        "pulse_amp_90pct": (0.6e-3, 3),
        "stp_induction_50hz": (-0.2, 3),
        "ml_release_prob": (0.4, 3),
        "ml_n_release_sites": (4.0, 3),
    }
    for metric, (median, n_pairs) in expected.items():
        found = row(table, metric=metric, pre="pyr", post="pyr")
        assert found["median"] == pytest.approx(median), metric
        assert found["n_pairs"] == n_pairs, metric
    assert row(table, metric="psp_amplitude", pre="pvalb", post="pyr")["median"] == -0.5e-3
    assert "ml_depression_tau" not in set(table["metric"])  # nobody has it


def test_metrics_and_units_are_those_of_the_published_table() -> None:
    published = read_store().synaptic_physiology
    assert {(m.name, m.unit) for m in METRICS} == set(
        zip(published["metric"], published["unit"], strict=True)
    )
    assert list(SUBCLASSES) == list(dict.fromkeys(published["pre"]))


def test_published_intervals_are_clopper_pearson() -> None:
    """The table that the real file must reproduce, by our formula from its own counts."""
    for one in read_store().synaptic_physiology_connectivity.to_dict("records"):
        exact = binomtest(one["n_connected"], one["n_probed"]).proportion_ci(0.95, "exact")
        assert one["cp_lo"] == pytest.approx(exact.low, rel=1e-8)
        assert one["cp_hi"] == pytest.approx(exact.high, rel=1e-8)


@pytest.mark.parametrize(
    ("pre", "post", "n_connected", "n_probed"),
    [("pyr", "pyr", 271, 5737), ("pvalb", "pvalb", 326, 1228), ("vip", "vip", 21, 1058)],
)
def test_published_peaks_rest_on_the_pairs_of_known_distance(
    pre: str, post: str, n_connected: int, n_probed: int
) -> None:
    """The ratios of the published interval to its peak fit these numbers to 9 digits, and no scaling of
    the interval of all probed pairs."""
    one = row(read_store().synaptic_physiology_connectivity, pre=pre, post=post)
    exact = binomtest(n_connected, n_probed).proportion_ci(0.95, "exact")
    p = n_connected / n_probed
    assert one["cp_adj_lo"] / one["cp_adj"] == pytest.approx(exact.low / p, rel=2e-9)
    assert one["cp_adj_hi"] / one["cp_adj"] == pytest.approx(exact.high / p, rel=2e-9)
    assert n_probed < one["n_probed"]
    assert abs(one["cp_adj_lo"] / one["cp_adj"] / (one["cp_lo"] / one["cp"]) - 1) > 1e-5


def test_grouping_by_layer(database: SynapticPhysiology) -> None:
    table = database.connectivity(by_layer())
    assert row(table, pre="L2/3 pyr", post="L4 pvalb")["n_probed"] == 2
    assert row(table, pre="L4 pyr", post="L2/3 pyr")["n_probed"] == 3
    medians = database.medians(by_layer())
    assert row(medians, metric="latency", pre="L2/3 pyr", post="L4 pvalb")[
        "median"
    ] == pytest.approx(0.6e-3)


def test_any_group_of_cells(database: SynapticPhysiology) -> None:
    """The layer that histology found, and a driver line: cell 3 aimed at layer 4 lies in layer 5."""
    groups = {
        "deep": CellGroup("ex", ("nr5a1",), ("5",), "cortical_layer"),
        "upper": CellGroup("ex", None, ("2/3",), "cortical_layer"),
    }
    table = database.connectivity(groups)
    assert row(table, pre="deep", post="upper")["n_probed"] == 1
    assert row(table, pre="upper", post="deep")["n_connected"] == 1


def test_groups_without_cells_give_empty_tables(database: SynapticPhysiology) -> None:
    groups = {"none": CellGroup("ex", ("tlx3",))}
    for table in (database.connectivity(groups), database.medians(groups)):
        assert (len(table), list(table.columns)[-1]) in ((0, "cp_adj_hi"), (0, "n_pairs"))


def test_lognormal_fit() -> None:
    """Recovers the distribution that amplitudes of either sign were drawn from."""
    database = SynapticPhysiology.__new__(SynapticPhysiology)
    rng = np.random.default_rng(1)
    n = 20_000
    amplitudes = -rng.lognormal(np.log(0.4e-3), 0.7, n)
    database.cells = pd.DataFrame(
        {"cell_class": ["in", "ex"], "cre_type": ["sst", "unknown"], "target_layer": "4"},
        index=[1, 2],
    )
    database.synapses = pd.DataFrame(
        {"pre_cell_id": 1, "post_cell_id": 2, "pulse_amp_90pct": amplitudes}
    )
    (fit,) = database.lognormal_fits(metrics=["pulse_amp_90pct"]).to_dict("records")
    assert (fit["metric"], fit["unit"]) == ("pulse_amp_90pct", "V")
    assert (fit["pre"], fit["post"], fit["n"]) == ("sst", "pyr", n)
    assert fit["shape"] == pytest.approx(0.7, rel=0.02)
    assert fit["scale"] == pytest.approx(0.4e-3, rel=0.02)
    assert fit["mean"] == pytest.approx(0.4e-3 * math.exp(0.7**2 / 2), rel=0.02)


def test_too_few_for_a_fit(database: SynapticPhysiology) -> None:
    fit = row(database.lognormal_fits(), metric="pulse_amp_90pct", pre="pyr", post="pyr")
    assert fit["n"] == 3
    assert math.isnan(fit["shape"])


def test_other_projects_are_a_choice(path: Path) -> None:
    other = SynapticPhysiology(path, ("mouse TEa",))
    assert row(other.connectivity(), pre="pyr", post="pyr")["n_probed"] == 1


def test_human_cells_never_count(path: Path) -> None:
    with pytest.raises(DataError, match="no pairs of these projects"):
        SynapticPhysiology(path, ("human coarse matrix",))


def test_file_stays_as_it_is(path: Path) -> None:
    before = sha256_of(path)
    SynapticPhysiology(path).connectivity()
    assert sha256_of(path) == before
    assert [one.name for one in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("content", [b"", b"not a database" * 100, None])
def test_other_files_are_one_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "db.sqlite"
    if content is None:
        sqlite3.connect(path).execute("CREATE TABLE cell (id INTEGER)").connection.close()
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match="schema version 22") as caught:
        SynapticPhysiology(path)
    assert str(path) in str(caught.value)


def test_live_store_has_the_tables(
    server: AllenServer, path: Path, tmp_path: Path, quick: Transfer
) -> None:
    """Through the command's own way: download, check, aggregate, provenance, read back."""
    server.files["/synphys_r2.1_small.sqlite"] = path.read_bytes()
    pins = tmp_path / "pins.toml"
    pins.write_text(
        '[files."synaptic_physiology/synphys_r2.1_small.sqlite"]\n'
        f'size = {path.stat().st_size}\nsha256 = "{sha256_of(path)}"\n'
    )
    options = {
        "source": "live",
        "select": ["synaptic_physiology"],
        "services": {"synaptic_physiology": server.url},
        "transfer": quick,
    }
    folder = fetch(tmp_path / "store", pins=pins, **options)
    store = read_store(folder)
    assert row(store.synaptic_physiology_connectivity, pre="pyr", post="pyr")["n_probed"] == 6
    assert (
        "L2/3 pyr" in (folder / "extra/synaptic_physiology_connectivity_by_layer.csv").read_text()
    )
    names = {path.stem.removeprefix("synaptic_physiology_") for path in folder.glob("extra/*.csv")}
    assert names == {
        "by_layer", "connectivity_by_layer", "connectivity_by_distance", "lognormal",
        "lognormal_by_layer",
    }  # fmt: skip
    source = next(
        one for one in store.provenance["sources"] if one["name"] == "allen_synaptic_physiology"
    )
    assert source["version"] == "release 2.1"
    assert source["tables"]["synaptic_physiology"]["from"] == "live"
    assert source["tables"]["psp_amplitude"]["from"] == "snapshot"
    server.requests.clear()
    fetch(folder, pins=pins, **options)
    assert server.requests == []


def test_published_tables_come_out_of_a_database_that_has_them(
    server: AllenServer, tmp_path: Path, quick: Transfer
) -> None:
    """The whole way from SQL to CSV: the two tables and the fit of plasticity are the snapshot's. (The
    interval of the peak rests on the pairs of known distance, which are all of them here.)"""
    snapshot = read_store()
    made = write_published(tmp_path / "published.sqlite", snapshot)
    server.files["/synphys_r2.1_small.sqlite"] = made.read_bytes()
    pins = tmp_path / "pins.toml"
    pins.write_text(f'files."{FILE}".sha256 = "{sha256_of(made)}"\n')
    folder = fetch(
        tmp_path / "store", source="live", select=["synaptic_physiology"], pins=pins,
        services={"synaptic_physiology": server.url}, transfer=quick,
    )  # fmt: skip
    changed = [
        (one.table, one.column, one.relative_change())
        for one in compare_stores(None, folder)
        if one.kind != "changed" or abs(one.relative_change() or 1) > 1e-8
    ]
    assert {(table, column) for table, column, _ in changed} <= {
        ("synaptic_physiology_connectivity", "cp_adj_lo"),
        ("synaptic_physiology_connectivity", "cp_adj_hi"),
    }
    assert max(abs(change) for _, _, change in changed) < 0.05
    fit = pd.read_csv(folder / "extra/short_term_plasticity.csv")
    expected = short_term_plasticity(snapshot.synaptic_physiology)
    np.testing.assert_allclose(fit["U"], expected["U"], rtol=1e-6)


def test_database_with_another_hash_is_refused(
    server: AllenServer, path: Path, tmp_path: Path, quick: Transfer
) -> None:
    """The manifest pins the release; without a pin of the user's nothing else is taken."""
    server.files["/synphys_r2.1_small.sqlite"] = path.read_bytes()
    with pytest.raises(FetchError, match=sha256_of(path)) as caught:
        fetch(
            tmp_path / "store",
            source="live",
            select=["synaptic_physiology"],
            services={"synaptic_physiology": server.url},
            transfer=quick,
        )
    assert "7372499fdd874f05" in str(caught.value)
    assert "--pins" in str(caught.value)
