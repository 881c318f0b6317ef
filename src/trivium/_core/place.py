"""A place that cannot be written to, refused before the work whose result would go there."""

import os
import tempfile
from pathlib import Path

from trivium._core.atomic import named_errors

__all__ = ["check_place"]

_PROBE = b"\0" * 4096  # a block: what a full disk has none of


def check_place(path: str | os.PathLike[str], caller: str, *, parents: bool = False) -> None:
    """Try whether a file or a folder could be made there; what is tried has no name and is gone.

    Args:
        path: The file or folder to be made.
        caller: Public name to put in front of messages.
        parents: Whether it is a folder that is made with its parents, or is there.

    Raises:
        OutputError: The place cannot be written to.
        ResourceError: The disk is full.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     check_place(pathlib.Path(folder, "report.json"), "write")
    """
    target = Path(path)
    folder = target if parents else target.parent
    with named_errors(caller, target):
        while parents and not os.path.lexists(folder) and folder != folder.parent:
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder, prefix=".trivium-", suffix=".tmp") as probe:
            probe.write(_PROBE)
            probe.flush()
            os.fsync(probe.fileno())
