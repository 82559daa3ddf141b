"""Colours of figures: of conditions, of excitation and inhibition, of populations of cells."""

from collections.abc import Sequence
from typing import Final

_COLORS: Final = (
    "#1b1b1b", "#3b76af", "#c4622d", "#4d8f4a", "#8a5fa8", "#b8912c", "#5aa3a3", "#b04a6b"
)  # fmt: skip
EXCITATORY, INHIBITORY = "#c8503c", "#3f6fa8"
#: By what a name of a population holds; excitatory ones have shades of their own.
_SUBCLASSES: Final = {"Pvalb": "#2f62a3", "Sst": "#3d8a52", "Vip": "#7b52a0", "Htr3a": "#2a9296"}
_EXCITATORY: Final = (
    "#7f1d1d", "#b3372b", "#d1573a", "#e07b4f", "#eda26d", "#c98a1b", "#a86a12", "#8c5a3c", "#d9a441"
)  # fmt: skip


def color_of(index: int) -> str:
    """Colour of what has this place in a list."""
    return _COLORS[index % len(_COLORS)]


def population_colors(names: Sequence[str], excitatory: Sequence[bool]) -> dict[str, str]:
    """A colour for every population: warm ones are excitatory, one per subclass of inhibitory cells.

    Args:
        names: of the populations, each once.
        excitatory: of each.
    """
    found, n_warm = {}, 0
    for index, (name, warm) in enumerate(zip(names, excitatory, strict=True)):
        known = next((color for part, color in _SUBCLASSES.items() if part in name), None)
        if warm:
            found[name] = _EXCITATORY[n_warm % len(_EXCITATORY)]
            n_warm += 1
        else:
            found[name] = known or color_of(index + 1)
    return found


def faint(color: str, alpha: float) -> str:
    """The colour with an opacity from 0 to 1."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"
