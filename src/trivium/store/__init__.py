"""Files that survive: atomic writes, saved models that run no code, run folders that resume."""

from trivium._core.atomic import atomic_folder, atomic_open, atomic_write
from trivium._core.exact_json import file_json, from_json, to_json
from trivium.store.csv_file import quote_cell, unquote_cell, write_csv
from trivium.store.model import load_model, save_model
from trivium.store.run_folder import RunFolder, fingerprint_of

__all__ = [
    "RunFolder",
    "atomic_folder",
    "atomic_open",
    "atomic_write",
    "file_json",
    "fingerprint_of",
    "from_json",
    "load_model",
    "quote_cell",
    "save_model",
    "to_json",
    "unquote_cell",
    "write_csv",
]
