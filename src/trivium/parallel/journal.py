"""A journal of blocks: each result a file, whole, checked, so that a killed run goes on."""

import builtins
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trivium._core.atomic import named_errors, remove_leftovers
from trivium._core.errors import ArgumentError, ModelError, TriviumWarning
from trivium._core.packed import pack, unpack
from trivium._core.tensor_file import read_tensors, write_tensors
from trivium.parallel.task import Outcome

__all__ = ["BlockJournal"]

_KIND = "trivium.block/1"


class BlockJournal:
    """A folder with one file for each finished block of one piece of work.

    No code runs from a file: a result is taken apart into dicts, lists, numbers, strings, arrays
    and tensors. A damaged file, or one of other work, counts as not there, with a warning.

    Args:
        folder: Made where it does not exist, parents too.
        fingerprint: What decides the results: settings, data, version. A file with another one is
            not used.
        plain: Takes a result apart into what can be kept, where it is something else.
        whole: Makes a result again from what was kept.

    Raises:
        ArgumentError: One of `plain` and `whole` without the other.
        OutputError: The folder cannot be made.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     journal = BlockJournal(place, "settings")
        ...     journal.write(3, Outcome({"sum": 0.1}))
        ...     journal.read(3).value, journal.read(4)
        ({'sum': 0.1}, None)
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        fingerprint: str,
        *,
        plain: Callable[[Any], Any] | None = None,
        whole: Callable[[Any], Any] | None = None,
    ) -> None:
        if (plain is None) != (whole is None):
            raise ArgumentError("BlockJournal: plain and whole must come together; got one")
        self.folder, self.fingerprint = Path(folder), fingerprint
        self._plain, self._whole = plain or _same, whole or _same
        with named_errors("BlockJournal", self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.folder)

    def _entry(self, number: int) -> Path:
        return self.folder / f"{number:08d}.safetensors"

    def write(self, number: int, outcome: Outcome) -> None:
        """Keep what a block gave.

        Raises:
            ArgumentError: The result has a part that cannot be kept.
            ResourceError: The disk is full.
            OutputError: It cannot be written.
        """
        tensors, facts = pack(self._plain(outcome.value))
        about = {
            "fingerprint": self.fingerprint,
            "number": number,
            "facts": facts,
            "warned": [[kind.__name__, said] for kind, said in outcome.warned],
        }
        write_tensors("BlockJournal.write", self._entry(number), _KIND, tensors, about)

    def read(self, number: int) -> Outcome | None:
        """Return what a block gave, or `None` where it is not there, intact."""
        path = self._entry(number)
        if not path.exists():
            return None
        try:
            tensors, about = read_tensors("BlockJournal.read", path, _KIND)
            if (about["fingerprint"], about["number"]) == (self.fingerprint, number):
                value = self._whole(unpack(tensors, about["facts"]))
                warned = tuple((_category(name), said) for name, said in about["warned"])
                return Outcome(value, warned=warned)
            why = "is of other work"
        except (ModelError, KeyError, TypeError, ValueError):
            why = "is damaged"
        message = f"BlockJournal: the file of block {number} {why}; the block runs again"
        warnings.warn(message, TriviumWarning, stacklevel=2)
        return None


def _category(name: str) -> type[Warning]:
    """Return the class of a warning by name: ours or Python's own, else `UserWarning`."""
    found = TriviumWarning if name == TriviumWarning.__name__ else getattr(builtins, name, None)
    if isinstance(found, type) and issubclass(found, Warning):
        return found
    return UserWarning


def _same(value: Any) -> Any:
    return value
