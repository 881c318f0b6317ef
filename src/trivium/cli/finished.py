"""Verbs on a finished run or a saved model: predict, explain, whatif."""

import csv
import sys
from pathlib import Path
from typing import Any

import click

from trivium.cli.console import echo, printable
from trivium.cli.options import (
    FORCE,
    JSON,
    PATH,
    file_argument,
    print_json,
    read_options,
    reading,
)

__all__ = ["explain", "predict", "whatif"]


@click.command()
@file_argument("model")
@file_argument("data")
@click.option("--out", type=PATH, metavar="FILE", help="CSV to write; printed without it.")
@FORCE
@reading
def predict(model: Path, data: Path, out: Path | None, force: bool, **given: Any) -> None:
    """Predict DATA with a saved MODEL (or a run's folder): class and probabilities."""
    from trivium.audit import predict_file, spare_input

    if out is not None:
        spare_input("predict", out, data)
    header, rows = predict_file(model, data, read_options(given))
    from trivium._core.errors import OutputError
    from trivium.store import quote_cell, write_csv

    if out is None:
        shown = printable if sys.stdout.isatty() else str
        writer = csv.writer(sys.stdout, lineterminator="\n")
        for row in [header, *rows]:
            writer.writerow([shown(quote_cell(c)) if isinstance(c, str) else c for c in row])
        return
    if out.exists() and not force:
        raise OutputError(f"predict: {out} must not exist", remedy="Add --force, or rename it.")
    write_csv(out, header, rows)
    echo(f"{len(rows):,} predictions in {out}")


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
