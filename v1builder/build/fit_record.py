"""What a network says about its short-term plasticity: where it is from and how well it was fitted."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

_TABLE = "synaptic_physiology"
_RESIDUAL = "_residual"


def fit_record(
    plasticity: pd.DataFrame, provenance: Mapping[str, Any], file: str
) -> dict[str, Any]:
    """The entry for provenance.json.

    Args:
        plasticity: `curate.short_term_plasticity`.
        provenance: of the store it was fitted to.
        file: where the network has the table.

    Returns:
        file, table, its references, model, n_fitted, the pooled pairs, and per metric (1) the root mean
        square of the residuals of fitted pairs, the largest one and its pair.
    """
    sources = [source for source in provenance.get("sources", ()) if _TABLE in source["tables"]]
    fitted = plasticity["source"] == "fitted"
    pooled = pd.DataFrame(plasticity.loc[~fitted, ["pre", "post", "n_pairs", "source"]])
    return {
        "file": file,
        "table": _TABLE,
        "references": [key for one in sources for key in one["tables"][_TABLE]["references"]],
        "model": "Tsodyks-Markram (Markram, Wang & Tsodyks 1998, PNAS 95:5323)",
        "n_fitted": int(np.count_nonzero(fitted)),
        "pooled": pooled.to_dict("records"),
        "residuals": _residuals(pd.DataFrame(plasticity[fitted])),
    }


def _residuals(fitted: pd.DataFrame) -> dict[str, dict[str, Any]]:
    found = {}
    for column in fitted.columns:
        if column.endswith(_RESIDUAL) and len(fitted):
            values = fitted[column].to_numpy(dtype=np.float64)
            worst = int(np.argmax(np.abs(values)))
            row = fitted.iloc[worst]
            found[column.removesuffix(_RESIDUAL)] = {
                "rms": float(np.sqrt(np.mean(values**2))),
                "largest": float(values[worst]),
                "pair": f"{row['pre']} -> {row['post']}",
            }
    return found
