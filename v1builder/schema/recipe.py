"""What a user may choose about a network. The defaults are the published model.

Sources of the numbers: Billeh et al. 2020 (Neuron 106:388) and the Allen Institute's V1 model that
followed it. Everything that differs between populations or classes is data, not recipe.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from v1builder.schema.config import Settings
from v1builder.schema.errors import ConfigError, raise_if_any, unknown_name

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


_LAYERS: dict[str, tuple[str, ...]] = {
    "VisL1": ("1",),
    "VisL23": ("2/3",),
    "VisL4": ("4",),
    "VisL5": ("5",),
    "VisL6": ("6a",),
}
_BORROW: dict[str, tuple[str, ...]] = {
    "e4other": ("e4Nr5a1", "e4Rorb", "e4Scnn1a"),
    "i5Vip": ("i23Vip", "i4Vip"),
    "i6Vip": ("i23Vip", "i4Vip"),
}


class SelectionRule(Settings):
    """Which specimens stand for which V1 population. The defaults are the published model.

    Attributes:
        populations: of the network, by name or pattern (`"?4*"` is layer 4 alone); all if empty. Those
            left out are missing as sources of input, too.
        area: cortical area of the specimens.
        fallback_areas: for a population that selects nothing in `area`, areas to look in, in this
            order. Its models then say so (`borrowed_from` is the area).
        explained_variance_min: least explained variance of the second noise stimulus, exclusive.
        glif_level: level of the GLIF model that must explain it, and that the cells get. Fits whose
            reset multiplies the voltage by a factor outside [0, 1], which no simulator accepts, do
            not count (34 of the 254 specimens with levels 2, 4 and 5).
        layers: layers of the specimens for each `location` of a population. Layer 6b is left out:
            all 37 published cell models of layer 6 come from 6a, and the one specimen of 6b that
            would pass the other criteria (522147522) is not among the published ones.
        borrow: for a population that selects nothing in any of the areas, the populations whose
            models it uses.
    """

    populations: tuple[str, ...] = ()
    area: str = "VISp"
    fallback_areas: tuple[str, ...] = ()
    explained_variance_min: Annotated[float, Field(le=1)] = 0.7
    glif_level: Annotated[int, Field(ge=1, le=5)] = 3
    layers: dict[str, tuple[str, ...]] = _LAYERS
    borrow: dict[str, tuple[str, ...]] = _BORROW

    def chosen(self, names: Sequence[str]) -> list[str]:
        """Those of all population names that the network has, in their order.

        Raises:
            ConfigError: something in `populations` fits no name.
        """
        raise_if_any(
            [
                unknown_name("population", pattern, names, "recipe, selection.populations")
                for pattern in self.populations
                if not any(fnmatchcase(name, pattern) for name in names)
            ],
            ConfigError,
        )
        patterns = self.populations or ("*",)
        return [n for n in names if any(fnmatchcase(n, pattern) for pattern in patterns)]


class CellRecipe(Settings):
    """V1 cells.

    Attributes:
        poisson_counts: draw the number of cells of each cell model (and of each population of the
            boundary) from a Poisson distribution around the number that it would otherwise have.
    """

    poisson_counts: bool = False


class RecurrentRecipe(Settings):
    """Edges from V1 to V1.

    Attributes:
        weight_tuning: "none" draws every weight independently of tuning; "like_to_like" gives
            similarly tuned pairs the stronger weights of the same distribution.
        displacement_um: shift of the centre of connection probability along the target's preferred
            direction, um; at most the diameter of the largest column.
        core_radius_um: radius of the column's core, um. Targets beyond 1.5 times it, near the edge
            of the full column, are not displaced.
    """

    weight_tuning: Literal["none", "like_to_like"] = "none"
    displacement_um: Annotated[float, Field(ge=0, le=1400)] = 50.0
    core_radius_um: NotNegative = 400.0


class SynapseRecipe(Settings):
    """Synapses from V1 to V1. Those of the LGN and the background are static: nobody measured them.

    Attributes:
        dynamics: "static", or "stp": short-term plasticity (Tsodyks-Markram) fitted to the Allen
            Synaptic Physiology data. A spike after a long rest has the same effect in both.
        spread: how much the synapses of a pair of subclasses differ in their short-term plasticity: standard
            deviation of the two fitted metrics among them, in units of that between the pairs; 0: they are
            all alike. See `curate.plasticity_draws`.
        spread_over: "source": a cell's synapses onto cells of one class are alike; "edge": none are.
        n_draws: different synapses of each pair of subclasses.
    """

    dynamics: Literal["static", "stp"] = "static"
    spread: Annotated[float, Field(ge=0, le=3)] = 0.0
    spread_over: Literal["source", "edge"] = "source"
    n_draws: Annotated[int, Field(ge=3, le=16)] = 8

    @model_validator(mode="after")
    def _spread_of_something(self) -> Self:
        if self.spread > 0 and self.dynamics == "static":
            raise ValueError(
                'static synapses have no spread; choose dynamics = "stp", or spread = 0'
            )
        return self


class LGNRecipe(Settings):
    """LGN units and their edges to V1. Angles and visual distances are in degrees.

    Attributes:
        tiles: number of tiles of the visual field, (horizontal, vertical).
        tile_deg: side of a tile.
        jitter: relative half-width of the uniform jitter of kernel parameters.
        deg_per_um: retinotopy, visual degrees per um of cortex along (x, z).
        search_radius_deg: only units within this distance of the receptive-field centre connect.
        subfield_sigma_deg: standard deviation of an ON or OFF subfield.
        subfield_shift_deg: shift of a subfield's centre from the receptive-field centre.
        subfield_aspect: elongation of a subfield across the preferred direction (ratio of axes).
        composite_tolerance_deg: a composite unit connects where its orientation differs from the
            target's by less than this.
        synapse_fraction: synapses from the LGN as a fraction of an L4 excitatory cell's synapses.
        delay_ms: synaptic delay.
    """

    tiles: tuple[Count, Count] = (15, 10)
    tile_deg: Positive = 8.0
    jitter: Fraction = 0.025
    deg_per_um: tuple[NotNegative, NotNegative] = (0.07, 0.04)
    search_radius_deg: Positive = 40.0
    subfield_sigma_deg: Positive = 5.0
    subfield_shift_deg: NotNegative = 2.5
    subfield_aspect: Positive = 1.5
    composite_tolerance_deg: NotNegative = 15.0
    synapse_fraction: Fraction = 0.2
    delay_ms: Positive = 1.7


class BackgroundRecipe(Settings):
    """The background: Poisson units that stand for the rest of the brain.

    Attributes:
        n_units: number of units.
        rate_Hz: firing rate of each unit.
        n_per_cell: units that each V1 cell receives.
        delay_ms: synaptic delay.
    """

    n_units: Count = 100
    rate_Hz: NotNegative = 250.0  # noqa: N815 (the unit)
    n_per_cell: Count = 4
    delay_ms: Positive = 1.0


class BoundaryRecipe(Settings):
    """Virtual cells around a small column: the recurrent input that it would have in a larger one.

    They are of the column's populations, in the numbers, places and connections that a column of
    `radius_um` has; weights, delays, kinetics and short-term plasticity are those of `recurrent` and
    `synapses`.

    Attributes:
        radius_um: outer radius of the ring that they fill, above the column's and at most 700; None
            for an open edge.
        rate: metric of the recordings that they fire at, on a gray screen or over gratings.
    """

    radius_um: Positive | None = None
    rate: Literal["spontaneous_rate_Hz", "mean_rate_Hz"] = "spontaneous_rate_Hz"


class BuildRecipe(Settings):
    """Every choice in building a network, apart from its radius and seed.

    Example of a TOML file:
        [recurrent]
        weight_tuning = "like_to_like"
    """

    selection: SelectionRule = SelectionRule()
    cells: CellRecipe = CellRecipe()
    recurrent: RecurrentRecipe = RecurrentRecipe()
    synapses: SynapseRecipe = SynapseRecipe()
    lgn: LGNRecipe = LGNRecipe()
    background: BackgroundRecipe = BackgroundRecipe()
    boundary: BoundaryRecipe = BoundaryRecipe()
