"""What is in a network folder: populations, cells, edges, models and where they come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from v1builder.curate.inventory import live_notes
from v1builder.load import Network


@dataclass(frozen=True)
class Inventory:
    """A network in numbers a person reads.

    Attributes:
        populations: one row per population of cells: cells, cell_models, borrowed (how many of the
            models come from another population) and from where.
        edges: one row per edge population: source, target, edges, synapses, mean weight (pA) and
            median delay (ms).
        sources: data sources with version, citation and licence.
        settings: what the network was built with.
        notes: which of its data were fetched live, which were not although their source was, how well
            short-term plasticity was fitted, and at which rates the boundary fires.
    """

    populations: pd.DataFrame
    edges: pd.DataFrame
    sources: list[dict[str, Any]]
    settings: dict[str, Any]
    notes: list[str]


def take_inventory(network: Network) -> Inventory:
    """Count what is in a network."""
    rows = []
    for population in network.nodes.values():
        names = population.attributes.get("pop_name", np.full(len(population), population.name))
        types = population.types
        for name in dict.fromkeys(names.astype(str)):
            cells = names == name
            used = types.loc[np.unique(population.node_type_id[cells])]
            borrowed = (
                used["borrowed_from"].dropna() if "borrowed_from" in used else pd.Series(dtype=str)
            )
            borrowed = borrowed[borrowed.astype(str).str.strip() != ""]
            rows.append(
                {
                    "nodes": population.name,
                    "population": name,
                    "cells": int(cells.sum()),
                    "cell_models": len(used),
                    "borrowed": len(borrowed),
                    "borrowed_from": ", ".join(sorted(set(borrowed.astype(str)))),
                }
            )
    edges = [
        {
            "edges": edge.name,
            "source": edge.source,
            "target": edge.target,
            "count": len(edge),
            "synapses": int(edge.nsyns.sum()),
            "mean_weight_pA": float(edge.weight.mean()) if len(edge) else float("nan"),
            "median_delay_ms": float(np.median(edge.delay)) if len(edge) else float("nan"),
        }
        for edge in network.edges.values()
    ]
    provenance = network.provenance
    settings = {
        key: provenance[key] for key in ("radius_um", "seed", "recipe") if key in provenance
    }
    return Inventory(
        pd.DataFrame(rows),
        pd.DataFrame(edges),
        provenance.get("data", {}).get("sources", []),
        settings,
        live_notes(provenance.get("data", {}).get("sources", []))
        + _fit_notes(provenance)
        + _boundary_notes(provenance),
    )


def _fit_notes(provenance: Mapping[str, Any]) -> list[str]:
    """How well short-term plasticity was fitted, where the network has it."""
    fit = provenance.get("short_term_plasticity")
    if fit is None:
        return []
    pooled = [f"{one['pre']} -> {one['post']}" for one in fit["pooled"]]
    also = f"; pooled: {', '.join(pooled)}" if pooled else ""
    notes = [f"short-term plasticity: {fit['n_fitted']} pairs of subclasses fitted{also}"]
    notes += [
        f"  residuals of {metric}: rms {one['rms']:.3f}, largest {one['largest']:+.3f} ({one['pair']})"
        for metric, one in fit.get("residuals", {}).items()
    ]
    if "draws" in fit:
        recipe = provenance["recipe"]["synapses"]
        notes.append(
            f"  synapses of a pair differ by {recipe['spread']:g} times what pairs do: "
            f"{recipe['n_draws']} draws, over every {recipe['spread_over']}"
        )
    return notes


def _boundary_notes(provenance: Mapping[str, Any]) -> list[str]:
    """What the virtual cells around the column are, where the network has them."""
    boundary = provenance.get("boundary")
    if boundary is None:
        return []
    recipe = provenance["recipe"]["boundary"]
    placed, without = boundary["n_placed"], boundary["n_without_target"]
    notes = [
        f"boundary: {placed} virtual cells around the column, up to {recipe['radius_um']:g} um; {without} "
        f"of them project to no cell and are left out; the others fire at recorded {recipe['rate']}"
    ]
    notes += [
        f"  rates of {one['population']} are those of {', '.join(one['rates_of'])} "
        f"({one['n_units']} units)"
        for one in boundary["rate_fallbacks"]
    ]
    return notes
