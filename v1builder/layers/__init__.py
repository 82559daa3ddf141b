"""Layers of biological cells for anyone's PyTorch, with torch.nn's habits. See docs/layers.md."""

from v1builder.layers.cells import allen_cells
from v1builder.layers.glif import GLIF, GLIFR

__all__ = ["GLIF", "GLIFR", "allen_cells"]
