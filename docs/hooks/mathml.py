"""Formulas as MathML, which browsers draw by themselves: no script, no font, no other host."""

import html
import re

from latex2mathml.converter import convert

_FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)


class FormulaError(ValueError):
    """A formula that cannot be drawn."""


def with_mathml(page: str) -> str:
    """A page of HTML in which every formula that pymdownx.arithmatex found is MathML.

    Raises:
        FormulaError: a command is unknown.
    """

    def drawn(match: re.Match[str]) -> str:
        latex = html.unescape(match["latex"]).strip()
        block = match["tag"] == "div"
        mathml = convert(latex, display="block" if block else "inline")
        if "\\" in mathml:
            raise FormulaError(f"a command in the formula is not known: {latex}")
        return f'<div class="formula">{mathml}</div>' if block else mathml

    return _FORMULA.sub(drawn, page)
