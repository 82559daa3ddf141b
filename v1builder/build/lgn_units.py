"""The LGN: 17 400 units of 14 classes that tile 120 x 80 deg of the visual field.

Per tile and class the published number of units lies at uniform positions. Receptive-field sizes
are triangular(min, min + 1, max) deg; kernel peaks, weights and delays are the class's fit times
U(1 - jitter, 1 + jitter). Sources: Billeh et al. 2020; Durand et al. 2016.

Composite classes have two subfields `sf_sep` apart along `tuning_angle`: a dominant OFF and a
non-dominant ON one, with the kernels of other classes.

Attributes carry the names that BMTK's FilterNet reads. It takes the class from `model_template`
("lgnmodel:sON_TF8") and, having tables for all our classes, needs no `spont_fr` (only tON ones
would). Attributes that only composite units have are NaN for the others, where FilterNet does not
read them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.build.random import Purpose, generator
from v1builder.schema.recipe import LGNRecipe

#: Composite class -> (dominant kernel, non-dominant kernel, separation of the subfields in deg).
COMPOSITES = {
    "sONsOFF": ("sOFF_TF4", "sON_TF4", 6.0),
    "sONtOFF": ("tOFF_TF8", "sON_TF4", 4.0),
}
_KERNEL = ("weight", "kpeaks", "delay")
_COLUMNS = {"weight": "kernel_weight", "kpeaks": "kernel_peak", "delay": "kernel_delay_ms"}


@dataclass(frozen=True)
class LGNUnits:
    """LGN units in the order of their node ids.

    Attributes:
        type_index: [n] row of the table of classes.
        types: one row per class; columns of the node types table, without ids.
        attributes: [n]-arrays by FilterNet's names. Angles and positions in deg, delays in ms.
    """

    type_index: NDArray[np.int64]
    types: pd.DataFrame
    attributes: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.type_index)


def family(model_id: str) -> str:
    """The class without its number: "sON", "sOFF", "tOFF", "sONsOFF" or "sONtOFF"."""
    return model_id.split("_")[0]


def place_lgn_units(lgn_cell_types: pd.DataFrame, seed: int, recipe: LGNRecipe) -> LGNUnits:
    """Make the LGN units.

    Args:
        lgn_cell_types: one row per class.
        seed: of the network.
        recipe: choices about the LGN.
    """
    rng = generator(seed, Purpose.LGN_UNITS)
    n_tiles = recipe.tiles[0] * recipe.tiles[1]
    type_index = np.repeat(np.arange(len(lgn_cell_types)), lgn_cell_types["N"] * n_tiles)
    n = len(type_index)
    tile = np.concatenate([np.repeat(np.arange(n_tiles), count) for count in lgn_cell_types["N"]])
    smallest, largest = (
        lgn_cell_types[name].to_numpy(dtype=np.float64)[type_index]
        for name in ("min_size", "max_size")
    )
    attributes: dict[str, NDArray[Any]] = {
        "x": (tile % recipe.tiles[0] + rng.random(n)) * recipe.tile_deg,
        "y": (tile // recipe.tiles[0] + rng.random(n)) * recipe.tile_deg,
        "spatial_size": _triangular(rng.random(n), smallest, largest),
    }
    by_name = lgn_cell_types.set_index("model_id")
    composite = [COMPOSITES.get(family(name)) for name in lgn_cell_types["model_id"]]
    kernels = {
        "dom": [
            pair[0] if pair else name
            for name, pair in zip(lgn_cell_types["model_id"], composite, strict=True)
        ],
        "non_dom": [pair[1] if pair else None for pair in composite],
    }
    for subfield, names in kernels.items():
        fits = by_name.reindex(names)
        for quantity in _KERNEL:
            for k in (0, 1):
                fit = fits[f"{_COLUMNS[quantity]}_{k}"].to_numpy(dtype=np.float64)[type_index]
                factor = 1 + recipe.jitter * (2 * rng.random(n) - 1)
                attributes[f"{quantity}_{subfield}_{k}"] = fit * factor
    separation = np.array([pair[2] if pair else np.nan for pair in composite])[type_index]
    attributes["sf_sep"] = separation
    attributes["tuning_angle"] = np.where(np.isnan(separation), np.nan, 360 * rng.random(n))
    types = pd.DataFrame(
        {
            "model_type": "virtual",
            "model_template": "lgnmodel:" + lgn_cell_types["model_id"],
            "pop_name": lgn_cell_types["pop_name"],
            "ei": lgn_cell_types["ei"],
            "location": lgn_cell_types["location"],
        }
    )
    return LGNUnits(type_index, types, attributes)


def _triangular(
    u: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Quantile `u` of Triangular(low, low + 1, high); `low` where both are the same."""
    width = np.maximum(high - low, 1.0)
    rising = np.sqrt(u * width)  # to the mode, 1 above `low`
    falling = width - np.sqrt((1 - u) * width * (width - 1))
    return np.where(high > low, low + np.where(u < 1 / width, rising, falling), low)
