"""Parts of a column, for tests that need few cells but all distances."""

from dataclasses import fields

from v1builder.build.cells import PlacedCells


def subset(cells: PlacedCells, keep) -> PlacedCells:
    """Some of the cells."""
    return PlacedCells(
        **{field.name: getattr(cells, field.name)[keep] for field in fields(PlacedCells)}
    )
