"""Tables to a valid network in one call. Needs no torch."""

from pathlib import Path

from v1builder import curate
from v1builder.build import Progress, build_network
from v1builder.schema.config import load_settings
from v1builder.schema.recipe import BuildRecipe


def build(
    out: Path | str,
    *,
    radius: float = 100.0,
    seed: int = 1,
    store: Path | str | None = None,
    recipe: BuildRecipe | Path | str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    threads: int | None = None,
) -> Path:
    """Build a V1 column with its inputs as a SONATA network, and validate it.

    The inputs are the LGN, the background and, where the recipe has one, the boundary: virtual cells
    around the column.

    Args:
        out: folder to create.
        radius: of the column, um, from 30 to 700.
        seed: a whole number >= 0. Same seed, same bytes.
        store: made by `fetch`; the snapshot shipped with the package unless given.
        recipe: or a TOML file of one; the published model unless given.
        overwrite: replace an existing folder.
        progress: told how far the build is, as progress(stage, done, total).
        threads: how many to use; all (or NUMBA_NUM_THREADS) unless given.

    Returns:
        The folder.

    Raises:
        ConfigError: the radius, seed or recipe is not valid, or they do not fit together.
        DataError: the store is missing or damaged.
        StorageError: `out` is in the way or the file system refused.
        NetworkError: the network that was built is not valid (a fault of the builder).
    """
    if recipe is None:
        recipe = BuildRecipe()
    elif not isinstance(recipe, BuildRecipe):
        recipe = load_settings(recipe, BuildRecipe)
    tables = curate.read_store(store)
    plasticity = draws = None
    synapses = recipe.synapses
    if synapses.dynamics == "stp":
        plasticity = curate.short_term_plasticity(tables.synaptic_physiology)
        if synapses.spread > 0:
            draws = curate.plasticity_draws(
                tables.synaptic_physiology, plasticity, synapses.spread, synapses.n_draws, seed
            )
    return build_network(
        tables,
        curate.cell_models(tables, recipe.selection),
        recipe,
        radius,
        seed,
        out,
        plasticity=plasticity,
        draws=draws,
        progress=progress,
        overwrite=overwrite,
        threads=threads,
    )
