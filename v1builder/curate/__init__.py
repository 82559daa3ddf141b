"""Published tables, checked, and the cell models made of them, in model units."""

from v1builder.curate.cell_models import cell_models
from v1builder.curate.plasticity import plasticity_draws, short_term_plasticity
from v1builder.curate.selection import select_cell_models
from v1builder.curate.store import Store, read_store
from v1builder.schema.citations import Citation, citations
from v1builder.schema.recipe import SelectionRule

__all__ = [
    "Citation",
    "SelectionRule",
    "Store",
    "cell_models",
    "citations",
    "plasticity_draws",
    "read_store",
    "select_cell_models",
    "short_term_plasticity",
]
