"""In vivo rates and selectivity of visual areas from the tables of the Neuropixels Visual Coding set.

Units and their metrics are tables in a public bucket. They say the area of a unit and the duration of
its spike, not its layer: that needs the annotated reference volume and the depth of every probe. So
this gives regular- and fast-spiking units by area, beside table neuropixels_reference (by layer and
class), which stays the snapshot's.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from v1builder.schema.errors import DataError

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
_QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}


def area_reference(raw: Path) -> pd.DataFrame:
    """Quantiles over units by area and kind of spike.

    Args:
        raw: folder with units.csv, channels.csv and the two tables of analysis metrics.

    Returns:
        Columns area, cell_type ("RS" or "FS"), metric, n_units, q05, q25, median, q75, q95.

    Raises:
        DataError: a table lacks a column.
    """
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
    rows = []
    for kind, group in units.groupby(["ecephys_structure_acronym", "cell_type"]):
        area, cell_type = map(str, np.atleast_1d(np.asarray(kind, dtype=object)))
        for metric, column in _METRICS.items():
            values = group[column].dropna().to_numpy(dtype=float)
            if len(values):
                names = {"area": area, "cell_type": cell_type, "metric": metric}
                quantiles = {name: float(np.quantile(values, q)) for name, q in _QUANTILES.items()}
                rows.append(names | {"n_units": len(values)} | quantiles)
    return pd.DataFrame(rows)


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
