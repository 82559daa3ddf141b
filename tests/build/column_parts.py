"""Parts of a column, for tests that need few cells but all distances."""

from dataclasses import fields

from v1builder.build.cells import Cells


def subset(cells: Cells, keep) -> Cells:
    """Some of the cells."""
    return Cells(**{field.name: getattr(cells, field.name)[keep] for field in fields(Cells)})
