"""Options that several verbs share."""

import json
from collections.abc import Callable
from dataclasses import fields
from functools import reduce
from pathlib import Path
from typing import Any

import click

__all__ = [
    "COUNT",
    "FORCE",
    "HOLD",
    "HOLD_BLOCKS",
    "JSON",
    "PATH",
    "SEED",
    "file_argument",
    "files_argument",
    "print_json",
    "read_options",
    "reading",
]

PATH = click.Path(path_type=Path)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
SEED = click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
FORCE = click.option("--force", is_flag=True, help="Write over what is there.")


_BYTES = {"k": 10**3, "m": 10**6, "g": 10**9}


class _Bytes(click.ParamType):
    name = "SIZE"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        if isinstance(value, int):
            return value
        text = value.strip().lower().removesuffix("b")
        unit = _BYTES.get(text[-1:], 1)
        try:
            size = float(text[:-1] if text[-1:] in _BYTES else text) * unit
        except ValueError:
            size = 0.0
        if not 1 <= size < 2**63:
            self.fail(f"{value!r} is not a size such as 500MB or 2GB", param, ctx)
        return int(size)


class _Count(click.ParamType):
    name = "COUNT"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        if isinstance(value, int):
            return value
        try:
            count = float(value)
            whole = int(value) if value.strip().lstrip("+").isdecimal() else int(count)
        except (ValueError, OverflowError):
            whole = 0
        if whole < 1 or whole != float(value):
            self.fail(f"{value!r} is not a whole number such as 1e12", param, ctx)
        return whole


COUNT = _Count()


def _hold(beyond: str) -> Callable[..., Any]:
    said = f"Cells held at once (2e7); of a larger table, {beyond}."
    return click.option("--hold", type=COUNT, default=2 * 10**7, metavar="COUNT", help=said)


HOLD = _hold("a sample of rows")
HOLD_BLOCKS = _hold("a few blocks")

_READING = [
    click.option("--text", multiple=True, metavar="COL", help="Read COL as text."),
    click.option("--date", multiple=True, metavar="COL", help="Read COL as date or time."),
    click.option("--category", multiple=True, metavar="COL", help="Read COL as category."),
    click.option("--number", multiple=True, metavar="COL", help="Read COL as number."),
    click.option("--drop", multiple=True, metavar="COL", help="Leave COL out."),
    click.option("--missing", multiple=True, metavar="WORD", help="Cells that mean missing."),
    click.option("--encoding", metavar="NAME", help="Encoding of the file (UTF-8, or its BOM)."),
    click.option("--delimiter", metavar="CHAR", help="Cell separator (sniffed)."),
    click.option("--decimal", type=click.Choice([".", ","]), help="Decimal mark."),
    click.option("--date-order", type=click.Choice(["dmy", "mdy"]), help="Of 03/04/2024."),
    click.option("--max-bytes", type=_Bytes(), help="Largest unpacked size read."),
    click.option("--rename-duplicates", is_flag=True, help="Number repeated column names."),
]


def reading(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how a file is read."""
    return reduce(lambda wrapped, option: option(wrapped), reversed(_READING), command)


def read_options(given: dict[str, Any]) -> Any:
    """Take the reading options out of what click passed."""
    from trivium.table import ReadOptions

    names = [field.name for field in fields(ReadOptions) if field.name in given]
    chosen = {name: given.pop(name) for name in names}
    return ReadOptions(**{name: v for name, v in chosen.items() if v not in (None, (), False)})


def file_argument(name: str, *, required: bool = True) -> Callable[..., Any]:
    """Declare a path argument; that it can be read is checked where it is read."""
    return click.argument(name, type=click.Path(path_type=Path), required=required)


def files_argument(*, required: bool = True) -> Callable[..., Any]:
    """Declare DATA: one file, several, or folders of them; as a tuple."""
    return click.argument("data", type=click.Path(path_type=Path), required=required, nargs=-1)


def print_json(value: Any) -> None:
    """Print one JSON object on stdout."""
    from trivium.store import to_json

    # ASCII only: nothing in a name can steer the terminal.
    print(json.dumps(json.loads(to_json(value)), ensure_ascii=True, indent=1))
