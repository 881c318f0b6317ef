"""How many features a column gets, before anything is encoded."""

from dataclasses import dataclass

from trivium.table.encode import curves_of
from trivium.table.encode_category import CategoryEncoder
from trivium.table.encode_column import missing_flag
from trivium.table.encode_number import DateEncoder
from trivium.table.encode_sentence import PREFIX
from trivium.table.encode_text import most_dims
from trivium.table.table import Column, Kind, Table

__all__ = ["EncodedWidth", "encoded_widths"]

_SENTENCE = 384  # of the usual small sentence encoders; a model says its own when it is loaded


@dataclass(frozen=True)
class EncodedWidth:
    """Features of one column.

    Args:
        features: How many.
        curves: How many of them are curves of a rank, which trees do not get.
    """

    features: int
    curves: int = 0


def encoded_widths(table: Table, text_encoder: str = "hashed") -> dict[str, EncodedWidth]:
    """Return the features that `TableEncoder` will give each column, at the most.

    Fewer come of a text column with fewer than about 64 different word pieces, and of a number
    whose distinct texts are equal numbers.

    Args:
        table: The columns, without identifiers and constants.
        text_encoder: As for `TableEncoder`.

    Cost: O(n log n) for categories and dates, the distinct texts of the other columns.

    Example:
        >>> from trivium.table import bundled_label, penguins_path, read_table
        >>> table = read_table(penguins_path()).drop([bundled_label()])
        >>> encoded_widths(table)["Body Mass (g)"]
        EncodedWidth(features=5, curves=3)
    """
    n_curves = curves_of(table)
    left = {Kind.identifier, Kind.constant}
    return {
        column.name: _width(column, n_curves, text_encoder)
        for column in table.columns
        if column.kind not in left
    }


def _width(column: Column, n_curves: int, text_encoder: str) -> EncodedWidth:
    flag = missing_flag(column.missing)
    if column.kind in {Kind.number, Kind.integer}:
        curves = max(0, min(n_curves, column.n_distinct - 2))
        return EncodedWidth(1 + curves + flag, curves)
    if column.kind is Kind.datetime:
        names = DateEncoder.fit(column, n_curves).names
        return EncodedWidth(len(names), sum(name.startswith("curve ") for name in names))
    if column.kind is Kind.category:
        return EncodedWidth(len(CategoryEncoder.fit(column).names))
    if text_encoder.startswith(PREFIX):
        return EncodedWidth(_SENTENCE + flag)
    present = len(column) - column.n_missing
    return EncodedWidth(max(0, most_dims(present, len(column))) + 1 + flag)
