"""Reading tables: every cell as text first, then one documented inference, nothing silent."""

from trivium.table.bundled import bundled_label, penguins_path
from trivium.table.dates import Dates, read_dates
from trivium.table.demo import Demo, demo_table
from trivium.table.demo_grade import grade
from trivium.table.encode import TableEncoder
from trivium.table.encode_width import EncodedWidth, encoded_widths
from trivium.table.frame import from_frame
from trivium.table.infer import column_as, infer_column
from trivium.table.inspect import duplicate_groups, inspect_columns, leaking_columns
from trivium.table.label import Label, split_label
from trivium.table.numeric import NumericReader, NumericRows
from trivium.table.numeric_parts import NumericParts
from trivium.table.options import MISSING_TOKENS, ReadOptions
from trivium.table.part_block import FileBlock, read_block
from trivium.table.parts import Parts, block_table, find_files, open_parts
from trivium.table.read import read_table
from trivium.table.read_files import gather, open_files, read_files, shown_name
from trivium.table.table import Column, ColumnType, Kind, Notice, Table

__all__ = [
    "MISSING_TOKENS",
    "Column",
    "ColumnType",
    "Dates",
    "Demo",
    "EncodedWidth",
    "FileBlock",
    "Kind",
    "Label",
    "Notice",
    "NumericParts",
    "NumericReader",
    "NumericRows",
    "Parts",
    "ReadOptions",
    "Table",
    "TableEncoder",
    "block_table",
    "bundled_label",
    "column_as",
    "demo_table",
    "duplicate_groups",
    "encoded_widths",
    "find_files",
    "from_frame",
    "gather",
    "grade",
    "infer_column",
    "inspect_columns",
    "leaking_columns",
    "open_files",
    "open_parts",
    "penguins_path",
    "read_block",
    "read_dates",
    "read_files",
    "read_table",
    "shown_name",
    "split_label",
]
