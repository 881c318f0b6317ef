"""A figure as a file: refused before the work where it could not be written, written whole."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trivium._core.checks import require
from trivium._core.errors import ArgumentError, OutputError
from trivium._core.place import check_place
from trivium.store import atomic_write

__all__ = ["check_figure", "write_figure"]

# What is written into each format beside the figure: nothing that changes from run to run.
_FORMATS: dict[str, dict[str, None]] = {
    ".svg": {"Date": None},
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None},
}


def check_figure(verb: str, path: Path, *, force: bool) -> None:
    """Refuse a figure that could not be written, before the work is done.

    Raises:
        ArgumentError: Neither an SVG nor a PNG nor a PDF.
        MissingExtraError: matplotlib is not installed.
        OutputError: The file is there, or its folder is not or cannot be written to.
        ResourceError: The disk is full.
    """
    if path.suffix.lower() not in _FORMATS:
        raise ArgumentError(f"{verb}: --plot must end in .svg, .png or .pdf; got {path.name!r}")
    require("matplotlib", "plot", f"trivium {verb} --plot")
    if not path.parent.is_dir():
        raise OutputError(
            f"{verb}: the figure must be in a folder that exists",
            where=str(path),
            remedy="Make the folder, or name another file.",
        )
    if path.exists() and not force:
        raise OutputError(
            f"{verb}: the figure must not exist yet",
            where=str(path),
            remedy="Add --force, or name another file.",
            code="E-EXISTS",
        )
    check_place(path, verb)


def write_figure(draw: Callable[[], Any], path: Path) -> None:
    """Draw, and write the figure whole.

    Args:
        draw: Returns axes, or an array of them.
        path: Where, `.svg`, `.png` or `.pdf`.
    """
    import matplotlib as mpl

    # The same seed gives the same bytes: no date, no random ids.
    with mpl.rc_context({"svg.hashsalt": "trivium", "backend": "Agg"}):
        figure = _figure(draw())
        ending = path.suffix.lower()
        file = io.BytesIO()
        figure.savefig(
            file, format=ending[1:], bbox_inches="tight", dpi=150, metadata=_FORMATS[ending]
        )
    atomic_write(path, file.getvalue())


def _figure(axes: Any) -> Any:
    """The figure of one axes or of an array of them."""
    while not hasattr(axes, "get_figure"):
        axes = axes.flat[0] if hasattr(axes, "flat") else axes[0]
    return axes.get_figure(root=True)
