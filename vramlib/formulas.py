"""LaTeX of a notebook into MathML, which browsers draw without fonts or scripts from a network."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from latex2mathml import exceptions
from latex2mathml.converter import convert
from nbconvert.preprocessors import Preprocessor

_CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)
_BLOCK = re.compile(r"(?<!\\)\$\$(.+?)\$\$", re.DOTALL)
_INLINE = re.compile(r"(?<![\\$\w])\$(?!\s)([^$\n]+?)(?<![\s\\])\$(?![\w$])")

_NAMED: tuple[type[Exception], ...] = tuple(
    e for e in vars(exceptions).values() if isinstance(e, type) and issubclass(e, Exception)
)
_UNREADABLE: tuple[type[Exception], ...] = (*_NAMED, ValueError, IndexError, KeyError)


class Formulas(Preprocessor):
    """Puts a token for each formula, which Markdown leaves alone; ``fill`` puts the MathML in its place."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.found: list[str] = []

    def preprocess_cell(self, cell: Any, resources: Any, index: int) -> tuple[Any, Any]:
        """Take the formulas out of a Markdown cell, or out of what a code cell showed."""
        if cell.cell_type == "markdown":
            cell.source = self.take(cell.source)
        for data in (output.data for output in cell.get("outputs", []) if "data" in output):
            if "text/markdown" in data:
                data["text/markdown"] = self.take(data["text/markdown"])
            elif "text/latex" in data and "text/html" not in data:
                data["text/html"] = self.take(data["text/latex"])
        return cell, resources

    def take(self, text: str) -> str:
        """The text with tokens for its formulas; code is left as it is."""
        parts = _CODE.split(text)
        for i in range(0, len(parts), 2):
            parts[i] = _BLOCK.sub(self._token("block"), parts[i])
            parts[i] = _INLINE.sub(self._token("inline"), parts[i])
        return "".join(parts)

    def _token(self, display: str) -> Callable[[re.Match[str]], str]:
        def keep(match: re.Match[str]) -> str:
            self.found.append(mathml(match[1], display))
            return f"zqFormula{len(self.found) - 1}qz"

        return keep

    def fill(self, page: str) -> str:
        """The page with its formulas."""
        return re.sub(r"zqFormula(\d+)qz", lambda match: self.found[int(match[1])], page)


def mathml(latex: str, display: str = "inline") -> str:
    r"""One formula as MathML; a block scrolls in its own box where the page is narrow.

    Parameters
    ----------
    latex : the formula without dollar signs [-]
    display : ``inline`` or ``block`` [-]

    Returns
    -------
    A ``math`` element [-]

    Raises
    ------
    ValueError : the formula cannot be read

    Examples
    --------
    >>> "<mfrac>" in mathml(r"\frac{a}{b}")
    True
    """
    try:
        element = convert(latex.strip(), display=display)
    except _UNREADABLE as error:
        raise ValueError(f"the formula ${latex}$ cannot be read ({error or type(error).__name__})") from error
    return f'<span class="scroll" tabindex="0">{element}</span>' if display == "block" else str(element)
