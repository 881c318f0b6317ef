"""The verbs: each parses its options, calls one function below and prints what came back."""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from trivium.cli.calibrate import calibrate
from trivium.cli.console import StageLines, echo, printable
from trivium.cli.cost import cost
from trivium.cli.gradients import gradients
from trivium.cli.options import (
    COUNT,
    FORCE,
    JSON,
    PATH,
    SEED,
    file_argument,
    print_json,
    read_options,
    reading,
)
from trivium.cli.position import position

__all__ = ["COMMANDS"]


def _command() -> list[str]:
    return ["trivium", *sys.argv[1:]]


def _finish(result: Any, as_json: bool, fail_on: tuple[Any, ...]) -> None:
    """Print a run's verdict and apply its gates."""
    from trivium.cli.summary import print_summary

    if as_json:
        print_json(result.report)
    else:
        print_summary(result)
    _apply(fail_on, result.report)


def _apply(gates: Sequence[Any], report: dict[str, Any]) -> None:
    """Say which gates tripped, and exit with 4 where one did."""
    tripped = [gate for gate in gates if gate.trips(report)]
    for gate in tripped:
        click.echo(f"gate tripped: {gate} (it is {gate.value(report):g})", err=True)
    if tripped:
        click.get_current_context().exit(4)


@click.command()
@file_argument("data", required=False)
@click.option("--label", metavar="COL", help="The column to predict.")
@click.option("--metric", metavar="NAME", help="What counts (accuracy), or MODULE:FUNCTION.")
@click.option("--positive", metavar="CLASS", help="The class that --metric f1 is of.")
@click.option("--costs", type=PATH, metavar="FILE", help="CSV of what each mistake costs.")
@click.option("--out", type=PATH, metavar="DIR", help="The run's folder.")
@click.option("--folds", type=int, default=5, show_default=True, help="Cross-validation folds.")
@click.option("--permutations", type=int, default=1000, show_default=True, help="Shifts tested.")
@click.option("--text-encoder", default="hashed", show_default=True, help="How text is encoded.")
@click.option("--keep", multiple=True, metavar="COL", help="Use COL although it is a leak.")
@click.option("--budget", type=COUNT, metavar="COUNT", help="Multiply-adds of a choice (1e12).")
@click.option("--machine", type=PATH, metavar="FILE", help="Calibration that predicts seconds.")
@click.option("--fail-on", multiple=True, metavar="RULE", help="Exit 4 when RULE holds.")
@SEED
@FORCE
@JSON
@reading
def audit(data: Path | None, as_json: bool, force: bool, out: Path | None, **given: Any) -> None:
    """Give a second opinion on a labelled table.

    DATA is CSV, TSV, JSONL or Parquet, also gzipped; without it the bundled table of penguins is
    audited for Sex. RULE is for example accuracy<0.8, flags>20, q>0.05 or leaks>0. NAME is
    accuracy, balanced_accuracy, f1, log_loss, macro_f1, mcc, or a function of yours.
    """
    from trivium.audit import AuditOptions, parse_gate, read_costs
    from trivium.audit import audit as run_audit

    gates = tuple(parse_gate(rule) for rule in given.pop("fail_on"))
    costs = given.pop("costs")
    given["costs"] = read_costs(costs) if costs else None
    if given["budget"] is None:
        del given["budget"]
    options = AuditOptions(data=data, read=read_options(given), **given)
    with StageLines(quiet=as_json) as lines:
        result = run_audit(options, out, force=force, listener=lines, command=_command())
    _finish(result, as_json, gates)


@click.command()
@click.option("--rows", type=int, default=1000, show_default=True, help="Rows to generate.")
@click.option("--out", type=PATH, default=Path("trivium-demo"), show_default=True, metavar="DIR")
@SEED
@FORCE
@JSON
def demo(rows: int, out: Path, seed: int, force: bool, as_json: bool) -> None:
    """Generate a mixed table with planted truth, audit it, and grade the audit.

    DIR gets the table, the truth and the run.
    """
    from trivium.audit import audit_demo

    with StageLines(quiet=as_json) as lines:
        result = audit_demo(rows, out, seed, force=force, listener=lines, command=_command())
    _finish(result, as_json, ())


@click.command()
@file_argument("data")
@click.option("--target", "--label", "target", metavar="COL", help="Test the columns against COL.")
@click.option("--pairs", is_flag=True, help="Test every two columns against each other.")
@click.option("--fail-if", multiple=True, metavar="RULE", help="Exit 4 when RULE holds.")
@click.option("--permutations", type=int, default=1000, show_default=True, help="Shifts tested.")
@click.option("--fdr", type=float, default=0.05, show_default=True, help="False-discovery rate.")
@click.option("--correction", default="bh", show_default=True, help="For that rate: bh or by.")
@click.option("--keep", multiple=True, metavar="COL", help="Test COL although it is a leak.")
@click.option("--plot", type=PATH, metavar="FILE", help="Write the figure: .svg, .png or .pdf.")
@SEED
@FORCE
@JSON
@reading
def depend(data: Path, plot: Path | None, force: bool, as_json: bool, **given: Any) -> None:
    """Test which columns of DATA depend on a target, on each other, or both.

    The target is a category, a number, a date or a text. RULE is for example "q<.05": the
    smallest q-value of all tests is below 0.05, that is, at least one column depends.
    """
    from trivium.audit import (
        DEPEND_QUANTITIES,
        DependOptions,
        Screening,
        check_plot,
        depend_only,
        parse_gate,
        write_plot,
    )
    from trivium.cli.dependence import print_dependence

    gates = [
        parse_gate(rule, option="--fail-if", quantities=DEPEND_QUANTITIES)
        for rule in given.pop("fail_if")
    ]
    names = ("permutations", "fdr", "correction", "seed")
    how = Screening(**{name: given.pop(name) for name in names})
    options = DependOptions(data=data, how=how, read=read_options(given), **given)
    if plot is not None:
        check_plot(plot, data, force=force)
    with StageLines(quiet=as_json) as lines:
        found = depend_only(options, lines)
    if plot is not None:
        write_plot(found, plot)
    if as_json:
        print_json(found.report)
    else:
        print_dependence(found.report, plot)
    _apply(gates, found.report)


@click.command()
@file_argument("data")
@click.option("--label", required=True, metavar="COL", help="The column to predict.")
@click.option("--out", type=PATH, required=True, metavar="DIR", help="The model's folder.")
@click.option("--text-encoder", default="hashed", show_default=True)
@SEED
@FORCE
@JSON
@reading
def fit(data: Path, out: Path, force: bool, as_json: bool, **given: Any) -> None:
    """Fit the closed-form classifier on DATA and save the model."""
    from trivium.audit import AuditOptions, fit_only
    from trivium.cli.summary import print_warnings

    options = AuditOptions(data=data, read=read_options(given), **given)
    with StageLines(quiet=as_json) as lines:
        summary = fit_only(options, out, lines, force=force)
    if as_json:
        print_json(summary)
    else:
        print_warnings(summary["warnings"])
        echo(
            f"leave-one-out accuracy {100 * summary['loo_accuracy']:.1f} %, "
            f"log-loss {summary['loo_log_loss']:.4f}; model in {out}"
        )


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


@click.command(name="list")
@JSON
def list_(as_json: bool) -> None:
    """List the members of every family, types of Transformer, stages and metrics."""
    from trivium.audit import catalog

    found = catalog()
    if as_json:
        print_json(found)
        return
    for room, entries in found.items():
        echo(room)
        for name, line in entries.items():
            echo(f"  {name:<18} {line}")


COMMANDS: dict[str, click.Command] = {
    command.name or "": command
    for command in (
        audit,
        calibrate,
        cost,
        demo,
        depend,
        explain,
        fit,
        gradients,
        list_,
        position,
        predict,
        whatif,
    )
}
