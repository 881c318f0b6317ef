"""The largest contributions for and against, and the share of all that they hold."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from trivium._core.counted import counted

__all__ = ["Top"]

Pair = tuple[Hashable, float]


@dataclass(frozen=True)
class Top:
    """The training rows that pushed one value most, up and down.

    A list of a few rows is not the reason of a value: absolute contributions add up to tens of
    times the net change. So this says what share of them the shown rows hold.

    Attributes:
        row: Which of the rows asked about.
        supporting: Ids with the largest positive contributions, largest first.
        opposing: Ids with the largest negative contributions, largest first.
        net: Sum of all rows' contributions.
        absolute: Sum of all absolute contributions.
        n_rows: Training rows in all.
    """

    row: int
    supporting: list[Pair]
    opposing: list[Pair]
    net: float
    absolute: float
    n_rows: int

    @classmethod
    def of(cls, ids: Sequence[Hashable], values: Tensor, k: int, row: int) -> "Top":
        """Pick the k largest of each sign among the contributions `(n,)` to one value."""
        most = min(k, len(values))
        up, down = values.topk(most), values.topk(most, largest=False)
        return cls(
            row,
            [(ids[int(i)], float(v)) for v, i in zip(*up, strict=True) if v > 0],
            [(ids[int(i)], float(v)) for v, i in zip(*down, strict=True) if v < 0],
            float(values.sum()),
            float(values.abs().sum()),
            len(values),
        )

    @property
    def rows(self) -> list[Pair]:
        """Both sides, the largest absolute contribution first."""
        return sorted(self.supporting + self.opposing, key=lambda pair: -abs(pair[1]))

    @property
    def share(self) -> float:
        """Share of all absolute contributions that the shown rows hold."""
        shown = sum(abs(value) for _, value in self.rows)
        return shown / self.absolute if self.absolute else 0.0

    @property
    def churn(self) -> float:
        """Sum of absolute contributions over the net of all rows."""
        return self.absolute / abs(self.net) if self.net else float("inf")

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.rows)

    def __str__(self) -> str:
        width = max([len(str(one)) for one, _ in self.rows] + [2])
        lines = [
            f"row {self.row}: all {counted(self.n_rows, 'training row')} together {self.net:+.4g}"
        ]
        for name, pairs in (("for", self.supporting), ("against", self.opposing)):
            for number, (one, value) in enumerate(pairs):
                head = name if number == 0 else ""
                lines.append(f"  {head:<8}{one!s:>{width}}  {value:+.4g}")
        lines.append(
            f"  These {counted(len(self.rows), 'row')} hold {self.share:.0%} of the absolute "
            "contributions, "
            f"which add up to {self.churn:.1f} times the net: no list of rows is the reason."
        )
        return "\n".join(lines)
