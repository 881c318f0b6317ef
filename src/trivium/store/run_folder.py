"""A run's folder: one writer at a time, a journal of finished stages, a mark when complete.

`.run.json` says whose folder it is and whether it is complete; `.journal/` keeps the result of
each finished stage, and of each finished block of those under way, so that a killed run goes on
where it was; `.lock` is held while a run writes.
"""

import os
import re
import shutil
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from trivium._core.atomic import atomic_write, named_errors, remove_leftovers
from trivium._core.errors import ArgumentError, DataError, OutputError, TriviumWarning
from trivium._core.exact_json import digest, from_json, to_json
from trivium._core.place import check_place
from trivium.parallel.journal import BlockJournal
from trivium.store.run_lock import check_unlocked, take_lock

__all__ = ["RunFolder", "check_run", "fingerprint_of"]

FORMAT = "trivium-run"
MARK, LOCK, JOURNAL = ".run.json", ".lock", ".journal"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,60}")


def fingerprint_of(*parts: Any) -> str:
    """One word for everything that decides a run's result: settings, data checksum, version.

    Example:
        >>> fingerprint_of({"seed": 0}, "data") == fingerprint_of({"seed": 0}, "data")
        True
    """
    return digest(list(parts))


class RunFolder:
    """A folder that one run writes, and may come back to.

    Args:
        path: The folder; made with its parents where it does not exist.
        fingerprint: What decides the result (see `fingerprint_of`). An unfinished run with the
            same fingerprint is gone on with.
        force: Write into an existing folder, starting afresh. A file or a link of that name is
            replaced (the link, not its target); other files in the folder are left alone.

    Raises:
        OutputError: The path exists and is not an unfinished run of this fingerprint, or cannot
            be written to.
        BusyError: Another run is writing into it.
        ResourceError: The disk is full.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     with RunFolder(place + "/run", "settings") as run:
        ...         first = run.journal("read", lambda: {"rows": 3})
        ...         again = run.journal("read", lambda: {"rows": -1})
        ...         run.finish()
        >>> first == again
        True
    """

    def __init__(
        self, path: str | os.PathLike[str], fingerprint: str, *, force: bool = False
    ) -> None:
        self.path = Path(path)
        self.fingerprint = fingerprint
        self.resumed = False
        self._handle: int | None = None
        with named_errors("RunFolder", self.path):
            _prepare(self.path, force=force)
            self._handle = take_lock(self.path / LOCK)
            try:
                self._open(force=force)
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def has(self, name: str) -> bool:
        """Tell whether the stage's result is in the journal, intact."""
        return self._read(name) is not None

    def journal(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return the stage's result from the journal, or compute it and keep it.

        What comes back has gone through JSON either way (tuples are lists, numpy is plain), so a
        resumed run continues from the same values, floats to the last bit.

        Args:
            name: The stage: lower-case letters, digits, `_`, `-`.
            compute: Gives the result; made of dicts, lists, strings, numbers, bools, None.

        Raises:
            ArgumentError: A bad name, or a result that JSON cannot hold.
            ResourceError: The disk is full.
        """
        found = self._read(name)
        if found is None:
            text = to_json(compute())
            found = {"result": from_json(text)}
            body = {"fingerprint": self.fingerprint, "name": name, **found}
            atomic_write(self._entry(name), to_json({**body, "checksum": digest(body)}))
        return found["result"]

    def blocks(
        self,
        name: str,
        plain: Callable[[Any], Any] | None = None,
        whole: Callable[[Any], Any] | None = None,
    ) -> BlockJournal:
        """Return the journal of a piece of work that is done block by block.

        It belongs to this run: blocks of another fingerprint are run again, and `finish` removes
        it.

        Args:
            name: The piece: lower-case letters, digits, `_`, `-`.
            plain: As for `BlockJournal`.
            whole: As for `BlockJournal`.

        Raises:
            ArgumentError: A bad name.
            OutputError: Its folder cannot be made.
        """
        folder = self._entry(name).with_suffix("")
        return BlockJournal(folder, self.fingerprint, plain=plain, whole=whole)

    def finish(self) -> None:
        """Mark the run complete, remove the journal, and let go of the folder."""
        with named_errors("RunFolder", self.path):
            self._mark(complete=True)
            shutil.rmtree(self.path / JOURNAL)
        self.close()

    def close(self) -> None:
        """Let go of the folder; an unfinished run can be resumed."""
        if self._handle is not None:
            with suppress(OSError):
                (self.path / LOCK).unlink()
            os.close(self._handle)
            self._handle = None

    def _open(self, *, force: bool) -> None:
        self.resumed = not force and _is_resumed(self.path, self.fingerprint)
        remove_leftovers(self.path)
        if not self.resumed:
            shutil.rmtree(self.path / JOURNAL, ignore_errors=True)
            self._mark(complete=False)
        (self.path / JOURNAL).mkdir(exist_ok=True)
        remove_leftovers(self.path / JOURNAL)

    def _mark(self, *, complete: bool) -> None:
        body = {"format": FORMAT, "schema": 1, "fingerprint": self.fingerprint}
        atomic_write(self.path / MARK, to_json({**body, "complete": complete}))

    def _entry(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ArgumentError(
                f"RunFolder.journal: name must be lower-case letters, digits, _ or -; got {name!r}"
            )
        return self.path / JOURNAL / f"{name}.json"

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self._entry(name)
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
        with suppress(DataError):
            found = from_json(text)
            if isinstance(found, dict) and to_json(found).encode() == text:
                checksum = found.pop("checksum", None)
                expected = {"fingerprint": self.fingerprint, "name": name}
                if checksum == digest(found) and expected.items() <= found.items():
                    return found
        warnings.warn(
            f"RunFolder: the journal of stage {name} is damaged; the stage runs again",
            TriviumWarning,
            stacklevel=3,
        )
        return None


def check_run(
    path: str | os.PathLike[str], fingerprint: str | None = None, *, force: bool = False
) -> None:
    """Refuse what `RunFolder` would refuse, before the work; nothing is made or changed.

    Args:
        path: The folder.
        fingerprint: As for `RunFolder`; `None` where it is not known yet.
        force: As for `RunFolder`.

    Raises:
        OutputError: The path exists and is not an unfinished run of this fingerprint, or cannot
            be written to.
        BusyError: Another run is writing into it.
        ResourceError: The disk is full.
    """
    folder = Path(path)
    with named_errors("RunFolder", folder):
        if _is_other(folder):
            _refuse_other(folder, force=force)
            folder = folder.parent
        elif folder.is_dir():
            _refuse_files(folder, force=force)
            check_unlocked(folder / LOCK)
            if not force:
                _is_resumed(folder, fingerprint)
        check_place(folder, "RunFolder", parents=True)


def _prepare(path: Path, *, force: bool) -> None:
    """Refuse or clear what is at the path; make the folder. Nothing is locked yet."""
    if _is_other(path):
        _refuse_other(path, force=force)
        path.unlink()
    path.mkdir(parents=True, exist_ok=True)
    _refuse_files(path, force=force)


def _is_other(path: Path) -> bool:
    """Whether something is there that is no folder."""
    return path.is_symlink() or (path.exists() and not path.is_dir())


def _refuse_other(path: Path, *, force: bool) -> None:
    if not force:
        raise _taken(path, "a link" if path.is_symlink() else "a file")


def _refuse_files(path: Path, *, force: bool) -> None:
    names = set(os.listdir(path)) - {LOCK}
    names = {name for name in names if not name.startswith(".trivium-")}
    if names and not force and _read_mark(path) is None:
        raise _taken(path, "a folder with other files in it")


def _is_resumed(path: Path, fingerprint: str | None) -> bool:
    """Whether an unfinished run of this fingerprint is there; refuse any other run.

    Where the fingerprint is not known, any unfinished run may be the one.
    """
    mark = _read_mark(path)
    if mark is None:
        return False
    # A run that was killed while it removed its journal had not told anyone that it was over.
    complete = mark["complete"] and not (path / JOURNAL).exists()
    if complete or fingerprint not in (None, mark["fingerprint"]):
        what = "a complete run" if complete else "an unfinished run of other settings"
        raise _taken(path, what)
    return True


def _read_mark(path: Path) -> dict[str, Any] | None:
    try:
        found = from_json((path / MARK).read_bytes())
    except (OSError, DataError):
        return None
    keys = {"format", "schema", "fingerprint", "complete"}
    ours = isinstance(found, dict) and set(found) == keys and found["format"] == FORMAT
    return found if ours else None


def _taken(path: Path, what: str) -> OutputError:
    return OutputError(
        f"RunFolder: the output path must be new or an unfinished run of the same settings; "
        f"got {what}",
        where=str(path),
        remedy="Choose another --out, or pass --force to replace the files of a run.",
        code="E-EXISTS",
    )
