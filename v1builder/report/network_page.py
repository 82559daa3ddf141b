"""A network alone as one self-contained page: its cells in space, connections, weights, inputs, tuning."""

import json
from pathlib import Path
from typing import Any

from v1builder.load import Network
from v1builder.report.column import column_data, column_of, column_plot, has_places
from v1builder.report.inventory import Inventory, take_inventory
from v1builder.report.network_figures import (
    degree_plot,
    fields_plot,
    lgn_data,
    lgn_of,
    matrix_plot,
    tuning_plots,
    weight_plot,
)
from v1builder.report.templates import write_interactive

_TITLES = {
    "cells-in-space": "Column",
    "connections": "Connections",
    "inputs": "Inputs and tuning",
    "tables": "Populations and edges",
    "sources": "Sources",
}


def write_network_page(network: Network, path: Path | str, *, name: str = "") -> Path:
    """Write the page of a network; what the network does not say is left out.

    Args:
        network: to be shown.
        path: of the page.
        name: of the network, for people.

    Returns:
        The path.

    Raises:
        StorageError: the page cannot be written.
    """
    inventory = take_inventory(network)
    column = column_of(network) if has_places(network) else None
    lgn = lgn_of(network)
    plots = {
        "cells-in-space": [] if column is None else [column_plot(column)],
        "connections": [matrix_plot(network), degree_plot(network), weight_plot(network)],
        "inputs": [*([] if lgn is None else [fields_plot(lgn[0])]), *tuning_plots(network)],
    }
    shown = {part: [plot for plot in of if plot is not None] for part, of in plots.items()}
    data: dict[str, Any] = {}
    if column is not None:
        data["column"] = column_data(column)
        if lgn is not None:
            data["lgn"] = lgn_data(column, *lgn)
    return write_interactive(
        Path(path),
        "network.html.jinja",
        shown,
        data,
        name=name or network.simulated,
        answer=_answer(network, inventory),
        rests=_rests(network, inventory),
        sections=[(part, title) for part, title in _TITLES.items() if shown.get(part, [True])],
        simulated=network.simulated,
        populations=inventory.populations.to_dict("records"),
        edges=inventory.edges.to_dict("records"),
        notes=[*network.provenance.get("defaults", []), *inventory.notes],
        sources=inventory.sources,
        settings=json.dumps(inventory.settings, indent=2, default=str),
        versions=network.provenance.get("versions", {}),
    )


def _answer(network: Network, inventory: Inventory) -> str:
    """The network in one sentence."""
    own = inventory.populations[inventory.populations["nodes"] == network.simulated]
    recurrent = inventory.edges[inventory.edges["source"] == network.simulated]["count"].sum()
    given = inventory.edges[inventory.edges["source"] != network.simulated]["count"].sum()
    radius = network.provenance.get("radius_um")
    where = f" in a column of {radius:g} µm radius" if isinstance(radius, int | float) else ""
    return (
        f"{network.n_cells:,} cells of {len(own)} populations and {len(network.membrane.labels)} cell models"
        f"{where}, with {recurrent:,} edges among them and {given:,} from their inputs."
    )


def _rests(network: Network, inventory: Inventory) -> list[dict[str, str]]:
    """What is to be known of it: where it works, what was borrowed, what it was made from."""
    calibration = network.provenance.get("calibration", {}).get("summary")
    if calibration:
        point = (
            f"Calibrated: {calibration['n_met']} of {calibration['n_cell_models']} cell models reach their "
            "recorded spontaneous rate."
        )
    else:
        point = "Background weights are as built: v1builder calibrate tunes them to recorded rates."
    borrowed = sum(inventory.populations["borrowed"].tolist())
    seed = network.provenance.get("seed")
    sources = len(inventory.sources)
    return [
        {"name": "Operating point", "text": point, "look": "good" if calibration else ""},
        {
            "name": "Cell models",
            "text": f"{borrowed} of {len(network.membrane.labels)} are borrowed from another population."
            if borrowed
            else "None is borrowed from another population.",
            "look": "",
        },
        {
            "name": "Origin",
            "text": f"{sources} data sources{f', seed {seed}' if seed is not None else ''}."
            if sources
            else "The network names no sources.",
            "look": "",
        },
    ]
