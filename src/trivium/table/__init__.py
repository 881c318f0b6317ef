"""Reading tables: every cell as text first, then one documented inference, nothing silent."""

from trivium.table.dates import Dates, read_dates
from trivium.table.frame import from_frame
from trivium.table.infer import column_as, infer_column
from trivium.table.inspect import duplicate_groups, inspect_columns, leaking_columns
from trivium.table.label import Label, split_label
from trivium.table.options import MISSING_TOKENS, ReadOptions
from trivium.table.read import read_table
from trivium.table.table import Column, Kind, Notice, Table

__all__ = [
    "MISSING_TOKENS",
    "Column",
    "Dates",
    "Kind",
    "Label",
    "Notice",
    "ReadOptions",
    "Table",
    "column_as",
    "duplicate_groups",
    "from_frame",
    "infer_column",
    "inspect_columns",
    "leaking_columns",
    "read_dates",
    "read_table",
    "split_label",
]
