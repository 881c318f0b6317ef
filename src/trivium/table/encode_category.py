"""Categories: a feature for each frequent level, buckets for many, one for the rare."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from trivium._core.counted import counted
from trivium.table.encode_column import Arrays, ColumnEncoder, Facts
from trivium.table.naming import cut, listed
from trivium.table.notice import Notice
from trivium.table.table import Column

__all__ = ["CategoryEncoder"]

MIN_ROWS = 3
MAX_LEVELS = 64
N_BUCKETS = 32
MISSING, OTHER = "missing", "rare"


class CategoryEncoder(ColumnEncoder):
    """One feature for each of the most frequent levels (at least 3 rows, at most 64 levels).

    Levels beyond the 64 share 32 features by a fixed hash of their text. Levels of one or two
    rows, and levels never seen, share one. Missing is a level.

    Args:
        levels: The levels with a feature of their own.
        hashed: The levels that share hashed features.
        rare: Whether there is a feature for rare and unknown levels.
        missing: Whether there is a feature for missing.
    """

    way = "category"

    def __init__(
        self, levels: tuple[str, ...], hashed: tuple[str, ...], rare: bool, missing: bool
    ) -> None:
        self.levels = levels
        self.hashed = hashed
        self.rare = rare
        self.missing = missing
        self._places = self._lay_out()

    def _lay_out(self) -> dict[str, int]:
        """Place of each known level among the features."""
        places = {level: place for place, level in enumerate(self.levels)}
        start = len(places)
        return places | {level: start + _bucket(level) for level in self.hashed}

    @classmethod
    def fit(cls, column: Column) -> "CategoryEncoder":
        """Learn the levels of a column."""
        codes, levels = column.codes()
        counts = np.bincount(codes[codes >= 0], minlength=len(levels))
        order = np.argsort(-counts, kind="stable")
        frequent = [levels[i] for i in order if counts[i] >= MIN_ROWS]
        if not frequent:  # a small table: every level for itself
            frequent = [levels[i] for i in order[:MAX_LEVELS]]
        return cls(
            tuple(sorted(frequent[:MAX_LEVELS])),
            tuple(sorted(frequent[MAX_LEVELS:])),
            rare=len(frequent) < len(levels),
            missing=bool((codes < 0).any()),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The levels, buckets, `rare` and `missing`."""
        buckets = tuple(f"bucket {i + 1}" for i in range(N_BUCKETS)) if self.hashed else ()
        own = tuple(f"= {level}" for level in self.levels)
        return (*own, *buckets, *(OTHER,) * self.rare, *(MISSING,) * self.missing)

    def how(self) -> str:
        """Say in words how the column is encoded."""
        own = f"one feature for each of {counted(len(self.levels), 'level')}"
        more = (
            f", {counted(len(self.hashed), 'further level')} hashed into {N_BUCKETS}"
            if self.hashed
            else ""
        )
        rare = f", levels of fewer than {MIN_ROWS} rows together" * self.rare
        return own + more + rare + ", missing a level" * self.missing

    def block(self, column: Column) -> tuple[Float[np.ndarray, "n d"], tuple[Notice, ...]]:
        """Return zeros and ones; a level never seen is `rare`, or all zeros without one."""
        codes, levels = column.codes()
        n_features = len(self.names)
        nowhere = n_features  # a column that is cut off at the end
        rare = n_features - 1 - self.missing if self.rare else nowhere
        gone = n_features - 1 if self.missing else nowhere
        places = np.array([*(self._places.get(level, rare) for level in levels), gone])
        block = np.zeros((len(codes), n_features + 1))
        block[np.arange(len(codes)), places[codes]] = 1.0
        return block[:, :-1], self._unknown(column, codes, levels)

    def _unknown(
        self, column: Column, codes: np.ndarray, levels: tuple[str, ...]
    ) -> tuple[Notice, ...]:
        if self.rare:
            return ()
        new = [code for code, level in enumerate(levels) if level not in self._places]
        if not new:
            return ()
        rows = int(np.isin(codes, new).sum())
        names = listed((cut(levels[code]) for code in new[:5]), len(new))
        message = (
            f"{counted(rows, 'row')} with levels that were not in the data that was learnt from: "
            f"{names}"
        )
        return (Notice("W-UNKNOWN-LEVEL", f"column {column.name}", message),)

    def state(self) -> tuple[Arrays, Facts]:
        """Return the levels."""
        return {}, {
            "levels": list(self.levels),
            "hashed": list(self.hashed),
            "rare": self.rare,
            "missing": self.missing,
        }

    @classmethod
    def from_state(cls, _arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> Any:
        """Make the encoder that `state` described."""
        return cls(
            tuple(facts["levels"]),
            tuple(facts["hashed"]),
            bool(facts["rare"]),
            bool(facts["missing"]),
        )


def _bucket(level: str) -> int:
    """A bucket that depends on the text alone, the same on every machine."""
    digest = hashlib.blake2b(level.encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest, "little") % N_BUCKETS
