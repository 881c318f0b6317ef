"""By which road a column is compared: all of its kernel, or features that stand for it."""

from dataclasses import dataclass

from trivium.dependence.columns import RARE, DependenceColumn, pooled_levels
from trivium.dependence.text_features import WIDTH, vocabulary

__all__ = ["ColumnRoad", "column_road"]


@dataclass(frozen=True)
class ColumnRoad:
    """How `screen` compares a column.

    Args:
        exact: Whether its features hold the whole kernel.
        features: How many there are; 0 where the values decide, number by number.
        why: The reason, in words.
    """

    exact: bool
    features: int
    why: str


def column_road(column: DependenceColumn) -> ColumnRoad:
    """Say whether a column is compared by its whole kernel or by features that stand for it.

    Categories have a feature for each level and texts one for each word, as long as these are no
    more than 256; more are pooled or hashed. A number and a date have infinitely many, of which
    the leading ones are taken.

    Args:
        column: At the rows that are compared.

    Cost: O(n log n) for categories; for texts their words up to the 257th.

    Example:
        >>> column_road(DependenceColumn("c", "category", [0, 1, 1, 0] * 5)).exact
        True
        >>> column_road(DependenceColumn("x", "number", [0.5, 1.5])).why
        'a smooth kernel has no end of features: the leading ones'
    """
    if column.kind == "category":
        _, pooled, few = pooled_levels(column.values, RARE)
        features = int((~pooled).sum() + pooled.any())
        if few:
            return ColumnRoad(True, features, "a feature for each level")
        return ColumnRoad(False, features, f"more than {features - 1} frequent levels: some pooled")
    if column.kind == "text":
        words = vocabulary(column.values, WIDTH)
        if words <= WIDTH:
            return ColumnRoad(True, words, f"at most {WIDTH} words: a feature for each")
        return ColumnRoad(False, WIDTH, f"more than {WIDTH} words: hashed")
    return ColumnRoad(False, 0, "a smooth kernel has no end of features: the leading ones")
