"""The checkpoints of a recording, thinned when they would not fit."""

from collections.abc import Iterator

from trivium._core.errors import ResourceError
from trivium.pathkernel.notes import Checkpoint

__all__ = ["Checkpoints"]


class Checkpoints:
    """States of the model and the optimizer, every `stride` steps.

    Between two of them the steps are replayed. When they would pass `budget` bytes, every second
    one is let go and the stride doubles: training never stops for want of memory.
    """

    def __init__(self, stride: int, budget: int) -> None:
        self.stride, self.budget = stride, budget
        self.held: list[Checkpoint] = []

    def due(self, step: int) -> bool:
        """Return whether the state before `step` is to be kept."""
        return step % self.stride == 0

    def add(self, checkpoint: Checkpoint) -> None:
        """Keep one.

        Raises:
            ResourceError: Not even the first and the last fit.
        """
        size = checkpoint.n_bytes
        if 2 * size > self.budget:
            raise ResourceError(
                f"record: two checkpoints of {size / 1e6:.1f} MB each must fit the budget of "
                f"{self.budget / 1e6:.1f} MB",
                remedy="Raise budget, or keep them on disk: record(..., store=FOLDER); "
                'every="chord:k" makes questions cheaper.',
            )
        self.held.append(checkpoint)
        while size * len(self.held) > self.budget and len(self.held) > 2:
            self.stride *= 2
            last = self.held[-1]
            self.held = [one for one in self.held[:-1] if one.step % self.stride == 0] + [last]

    def spans(self) -> Iterator[tuple[Checkpoint, Checkpoint]]:
        """Give neighbours, the last pair first."""
        for number in range(len(self.held) - 1, 0, -1):
            yield self.held[number - 1], self.held[number]
