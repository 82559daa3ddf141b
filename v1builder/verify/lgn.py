"""LGN rates against BMTK FilterNet: every class, on gratings, flashes and a natural movie.

Both read the same SONATA nodes: a few units of every class as the builder places them (fitted kernels,
jitter, random sizes and places). A class's error is the largest difference of any unit at any time,
relative to the peak rate of the class.
"""

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from v1builder.build.lgn_units import place_lgn_units
from v1builder.curate import read_store
from v1builder.lgn import LGN
from v1builder.load.network import NodePopulation
from v1builder.schema.recipe import LGNRecipe
from v1builder.sonata import write_nodes, write_types
from v1builder.verify.agreement import Measured, case

SHAPE: Final = (80, 120)  # rows, columns: 1 pixel per degree
PER_CLASS: Final = 3
#: Of the peak rate. Both evaluate the same sums in float64, so only rounding is left.
LIMIT: Final = 1e-12
#: Hz; a class whose rates vary less would make the comparison empty.
_LEAST_SD: Final = 0.01
_IN_TYPES: Final = ("model_type", "model_template", "pop_name")

Movie = NDArray[np.float64]


def lgn_units(per_class: int = PER_CLASS, seed: int = 3) -> NodePopulation:
    """The first units of every class of the LGN that the builder makes with a seed, spread over it."""
    units = place_lgn_units(read_store().lgn_cell_types, seed, LGNRecipe())
    kept = np.concatenate(
        [
            np.flatnonzero(units.type_index == row)[:: max(1, count // per_class)][:per_class]
            for row, count in enumerate(np.bincount(units.type_index))
        ]
    )
    type_id = units.type_index[kept].astype(np.int64)
    attributes = {name: np.asarray(values)[kept] for name, values in units.attributes.items()}
    attributes |= {name: units.types[name].to_numpy()[type_id] for name in _IN_TYPES}
    return NodePopulation("lgn", np.arange(len(kept)), type_id, attributes, units.types)


def grating(theta: float, sf: float, tf: float, contrast: float = 0.8, n_steps: int = 700) -> Movie:
    """A grating that drifts after 50 ms of gray: direction in deg, cycles/deg, Hz."""
    y, x = (np.arange(n) for n in SHAPE)
    angle = np.deg2rad(theta)
    along = x * np.cos(angle) + y[:, None] * np.sin(angle)
    movie = np.zeros((n_steps, *SHAPE))
    t = np.arange(n_steps - 50)[:, None, None] / 1000
    movie[50:] = contrast * np.sin(2 * np.pi * (sf * along - tf * t))
    return movie


def flashes(sign: int, n_steps: int = 1200) -> Movie:
    """Full-field flashes of 100 ms at contrasts .1, .3 and 1, brighter (+1) or darker (-1) than gray."""
    movie = np.zeros((n_steps, *SHAPE))
    for onset, contrast in ((100, 0.1), (450, 0.3), (800, 1.0)):
        movie[onset : onset + 100] = sign * contrast
    return movie


def natural_movie(n_steps: int = 600, seed: int = 11) -> Movie:
    """Noise with the statistics of natural scenes: amplitude 1/f in space and 1/f in time.

    Source of the spectrum: Dong and Atick 1995, Network 6:345. Standard deviation .3, cut at +-1.
    """
    noise = np.random.default_rng(seed).standard_normal((n_steps, *SHAPE))
    ft, fy, fx = (np.fft.fftfreq(n) for n in noise.shape)
    space = np.hypot(fy[:, None], fx).clip(1 / max(SHAPE))
    spectrum = np.fft.fftn(noise) / (space * np.abs(ft).clip(1 / n_steps)[:, None, None])
    spectrum[0, 0, 0] = 0
    movie = np.fft.ifftn(spectrum).real
    return np.clip(0.3 * movie / movie.std(), -1, 1)


STIMULI: Final[dict[str, dict[str, Callable[[], Movie]]]] = {
    "gratings": {
        "drifting 45 deg, .05 cpd, 4 Hz": partial(grating, 45, 0.05, 4),
        "drifting 270 deg, .02 cpd, 15 Hz": partial(grating, 270, 0.02, 15),
        "drifting 160 deg, .08 cpd, 2 Hz, contrast .2": partial(grating, 160, 0.08, 2, 0.2),
        "static 100 deg, .04 cpd": partial(grating, 100, 0.04, 0),
    },
    "flashes": {"on": partial(flashes, 1), "off": partial(flashes, -1)},
    "a natural movie": {"1/f in space and time": natural_movie},
}


def filternet_cells(nodes: NodePopulation, folder: Path) -> list[Any]:
    """FilterNet's cell objects, read back from SONATA files in `folder`."""
    from bmtk.simulator.filternet import FilterNetwork
    from bmtk.simulator.filternet.config import Config
    from bmtk.simulator.filternet.default_setters import (  # noqa: F401  (registers the loader)
        cell_loaders,
    )

    own = {name: values for name, values in nodes.attributes.items() if name not in _IN_TYPES}
    write_nodes(folder / "lgn_nodes.h5", "lgn", nodes.node_type_id, own)
    types = pd.DataFrame({name: nodes.attributes[name] for name in _IN_TYPES})
    types["node_type_id"] = nodes.node_type_id
    write_types(folder / "lgn_node_types.csv", types.drop_duplicates().set_index("node_type_id"))
    files = {"nodes_file": "lgn_nodes.h5", "node_types_file": "lgn_node_types.csv"}
    config = Config.from_dict(
        {
            "run": {"tstop": 1000.0, "dt": 1.0},
            "output": {"output_dir": str(folder / "output")},
            "networks": {
                "nodes": [{key: str(folder / name) for key, name in files.items()}],
                "edges": [],
            },
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # BMTK's use of pandas is not ours to mend
        network = FilterNetwork.from_config(config)
        network.build()
    cells = sorted(network.cells(), key=lambda cell: cell.gid)
    return [cell.lgn_cell_obj for cell in cells]


def filternet_rates(
    cells: list[Any],
    movie: NDArray[Any],
    dt: float = 1.0,
    row_range: NDArray[Any] | None = None,
    col_range: NDArray[Any] | None = None,
    separable: bool = True,
) -> NDArray[np.float64]:
    """[step, unit] Hz, for a movie [step, row, column]."""
    from bmtk.simulator.filternet.lgnmodel.movie import Movie as FilterNetMovie

    shown = FilterNetMovie(
        np.asarray(movie, float), row_range=row_range, col_range=col_range, frame_rate=1000 / dt
    )
    rates = [np.array(cell.evaluate(shown, separable=separable)[1], dtype=float) for cell in cells]
    return np.stack(rates, axis=1)[: len(movie)]


def compare_classes(
    nodes: NodePopulation, ours: NDArray[np.float64], theirs: NDArray[np.float64]
) -> pd.DataFrame:
    """Rates of two implementations, class by class.

    Args:
        nodes: the units.
        ours: [step, unit] Hz.
        theirs: [step, unit] Hz.

    Returns:
        One row per class: lgn_class, correlation, relative_error, peak_Hz and sd_Hz of theirs.
    """
    rows = []
    names = nodes.attributes["pop_name"].astype(str)
    for name in dict.fromkeys(names):
        a, b = ours[:, names == name], theirs[:, names == name]
        rows.append(
            {
                "lgn_class": name,
                "correlation": np.corrcoef(a.ravel(), b.ravel())[0, 1] if b.std() > 0 else np.nan,
                "relative_error": np.abs(a - b).max() / b.max(),
                "peak_Hz": b.max(),
                "sd_Hz": b.std(),
            }
        )
    return pd.DataFrame(rows)


def compare_lgn(stimuli: dict[str, Callable[[], Movie]], folder: Path) -> pd.DataFrame:
    """Every stimulus through both; columns of `compare_classes` and stimulus."""
    nodes = lgn_units()
    cells = filternet_cells(nodes, folder)
    ours = LGN(nodes, dtype=torch.float64)
    parts = []
    for name, make in stimuli.items():
        movie = make()
        rates = ours.rates(torch.as_tensor(movie)).numpy()
        table = compare_classes(nodes, rates, filternet_rates(cells, movie))
        parts.append(table.assign(stimulus=name))
    return pd.concat(parts, ignore_index=True)


def _measure(stimuli: dict[str, Callable[[], Movie]], folder: Path) -> Measured:
    table = compare_lgn(stimuli, folder)
    worst = table.loc[table["relative_error"].idxmax()]
    silent = table.loc[table["sd_Hz"] < _LEAST_SD, "lgn_class"].tolist()
    result = (
        f"{table['lgn_class'].nunique()} classes: correlation at least "
        f"{table['correlation'].min():.12f}, largest error {worst['relative_error']:.1e} of the peak "
        f"({worst['lgn_class']}, {worst['stimulus']})"
    )
    if silent:
        result += f"; no response of {', '.join(sorted(set(silent)))}"
    return Measured(result, float("nan") if silent else float(worst["relative_error"]), LIMIT)


for _kind, _stimuli in STIMULI.items():
    case(
        f"LGN rates to {_kind}",
        reference="BMTK FilterNet",
        compared=f"rates of {PER_CLASS} units of all 14 classes: {'; '.join(_stimuli)}",
        needs="bmtk",
        slow=True,
    )(partial(_measure, _stimuli))
