"""Reading tables: every cell as text first, then one documented inference, nothing silent."""

from trivium.table.dates import Dates, read_dates
from trivium.table.infer import column_as, infer_column
from trivium.table.options import MISSING_TOKENS, ReadOptions
from trivium.table.read import read_table
from trivium.table.table import Column, Kind, Notice, Table

__all__ = [
    "MISSING_TOKENS",
    "Column",
    "Dates",
    "Kind",
    "Notice",
    "ReadOptions",
    "Table",
    "column_as",
    "infer_column",
    "read_dates",
    "read_table",
]
