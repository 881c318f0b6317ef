"""Make docstrings ready for the pages: `Example:` sections become code, formulas MathML."""

import re
from typing import Any

import griffe
from latex2mathml.converter import convert

__all__ = ["Docstrings"]

# Inline formulas may run on over the end of one line; displayed ones stand between two dollars.
FORMULA = re.compile(r"(\$\$?)([^$\"]+?)\1")


def mathml(found: re.Match[str]) -> str:
    """Return what a browser draws by itself, without a script or a font from elsewhere."""
    display = "block" if found[1] == "$$" else "inline"
    # Markdown takes <math> for a block where it begins a line; a <span> it does not.
    formula = convert(" ".join(found[2].split()), display=display)
    return f'<span class="formula">{formula}</span>'


class Docstrings(griffe.Extension):
    """Change every docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of an object that was just read."""
        if obj.docstring is not None:
            text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.M)
            obj.docstring.value = FORMULA.sub(mathml, text)
