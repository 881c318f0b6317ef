"""A recorded training, gone through backwards within a memory budget."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from torch import Tensor

from trivium.pathkernel.checkpoints import Checkpoints
from trivium.pathkernel.notes import Checkpoint, Piece, StepNote
from trivium.pathkernel.replay import Replay
from trivium.pathkernel.replayed import ReplayedStep

__all__ = ["Run", "unguarded"]

_BUDGET = 1_000_000_000
Guard = Callable[[int, int], AbstractContextManager[None]]


def unguarded(first: int, last: int) -> AbstractContextManager[None]:
    """Let what repeating the steps raises pass: nothing of them was read."""
    return nullcontext()


@dataclass(frozen=True)
class Run:
    """A recorded training, to be gone through backwards.

    Attributes:
        replay: The private model.
        checkpoints: Where to begin again.
        notes: What happened at each step.
        chord: Steps that must not be told apart.
        budget: Bytes for what is held of the replayed steps.
        guard: Around repeating the steps from one to another.
    """

    replay: Replay
    checkpoints: Checkpoints
    notes: Sequence[StepNote]
    chord: int = 1
    budget: int = _BUDGET
    guard: Guard = unguarded
    _measured: list[int] = field(default_factory=list, repr=False)

    def backwards(
        self, watch: Callable[[Replay, Piece], Any]
    ) -> Iterator[tuple[list[ReplayedStep], dict[str, Tensor]]]:
        """Give spans of steps, the last one first, with the buffers at each span's end.

        A span whose steps would not fit the budget is gone through once without them, keeping
        states in between, and then in parts.

        Args:
            watch: What is kept of each piece; see `Replay.steps`.

        Cost:
            A replay; twice where a span is cut once, and so on.
        """
        for start, end in self.checkpoints.spans():
            yield from self._parts(start, end, watch, 0.0)

    def steps(
        self,
        start: Checkpoint,
        end: Checkpoint,
        watch: Callable[[Replay, Piece], Any],
        path: float = 0.0,
    ) -> list[ReplayedStep]:
        """Repeat the steps from one checkpoint to the next, as `Replay.steps` does."""
        with self.guard(start.step, end.step):
            return self.replay.steps(start, end, self.notes, watch, path)

    def _parts(
        self,
        start: Checkpoint,
        end: Checkpoint,
        watch: Callable[[Replay, Piece], Any],
        path: float,
    ) -> Iterator[tuple[list[ReplayedStep], dict[str, Tensor]]]:
        length = end.step - start.step
        most = self._most(start, watch) if length > self.chord else self.chord
        if length <= most:
            yield self.steps(start, end, watch, path), end.buffers
            return
        afford = max(2, self.budget // (4 * max(1, start.n_bytes)))
        n_parts = min(math.ceil(length / most), afford)
        apart = math.ceil(length / n_parts / self.chord) * self.chord
        with self.guard(start.step, end.step):
            middle, gone = self.replay.between(start, end, self.notes, apart)
        for a, b in reversed(list(pairwise([start, *middle, end]))):
            yield from self._parts(a, b, watch, max(path, gone))

    def _most(self, start: Checkpoint, watch: Callable[[Replay, Piece], Any]) -> int:
        """Return how many steps may be held at once, from what one of them takes."""
        if not self._measured:
            with self.guard(start.step, start.step + 1):
                step = self.replay.first(start, self.notes, watch)
            self._measured.append(_n_bytes(step, {}))
        fits = self.budget // 2 // max(1, self._measured[0])
        return max(self.chord, fits // self.chord * self.chord)


def _n_bytes(value: Any, seen: dict[int, int]) -> int:
    """Return the memory of the tensors in a value, each storage once."""
    if isinstance(value, Tensor):
        storage = value.untyped_storage()
        new = storage.data_ptr() not in seen
        seen[storage.data_ptr()] = 1
        return storage.nbytes() if new else 0
    if isinstance(value, Mapping):
        return sum(_n_bytes(one, seen) for one in value.values())
    if isinstance(value, list | tuple):
        return sum(_n_bytes(one, seen) for one in value)
    inner = getattr(value, "__dict__", None)
    if inner is None or isinstance(value, type) or callable(value):
        return 0
    if id(value) in seen:
        return 0
    seen[id(value)] = 1
    return _n_bytes(inner, seen)
