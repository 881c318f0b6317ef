"""What is made of one block of a file: moments, a sample, HSIC moments; all of them merge."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from trivium._core.tensor_file import checksum
from trivium.dependence import HSICMoments
from trivium.moment import Moments, RowSample
from trivium.table.numeric import NumericReader, NumericRows
from trivium.table.part_block import FileBlock

__all__ = ["BlockHSIC", "BlockMoments", "BlockSample", "SampledMoments"]

State = tuple[dict[str, Tensor], dict[str, Any]]


@dataclass(frozen=True)
class SampledMoments:
    """Moments with a sample of their rows.

    Args:
        moments: The moments.
        sample: The sample.
    """

    moments: Moments
    sample: RowSample

    def copy(self) -> "SampledMoments":
        """Return the same rows, sharing nothing."""
        return SampledMoments(self.moments.copy(), self.sample.copy())

    def merge(self, other: "SampledMoments") -> "SampledMoments":
        """Add the rows of `other` in place."""
        self.moments.merge(other.moments)
        self.sample.merge(other.sample)
        return self

    def state(self) -> tuple[State, State]:
        """Take both apart."""
        return self.moments.state(), self.sample.state()

    @classmethod
    def from_state(cls, moments: State, sample: State) -> "SampledMoments":
        """Put together what `state` took apart.

        Raises:
            ModelError: Something is missing or does not fit together.
        """
        return cls(Moments.from_state(*moments), RowSample.from_state(*sample))


@dataclass(frozen=True)
class BlockMoments:
    """The moments of a block.

    Args:
        reader: What is read.
        classwise: As for `Moments`.
    """

    reader: NumericReader
    classwise: bool = False

    kind = "moments"
    made = Moments

    def __call__(self, block: FileBlock) -> Moments:
        """Read the block."""
        return self.of(self.reader(block))

    def of(self, rows: Iterator[NumericRows]) -> Moments:
        """Return the moments of rows."""
        moments = Moments(len(self.reader.columns), classwise=self.classwise)
        return moments.update((r.x, r.y) if r.y is not None else r.x for r in rows)

    @property
    def facts(self) -> str:
        """What decides the result, beside the block."""
        return repr(self)


@dataclass(frozen=True)
class BlockSample:
    """The moments of a block and a sample of its rows.

    Args:
        moments: The moments.
        sample: A sample of no rows.
    """

    moments: BlockMoments
    sample: RowSample

    kind = "fit"
    made = SampledMoments

    def __call__(self, block: FileBlock) -> SampledMoments:
        """Read the block."""
        sample = self.sample.copy()
        return SampledMoments(self.moments.of(self._offered(block, sample)), sample)

    def _offered(self, block: FileBlock, sample: RowSample) -> Iterator[NumericRows]:
        for rows in self.moments.reader(block):
            sample.offer(rows.numbers, rows.x, rows.y)
            yield rows

    @property
    def facts(self) -> str:
        """What decides the result, beside the block."""
        return repr((self.moments, self.sample.size, self.sample.seed))


@dataclass(frozen=True)
class BlockHSIC:
    """The HSIC moments of a block.

    Args:
        reader: What is read: the columns of x, then those of y.
        width: Columns of x.
        nothing: HSIC moments of no rows.
    """

    reader: NumericReader
    width: int
    nothing: HSICMoments

    kind = "hsic"
    made = HSICMoments

    def __call__(self, block: FileBlock) -> HSICMoments:
        """Read the block."""
        pairs = ((r.x[:, : self.width], r.x[:, self.width :]) for r in self.reader(block))
        return self.nothing.copy().update(pairs)

    @property
    def facts(self) -> str:
        """What decides the result, beside the block."""
        tensors, about = self.nothing.state()
        return repr((self.reader, self.width, checksum(tensors, repr(about))))
