"""`trivium depend --plot FILE`: the figure of what was found, as a file."""

from collections.abc import Sequence
from pathlib import Path

from trivium._core.checks import require
from trivium.audit.depend_verb import Dependence
from trivium.audit.figure_file import check_figure, write_figure
from trivium.audit.files import spare_input

__all__ = ["check_plot", "write_plot"]


def check_plot(path: Path, data: Sequence[Path], *, force: bool) -> None:
    """Refuse a figure that could not be written, before the work is done.

    Raises:
        ArgumentError: Neither an SVG nor a PNG.
        MissingExtraError: matplotlib is not installed.
        OutputError: The file is there, or is the data.
    """
    check_figure("depend", path, force=True)
    for one in data:
        spare_input("depend", path, one)
    check_figure("depend", path, force=force)


def write_plot(found: Dependence, path: Path) -> None:
    """Draw the table of columns, else the pairs, and write the figure whole."""
    drawn = found.table or found.pairs
    if drawn is None:
        return
    require("matplotlib", "plot", "trivium depend --plot")
    write_figure(drawn.plot, path)
