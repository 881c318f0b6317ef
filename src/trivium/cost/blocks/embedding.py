"""From ids to vectors, and the cosines and sines of rotary positions."""

from dataclasses import dataclass, replace

from trivium.cost.blocks.base import Tokens
from trivium.cost.component import Component, elementwise
from trivium.cost.design import Design
from trivium.cost.run import Run
from trivium.cost.size import Kept, Size

__all__ = ["Embedding", "Rotary"]


@dataclass(frozen=True, slots=True)
class Embedding:
    """Rows of tables, summed: ids, and positions or kinds of a token where there are such.

    Args:
        width: Numbers of a vector.
        tables: How many tables are summed.
        dropout: Whether the sum passes a dropout.
        tokens: Which tokens.
        kept_ids: Sizes of the other ids that are kept, for example ("n",) for positions.
        table: Numbers of all its tables.
        fixed: Numbers of tables that are not learned.
        biases: Tensors that are made here for the scores of all layers.
    """

    width: int
    tables: int = 1
    dropout: bool = False
    tokens: Tokens = "n"
    kept_ids: tuple[Size, ...] = ()
    table: int = 0
    fixed: int = 0
    biases: tuple[Size, ...] = ()

    def components(self, design: Design) -> tuple[Component, ...]:
        """Return the look-up, without a GEMM."""
        whole = ("b", self.tokens, self.width)
        kept = [Kept(("b", self.tokens), "int64")]
        kept += [Kept(size, "int64") for size in self.kept_ids]
        if self.dropout:
            kept.append(Kept(whole))
        passes = 2 * self.tables - 1 + self.dropout
        more = self.tables - 1
        runs: tuple[Run, ...] = (
            Run("gather", (*whole, self.tables), (*whole, self.tables), self.tables),
        )
        if more:
            runs += (Run("pass", (*whole, 2, more), (*whole, more), more),)
        made = elementwise(
            "embedding", "embedding", whole, passes=passes, kept=tuple(kept), runs=runs
        )
        stays = (kept[0], *map(Kept, self.biases))
        return (replace(made, table=self.table, fixed=self.fixed, stays=stays),)


@dataclass(frozen=True, slots=True)
class Rotary:
    """The tables of cosines and sines, made once in each pass and kept for the backward pass.

    Args:
        width: Numbers of each vector.
        tables: How many pairs of tables: two where windowed layers have a base of their own, one
            for each layer where a layer spreads them itself.
    """

    width: int
    tables: int = 1

    def components(self, design: Design) -> tuple[Component, ...]:
        """Return the pass that makes the tables."""
        size = ("n", self.width, 2 * self.tables)
        kept = (Kept(size),)
        return (replace(elementwise("rotary", "embedding", size, kept=kept), stays=kept),)
