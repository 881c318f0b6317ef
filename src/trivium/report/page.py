"""The page: sections laid out by the template, held to its size, sealed by its policy."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from trivium._core.errors import ArgumentError
from trivium.report.fields import Limits
from trivium.report.head import build_head
from trivium.report.sections import build

__all__ = ["MAX_BYTES", "render"]

MAX_BYTES = 2_000_000

# From the usual page to one that fits whatever the data hold.
_LEVELS = (
    Limits(),
    Limits(rows=1000, explanations=20, excerpt=4, text=60),
    Limits(rows=400, explanations=12, excerpt=3, text=40),
    Limits(rows=100, explanations=6, excerpt=2, text=32),
    Limits(rows=25, explanations=2, excerpt=1, text=24, classes=6),
)
_CUT = (
    "To keep this page under 2 MB, long tables and cells are cut further than usual. "
    "Everything is in report.json, rows.csv and fixes.csv."
)


def render(report: Mapping[str, Any]) -> str:
    """Return the page of a run: one HTML file that needs nothing else.

    It holds no script and makes no request; a content-security-policy forbids both. Every text
    of the data is escaped, isolated and cut, its hidden characters made visible.

    Args:
        report: The object of `report.json`, schema 1. Missing parts are said to be missing.

    Returns:
        HTML of at most `MAX_BYTES` bytes in UTF-8; longer tables are cut, and say so.

    Raises:
        ArgumentError: `report` is not a mapping.

    Cost:
        Linear in what is shown: at most 2,000 rows of each table, whatever the run holds.

    Example:
        >>> page = render({"schema": 1, "version": "0.1.0", "data": {"source": "<b>.csv"}})
        >>> page.startswith("<!DOCTYPE html>"), "<b>.csv" in page
        (True, False)
    """
    if not isinstance(report, Mapping):
        raise ArgumentError(
            f"render: report must be the mapping of report.json; got {type(report).__name__}"
        )
    page = ""
    for level, limits in enumerate(_LEVELS):
        page = _page(report, limits, _CUT if level else "")
        if len(page.encode("utf-8")) <= MAX_BYTES:
            break
    return page


def _page(report: Mapping[str, Any], limits: Limits, notice: str) -> str:
    style = _read("style.css")
    digest = hashlib.sha256(style.encode("utf-8")).digest()
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            head=build_head(report, limits),
            sections=build(report, limits),
            style=Markup(style),
            style_hash=base64.b64encode(digest).decode("ascii"),
            notice=notice,
        )
    )


def _read(name: str) -> str:
    """Return a file of this room with plain line ends, as the page's hash needs them."""
    place = resources.files("trivium.report").joinpath(name)
    return place.read_text(encoding="utf-8").replace("\r\n", "\n")


@cache
def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(lambda name: _read(f"templates/{name}")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
