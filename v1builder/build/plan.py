"""Everything about a network that is decided before its edges are drawn."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.build.boundary import place_boundary
from v1builder.build.cells import PlacedCells, place_cells
from v1builder.build.connectivity import PairRule, pair_rule
from v1builder.build.edge_types import SynapseModels, plasticity_of_classes
from v1builder.build.lgn_units import LGNUnits, place_lgn_units
from v1builder.build.node_types import build_models
from v1builder.build.random import Purpose, hashed, stream_key
from v1builder.build.weights import Receptors, WeightRule, receptors, weight_rule
from v1builder.schema.names import SYNAPSE_CLASSES
from v1builder.schema.recipe import BuildRecipe


class Tables(Protocol):
    """The published tables the builder reads (a curated store has them all).

    Columns are those of the curated tables; units are in their names.
    """

    @property
    def specimens(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def populations(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def connection_probability(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def distance_orientation_rule(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def psp_lookup(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def psp_amplitude(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def synapse_kinetics(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def lgn_cell_types(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def lgn_to_v1(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def neuropixels_reference(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def neuropixels_units(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def background_target_rate(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def provenance(self) -> dict[str, Any]: ...  # noqa: D102


@dataclass(frozen=True)
class Plan:
    """What the nodes and edges of a network are made from.

    `cells` are simulated, `ring` are the virtual ones around them; indices of populations and models are
    rows of `populations` and `models`.
    """

    tables: Tables
    recipe: BuildRecipe
    seed: int
    populations: pd.DataFrame
    models: pd.DataFrame
    ports: Receptors
    cells: PlacedCells
    ring: PlacedCells | None
    units: LGNUnits
    pairs: PairRule
    weights: WeightRule
    plasticity: dict[tuple[str, str], SynapseModels] | None

    @property
    def n_draws(self) -> int:
        """Synapse models of each pair of synapse classes."""
        return 1 if self.plasticity is None else len(next(iter(self.plasticity.values())))

    def resting_release(self) -> NDArray[np.float64]:
        """[p, m, draw] release u x of a spike from rest: U, or 1 where synapses are static."""
        pre = self.populations["synapse_class"]
        post = self.models["synapse_class"]
        if self.plasticity is None:
            return np.ones((len(pre), len(post), 1))
        return np.array([[[one["U"] for one in self.plasticity[a, b]] for b in post] for a in pre])

    def draw_of(
        self, source: NDArray[np.integer], target: NDArray[np.integer]
    ) -> NDArray[np.intp] | int:
        """[e] which of its synapse models an edge has: the same in whatever block it is made.

        Args:
            source: [e] cells, those of the boundary after those of the column.
            target: [e] cells of the column.
        """
        if self.n_draws == 1:
            return 0
        key = stream_key(self.seed, Purpose.PLASTICITY)
        if self.recipe.synapses.spread_over == "source":
            classes = self.models["synapse_class"].map(SYNAPSE_CLASSES.index).to_numpy()
            target = classes[self.cells.type_index[target]]
        return (hashed(key, source, target) % np.uint64(self.n_draws)).astype(np.intp)


def make_plan(
    tables: Tables,
    cell_models: pd.DataFrame,
    recipe: BuildRecipe,
    radius: float,
    seed: int,
    plasticity: pd.DataFrame | None,
) -> Plan:
    """Place the nodes and join the tables.

    Args:
        tables: the published tables.
        cell_models: one row per (population, cell model) in use.
        recipe: every choice but radius and seed.
        radius: of the column, um.
        seed: of the network.
        plasticity: by pair of subclasses, and draw where there are several; None for static synapses.

    Raises:
        ConfigError, DataError: as `build_network`.
    """
    chosen = recipe.selection.chosen(list(tables.populations["population"]))
    in_network = tables.populations["population"].isin(chosen)
    populations = pd.DataFrame(tables.populations[in_network]).reset_index(drop=True)
    models = build_models(cell_models, populations)
    ports = receptors(tables.synapse_kinetics, models)
    return Plan(
        tables=tables,
        recipe=recipe,
        seed=seed,
        populations=populations,
        models=models,
        ports=ports,
        cells=place_cells(
            populations, models["population"], radius, seed, recipe.cells, tables.populations
        ),
        ring=place_boundary(populations, tables.populations, radius, seed, recipe),
        units=place_lgn_units(tables.lgn_cell_types, seed, recipe.lgn),
        pairs=pair_rule(
            populations, tables.connection_probability, tables.distance_orientation_rule
        ),
        weights=weight_rule(populations, models, tables.psp_lookup, tables.psp_amplitude, ports),
        plasticity=None if plasticity is None else plasticity_of_classes(plasticity),
    )
