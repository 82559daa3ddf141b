"""In vivo quantiles by area from tables of the data set's form, counted by hand."""

from pathlib import Path

import pandas as pd
import pytest
from allen_server import AllenServer

from v1builder.curate import read_store
from v1builder.curate.neuropixels import area_reference, layer_reference
from v1builder.fetch.transfer import Transfer
from v1builder.schema.errors import DataError
from v1builder.stores import fetch

METRICS = "ecephys_unit_id,g_osi_dg,g_dsi_dg,firing_rate_dg\n"
TABLES = {
    # Probe 1: VISp from 1000 um down to 2000; probe 2 from 900 to 1700; a single channel on probe 3.
    "channels.csv": "id,ecephys_probe_id,dorsal_ventral_ccf_coordinate,ecephys_structure_acronym\n"
    "10,1,1000,VISp\n13,1,1600,VISp\n14,1,2000,VISp\n11,1,3000,CA1\n12,1,800,\n"
    "20,2,900,VISp\n21,2,1380,VISp\n22,2,1700,VISp\n30,3,1000,VISp\n",
    "units.csv": "id,ecephys_channel_id,duration,firing_rate,presence_ratio,isi_violations,"
    "amplitude_cutoff,quality\n"
    "1,10,0.6,2.0,0.99,0.1,0.01,good\n"
    "2,10,0.7,4.0,0.99,0.1,0.01,good\n"
    "3,10,0.5,9.0,0.99,0.1,0.01,good\n"
    "4,10,0.3,20.0,0.99,0.1,0.01,good\n"
    "5,11,0.6,1.0,0.99,0.1,0.01,good\n"
    "6,10,0.6,100.0,0.50,0.1,0.01,good\n"  # was not there all the time
    "7,10,0.6,100.0,0.99,0.9,0.01,good\n"  # spikes of several cells
    "8,10,0.6,100.0,0.99,0.1,0.30,good\n"  # misses spikes
    "9,12,0.6,100.0,0.99,0.1,0.01,good\n",  # nobody knows where
    "brain_observatory_1.1_analysis_metrics.csv": METRICS
    + "1,0.1,0.2,3.0\n2,0.3,,5.0\n4,0.05,0.1,25.0\n6,0.9,0.9,99\n7,0.9,0.9,99\n8,0.9,0.9,99\n"
    "9,0.9,0.9,99\n",
    "functional_connectivity_analysis_metrics.csv": METRICS + "3,0.2,0.6,10.0\n5,0.0,0.0,1.0\n",
}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    for name, text in TABLES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def row(table: pd.DataFrame, **key: str) -> dict:
    for name, value in key.items():
        table = table[table[name] == value]
    (found,) = table.to_dict("records")
    return found


def test_quantiles_of_good_units_of_both_kinds_of_session(raw: Path) -> None:
    table = area_reference(raw)
    osi = row(table, area="VISp", cell_type="RS", metric="osi")
    assert (osi["n_units"], osi["median"]) == (3, 0.2)
    assert (osi["q05"], osi["q95"]) == (pytest.approx(0.11), pytest.approx(0.29))
    dsi = row(table, area="VISp", cell_type="RS", metric="dsi")
    assert (dsi["n_units"], dsi["median"]) == (2, pytest.approx(0.4))
    rate = row(table, area="VISp", cell_type="RS", metric="session_rate_Hz")
    assert (rate["n_units"], rate["median"]) == (3, 4.0)
    fast = row(table, area="VISp", cell_type="FS", metric="drifting_grating_rate_Hz")
    assert (fast["n_units"], fast["median"]) == (1, 25.0)
    assert row(table, area="CA1", cell_type="RS", metric="osi")["n_units"] == 1
    assert set(table["area"]) == {"VISp", "CA1"}


def test_layers_by_depth_along_the_probe(raw: Path) -> None:
    """Layers end at 169, 357, 505, 665 and 829 um, at .20, .43, .61, .80 and 1 of the depth: the units
    lie at 0, .6 and 1 of probe 1 and at .6 of probe 2."""
    units = raw / "units.csv"
    text = units.read_text().replace("2,10,0.7", "2,13,0.7").replace("3,10,0.5", "3,14,0.5")
    units.write_text(text.replace("4,10,0.3", "4,21,0.3"))
    table = layer_reference(raw, read_store().populations)
    found = {
        (one["layer"], one["cell_type"]): (one["n_units"], one["median"])
        for one in table[table["metric"] == "session_rate_Hz"].to_dict("records")
    }
    assert found == {
        ("VisL1", "RS"): (1, 2.0),
        ("VisL4", "RS"): (1, 4.0),
        ("VisL6", "RS"): (1, 9.0),
        ("VisL4", "FS"): (1, 20.0),
    }


def test_changed_columns_are_named(raw: Path) -> None:
    path = raw / "units.csv"
    path.write_text(path.read_text().replace("duration", "waveform_duration", 1))
    with pytest.raises(DataError, match="changed its columns") as caught:
        area_reference(raw)
    assert "no duration" in str(caught.value)


def test_live_store_has_them_beside_the_reference(
    server: AllenServer, tmp_path: Path, quick: Transfer
) -> None:
    server.files |= {f"/{name}": text.encode() for name, text in TABLES.items()}
    folder = fetch(
        tmp_path / "store",
        source="live",
        select=["neuropixels"],
        services={"neuropixels": server.url},
        transfer=quick,
    )
    extra = pd.read_csv(folder / "extra" / "neuropixels_by_area.csv")
    assert row(extra, area="VISp", cell_type="RS", metric="osi")["n_units"] == 3
    assert (folder / "extra" / "neuropixels_by_estimated_layer.csv").is_file()
    assert "[files." in (folder / "pins.toml").read_text()
