"""The checkpoints of a recording: in memory, thinned when they would not fit, or in a folder."""

from collections.abc import Callable, Iterator, Sequence
from typing import overload

from trivium._core.errors import ResourceError
from trivium.pathkernel.notes import Checkpoint

__all__ = ["Checkpoints"]


class _OnDisk(Sequence[Checkpoint]):
    """Checkpoints that are read when they are asked for; the last two read are at hand."""

    def __init__(self, steps: list[int], read: Callable[[int], Checkpoint]) -> None:
        self.steps, self._read = steps, read
        self._at_hand: dict[int, Checkpoint] = {}

    def __len__(self) -> int:
        return len(self.steps)

    @overload
    def __getitem__(self, index: int) -> Checkpoint: ...
    @overload
    def __getitem__(self, index: slice) -> list[Checkpoint]: ...
    def __getitem__(self, index: int | slice) -> Checkpoint | list[Checkpoint]:
        if isinstance(index, slice):
            return [self._at(step) for step in self.steps[index]]
        return self._at(self.steps[index])

    def _at(self, step: int) -> Checkpoint:
        found = self._at_hand.pop(step, None) or self._read(step)
        self._at_hand[step] = found
        if len(self._at_hand) > 2:
            self._at_hand.pop(next(iter(self._at_hand)))
        return found


class Checkpoints:
    """States of the model and the optimizer, every `stride` steps.

    Between two of them the steps are replayed. When those in memory would pass `budget` bytes,
    every second one is let go and the stride doubles: training never stops for want of memory.
    Those in a folder are all kept.

    Args:
        stride: Steps between two.
        budget: Bytes for those in memory.
        read: Reads one of a folder; `None` keeps them in memory.
        steps: The steps of those in the folder.
    """

    def __init__(
        self,
        stride: int,
        budget: int,
        read: Callable[[int], Checkpoint] | None = None,
        steps: Sequence[int] = (),
    ) -> None:
        self.stride, self.budget = stride, budget
        self.steps = list(steps)
        self._memory: list[Checkpoint] = []
        self._on_disk = None if read is None else _OnDisk(self.steps, read)

    @property
    def held(self) -> Sequence[Checkpoint]:
        """The checkpoints, the first one first."""
        return self._memory if self._on_disk is None else self._on_disk

    def due(self, step: int) -> bool:
        """Return whether the state before `step` is to be kept."""
        return step % self.stride == 0

    def add(self, checkpoint: Checkpoint) -> None:
        """Keep one.

        Raises:
            ResourceError: Not even the first and the last fit.
        """
        steps = self.after(checkpoint.step)
        if self._on_disk is None:
            self._check(checkpoint.n_bytes)
            kept = set(steps)
            self._memory = [one for one in self._memory if one.step in kept] + [checkpoint]
            while checkpoint.n_bytes * len(self._memory) > self.budget and len(self._memory) > 2:
                self._thin()
            steps = [one.step for one in self._memory]
        self.steps[:] = steps

    def after(self, step: int) -> list[int]:
        """Return the steps kept once that of `step` is added.

        A training that was closed between two strides and resumed keeps what it would have kept
        without the break.
        """
        kept = self.steps
        if len(kept) > 1 and not self.due(kept[-1]):
            kept = kept[:-1]
        return [*kept, step]

    def spans(self) -> Iterator[tuple[Checkpoint, Checkpoint]]:
        """Give neighbors, the last pair first."""
        for number in range(len(self.held) - 1, 0, -1):
            yield self.held[number - 1], self.held[number]

    def _thin(self) -> None:
        self.stride *= 2
        last = self._memory[-1]
        self._memory = [one for one in self._memory[:-1] if one.step % self.stride == 0] + [last]

    def _check(self, size: int) -> None:
        if 2 * size > self.budget:
            raise ResourceError(
                f"record: two checkpoints of {size / 1e6:.1f} MB each must fit the budget of "
                f"{self.budget / 1e6:.1f} MB",
                remedy="Raise budget, or keep them on disk: record(..., store=FOLDER); "
                'every="chord:k" makes questions cheaper.',
            )
