"""In vivo rates and selectivity of visual areas from the tables of the Neuropixels Visual Coding set.

Units and their metrics are tables in a public bucket. They say the area and coordinates of a unit and the
duration of its spike, not its layer: that needs the annotated reference volume. So this gives regular-
and fast-spiking units by area, and by a layer estimated from how far down a unit lies between the
first and last channel of its probe in that area; beside table neuropixels_reference (by annotated
layer and class), which stays the snapshot's.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from v1builder.schema.errors import DataError
from v1builder.schema.recordings import QUANTILES

#: Least and greatest values of units that count; the defaults of the data set's own tools.
_QUALITY = {
    "presence_ratio": (0.95, np.inf),
    "isi_violations": (-np.inf, 0.5),
    "amplitude_cutoff": (-np.inf, 0.1),
}
#: ms; spikes from trough to peak that are shorter are those of fast-spiking cells (Siegle et al. 2021).
FAST_SPIKING_MS = 0.4
#: Metric -> column. Global selectivity indices, to drifting gratings.
_METRICS = {
    "osi": "g_osi_dg",
    "dsi": "g_dsi_dg",
    "drifting_grating_rate_Hz": "firing_rate_dg",
    "session_rate_Hz": "firing_rate",
}


def area_reference(raw: Path) -> pd.DataFrame:
    """Quantiles over units by area and kind of spike.

    Args:
        raw: folder with units.csv, channels.csv and the two tables of analysis metrics.

    Returns:
        Columns area, cell_type ("RS" or "FS"), metric, n_units, q05, q25, median, q75, q95.

    Raises:
        DataError: a table lacks a column.
    """
    return _quantiles(_good_units(raw), ["area", "cell_type"])


def layer_reference(raw: Path, populations: pd.DataFrame, area: str = "VISp") -> pd.DataFrame:
    """Quantiles over units of an area by estimated layer and kind of spike.

    The channels of a probe in the area span its depth, pia to white matter, in the common coordinate
    framework; layers share it as the populations' depths share the depth of V1.

    Args:
        raw: as in `area_reference`.
        populations: table populations: location, depth_bottom_um.
        area: whose layers are like those of `populations`.

    Returns:
        Columns layer (location of a population, "VisL4"), cell_type, metric, n_units and quantiles.

    Raises:
        DataError: a table lacks a column.
    """
    place = "dorsal_ventral_ccf_coordinate"  # um, grows downwards
    columns = ["id", "ecephys_probe_id", "ecephys_structure_acronym", place]
    channels = _read(raw / "channels.csv", columns)
    channels = pd.DataFrame(channels[channels["ecephys_structure_acronym"] == area])
    of_probe = channels.groupby("ecephys_probe_id")[place]
    top = np.asarray(of_probe.transform("min"), dtype=float)
    height = np.asarray(of_probe.transform("max"), dtype=float) - top
    spans = height > 0  # not so for a single channel in the area
    depth = (np.asarray(channels[place], dtype=float) - top)[spans] / height[spans]
    ends: dict[str, float] = {}
    for row in populations.to_dict("records"):
        ends[row["location"]] = max(ends.get(row["location"], 0.0), row["depth_bottom_um"])
    names = sorted(ends, key=lambda name: ends[name])
    fractions = np.array([ends[name] for name in names]) / ends[names[-1]]
    layer = np.array(names)[np.searchsorted(fractions, depth)]
    channels = pd.DataFrame(channels[spans]).assign(layer=layer)
    of_channel = channels.rename(columns={"id": "ecephys_channel_id"})
    units = _good_units(raw).merge(of_channel[["ecephys_channel_id", "layer"]])
    return _quantiles(units, ["layer", "cell_type"])


def _good_units(raw: Path) -> pd.DataFrame:
    """Units that pass the quality criteria, with area, cell_type and the analysis metrics."""
    columns = ["id", "ecephys_channel_id", "duration", "firing_rate", *_QUALITY]
    units = _read(raw / "units.csv", columns)
    channels = _read(raw / "channels.csv", ["id", "ecephys_structure_acronym"])
    metrics = pd.concat(
        [
            _read(raw / f"{name}_analysis_metrics.csv", ["ecephys_unit_id", *_metric_columns()])
            for name in ("brain_observatory_1.1", "functional_connectivity")
        ]
    ).drop_duplicates("ecephys_unit_id")
    for name, (low, high) in _QUALITY.items():
        units = pd.DataFrame(units[(units[name] > low) & (units[name] < high)])
    channels = channels.rename(columns={"id": "ecephys_channel_id"})
    units = units.merge(channels, on="ecephys_channel_id", validate="m:1")
    units = units.merge(metrics, left_on="id", right_on="ecephys_unit_id", validate="1:1")
    units["cell_type"] = np.where(units["duration"] < FAST_SPIKING_MS, "FS", "RS")
    return units.rename(columns={"ecephys_structure_acronym": "area"})


def _quantiles(units: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Number of units and quantiles of every metric, per group."""
    rows = []
    for kind, group in units.groupby(by):
        names = dict(zip(by, map(str, np.asarray(kind, dtype=object)), strict=True))
        for metric, column in _METRICS.items():
            values = group[column].dropna().to_numpy(dtype=float)
            if len(values):
                quantiles = {name: float(np.quantile(values, q)) for name, q in QUANTILES.items()}
                rows.append(names | {"metric": metric, "n_units": len(values)} | quantiles)
    return pd.DataFrame(rows, columns=[*by, "metric", "n_units", *QUANTILES])


def _metric_columns() -> list[str]:
    return [column for column in _METRICS.values() if column != "firing_rate"]


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    frame = pd.read_csv(path)
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise DataError.of(
            "a table of the Neuropixels data set has changed its columns",
            path,
            f"no {', '.join(missing)}",
            "report it; meanwhile leave this source out (--select)",
        )
    return pd.DataFrame(frame[columns])
