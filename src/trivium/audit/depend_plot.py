"""`trivium depend --plot FILE`: the figure of what was found, as a file."""

import io
from pathlib import Path

from trivium._core.checks import require
from trivium._core.errors import ArgumentError, OutputError
from trivium.audit.depend_verb import Dependence
from trivium.audit.files import spare_input
from trivium.store import atomic_write

__all__ = ["check_plot", "write_plot"]

_FORMATS = (".svg", ".png")


def check_plot(path: Path, data: Path, *, force: bool) -> None:
    """Refuse a figure that could not be written, before the work is done.

    Raises:
        ArgumentError: Neither an SVG nor a PNG.
        MissingExtraError: matplotlib is not installed.
        OutputError: The file is there, or is the data.
    """
    if path.suffix.lower() not in _FORMATS:
        raise ArgumentError(f"depend: --plot must end in .svg or .png; got {path.name!r}")
    require("matplotlib", "plot", "trivium depend --plot")
    spare_input("depend", path, data)
    if path.exists() and not force:
        raise OutputError(
            "depend: the figure must not exist yet",
            where=str(path),
            remedy="Add --force, or name another file.",
            code="E-EXISTS",
        )


def write_plot(found: Dependence, path: Path) -> None:
    """Draw the table of columns, else the pairs, and write the figure whole."""
    drawn = found.table or found.pairs
    if drawn is None:
        return
    require("matplotlib", "plot", "trivium depend --plot")
    import matplotlib as mpl

    # The same seed gives the same bytes: no date, no random ids.
    with mpl.rc_context({"svg.hashsalt": "trivium", "backend": "Agg"}):
        figure = drawn.plot().get_figure(root=True)
        kind = path.suffix.lower().removeprefix(".")
        file = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(file, format=kind, bbox_inches="tight", dpi=150, metadata=metadata)
    atomic_write(path, file.getvalue())
