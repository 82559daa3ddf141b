"""What all pages share: the look of figures, figures as files and inside a page, templates."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jinja2
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from v1builder.schema.files import atomic_file, write_text

STYLE: Final[Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "svg.hashsalt": "v1builder",
}
_COLORS: Final = (
    "#1b1b1b", "#3b76af", "#c4622d", "#4d8f4a", "#8a5fa8", "#b8912c", "#5aa3a3", "#b04a6b"
)  # fmt: skip
EXCITATORY, INHIBITORY = "#c8503c", "#3f6fa8"


def color_of(index: int) -> str:
    """Colour of what has this place in a list."""
    return _COLORS[index % len(_COLORS)]


def new_figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure of so many inches with axes side by side."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(1, columns, squeeze=False)[0]
    return figure, list(axes)


def save_figures(folder: Path, figures: Mapping[str, Figure]) -> dict[str, str]:
    """Write every figure as PNG into a folder.

    Returns:
        By name the same pictures in base64, for a page that needs no other file.
    """
    images = {}
    for name, figure in figures.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
        with atomic_file(folder / f"{name}.png") as temporary:
            temporary.write_bytes(buffer.getvalue())
        images[name] = base64.b64encode(buffer.getvalue()).decode("ascii")
    return images


def write_html(path: Path, template: str, **values: Any) -> Path:
    """Fill a template of this package and write the page.

    Args:
        path: of the page.
        template: file name.
        values: what the template asks for; a missing one is an error.
    """
    source = (Path(__file__).parent / template).read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    write_text(path, environment.from_string(source).render(**values))
    return path
