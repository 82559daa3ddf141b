"""Pages from templates of this package."""

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from v1builder.report.plots import Plot, as_json
from v1builder.schema.files import write_text

_FOLDER = Path(__file__).parent


def write_html(path: Path, template: str, **values: Any) -> Path:
    """Fill a template of this package and write the page.

    Args:
        path: of the page.
        template: file name.
        values: what the template asks for; a missing one is an error.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    write_text(path, environment.get_template(template).render(**values))
    return path


def write_interactive(
    path: Path, template: str, plots: dict[str, list[Plot]], data: dict[str, Any], **values: Any
) -> Path:
    """Fill a template that extends interactive.html.jinja: one file, with all that draws its figures.

    Args:
        path: of the page.
        template: file name.
        plots: figures by the section they are in.
        data: what the script of the page needs besides figures, see page.js.
        values: what else the template asks for.
    """
    figures = {plot.id: plot.record() for shown in plots.values() for plot in shown}
    return write_html(
        path,
        template,
        plots=plots,
        page_data=Markup(as_json({"figures": figures, **data})),
        styles=_part("page.css"),
        script=_part("page.js"),
        plotly=Markup(get_plotlyjs()),
        **values,
    )


def _part(name: str) -> Markup:
    return Markup((_FOLDER / name).read_text(encoding="utf-8"))
