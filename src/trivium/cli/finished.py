"""Verbs on a finished run or a saved model: predict, explain, whatif."""

import csv
import sys
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import click

from trivium._core.counted import counted
from trivium.cli.console import StageLines, echo, printable
from trivium.cli.options import (
    FORCE,
    HOLD_BLOCKS,
    JSON,
    PATH,
    file_argument,
    files_argument,
    print_json,
    read_options,
    reading,
)
from trivium.cli.running import open_given, running

__all__ = ["explain", "predict", "whatif"]


@click.command()
@file_argument("model")
@files_argument()
@click.option("--out", type=PATH, metavar="FILE", help="CSV to write; printed without it.")
@HOLD_BLOCKS
@FORCE
@running
@reading
def predict(
    model: Path, data: tuple[Path, ...], out: Path | None, hold: int, force: bool, **given: Any
) -> None:
    """Predict DATA with a saved MODEL (or a run's folder): class and probabilities.

    DATA is a file, or several and folders of them with the same columns; rows are counted
    through. What has more cells than --hold is read and written block by block.
    """
    from trivium._core.errors import OutputError
    from trivium._core.place import check_place
    from trivium.audit import predict_files, spare_input
    from trivium.store import write_csv
    from trivium.table import find_files

    if out is not None:
        for path in find_files(data):
            spare_input("predict", out, Path(path))
        if out.exists() and not force:
            raise OutputError(f"predict: {out} must not exist", remedy="Add --force, or rename it.")
        if out.is_dir():
            raise OutputError(
                "predict: --out must be a file; got a folder",
                where=str(out),
                remedy="Name a file in it.",
            )
        check_place(out, "predict")
    opened = open_given(given)
    # Rows on a terminal are a progress bar of their own.
    with opened as executor, StageLines(quiet=out is None) as lines:
        lines.begin("predict")
        header, rows = predict_files(
            model, data, read_options(given), hold=hold, executor=executor, progress=lines.step
        )
        if out is None:
            _print(header, rows)
            return
        written = write_csv(out, header, rows)
    echo(f"{counted(written, 'prediction')} in {out}")


def _print(header: list[str], rows: Iterable[list[Any]]) -> None:
    """Print rows as CSV as they come."""
    from trivium.store import quote_cell

    shown = printable if sys.stdout.isatty() else str
    writer = csv.writer(sys.stdout, lineterminator="\n")
    for row in chain([header], rows):
        writer.writerow([shown(quote_cell(c)) if isinstance(c, str) else c for c in row])


@click.command()
@file_argument("run")
@click.option("--rows", required=True, metavar="N,N", help="Rows of the data, counted from 1.")
@click.option("--top", type=click.IntRange(1, 1000), default=5, show_default=True)
@JSON
def explain(run: Path, rows: str, top: int, as_json: bool) -> None:
    """Show the training rows that made a row's score, as an exact sum."""
    from trivium.audit import explain_run
    from trivium.cli.summary import print_explanations

    if not all(part.strip().isdecimal() for part in rows.split(",")):
        raise click.BadParameter(f"{rows!r} is not a list of row numbers such as 3,17")
    items = explain_run(run, [int(part) for part in rows.split(",")], top)
    if as_json:
        print_json(items)
    else:
        print_explanations(items)


@click.command()
@file_argument("run")
@file_argument("fixes")
@JSON
def whatif(run: Path, fixes: Path, as_json: bool) -> None:
    """Say what the edited FIXES (fixes.csv of RUN) would change."""
    from trivium.audit import whatif as run_whatif
    from trivium.cli.summary import print_whatif

    answer = run_whatif(run, fixes)
    if as_json:
        print_json(answer)
    else:
        print_whatif(answer)
