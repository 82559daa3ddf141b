"""Rates of BMTK FilterNet for a population written as SONATA and built by FilterNet itself."""

import warnings

import numpy as np
import pandas as pd
from bmtk.simulator.filternet import FilterNetwork
from bmtk.simulator.filternet.config import Config
from bmtk.simulator.filternet.default_setters import cell_loaders  # noqa: F401  (registers the loader)
from bmtk.simulator.filternet.lgnmodel.movie import Movie

from v1builder.sonata import write_nodes, write_types

_IN_TYPES = ("model_type", "model_template", "pop_name")


def filternet_cells(nodes, folder):
    """FilterNet's cell objects, read back from SONATA files in `folder`."""
    own = {name: values for name, values in nodes.attributes.items() if name not in _IN_TYPES}
    write_nodes(folder / "lgn_nodes.h5", "lgn", nodes.node_type_id, own)
    types = pd.DataFrame({name: nodes.attributes[name] for name in _IN_TYPES})
    types["node_type_id"] = nodes.node_type_id
    write_types(folder / "lgn_node_types.csv", types.drop_duplicates().set_index("node_type_id"))
    files = {"nodes_file": "lgn_nodes.h5", "node_types_file": "lgn_node_types.csv"}
    nodes_config = [{key: str(folder / name) for key, name in files.items()}]
    config = Config.from_dict(
        {
            "run": {"tstop": 1000.0, "dt": 1.0},
            "output": {"output_dir": str(folder / "output")},
            "networks": {"nodes": nodes_config, "edges": []},
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # BMTK's use of pandas is not ours to mend
        network = FilterNetwork.from_config(config)
        network.build()
    cells = sorted(network.cells(), key=lambda cell: cell.gid)
    return [cell.lgn_cell_obj for cell in cells]


def filternet_rates(cells, movie, dt=1.0, row_range=None, col_range=None, separable=True):
    """[step, unit] Hz, for a movie [step, row, column]."""
    shown = Movie(
        np.asarray(movie, float), row_range=row_range, col_range=col_range, frame_rate=1000 / dt
    )
    rates = [np.array(cell.evaluate(shown, separable=separable)[1], dtype=float) for cell in cells]
    return np.stack(rates, axis=1)[: len(movie)]
