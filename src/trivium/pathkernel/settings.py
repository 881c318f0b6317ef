"""How a training is recorded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """What `record` was told; see there.

    Attributes:
        chord: Steps in one straight piece of the path.
        stride: Steps between two checkpoints, a multiple of the chord.
        budget: Bytes for checkpoints in memory, and again for what a replay holds.
        augmented: Keep each step's own copy of its rows.
        keep: What a resumed training needs beside model and optimizer.
    """

    chord: int = 1
    stride: int = 20
    budget: int = 1_000_000_000
    augmented: bool = False
    keep: Mapping[str, Any] = field(default_factory=dict)
