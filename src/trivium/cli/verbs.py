"""The verbs: each parses its options, calls one function below and prints what came back."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from trivium.cli.calibrate import calibrate
from trivium.cli.console import StageLines, echo
from trivium.cli.cost import cost
from trivium.cli.finished import explain, predict, whatif
from trivium.cli.gradients import gradients
from trivium.cli.options import (
    COUNT,
    FORCE,
    HOLD,
    JSON,
    PATH,
    SEED,
    files_argument,
    print_json,
    read_options,
    reading,
)
from trivium.cli.position import position
from trivium.cli.running import open_given, running

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
@files_argument(required=False)
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
@HOLD
@click.option("--fail-on", multiple=True, metavar="RULE", help="Exit 4 when RULE holds.")
@SEED
@FORCE
@JSON
@running
@reading
def audit(
    data: tuple[Path, ...], as_json: bool, force: bool, out: Path | None, **given: Any
) -> None:
    """Give a second opinion on a labeled table.

    DATA is CSV, TSV, JSONL or Parquet, also gzipped: a file, or several and folders of them with
    the same columns. Without it the bundled table of penguins is audited for Sex. RULE is for
    example accuracy<0.8, flags>20, q>0.05 or leaks>0. NAME is accuracy, balanced_accuracy, f1,
    log_loss, macro_f1, mcc, or a function of yours.
    """
    from trivium.audit import AuditOptions, parse_gate, read_costs
    from trivium.audit import audit as run_audit

    gates = tuple(parse_gate(rule) for rule in given.pop("fail_on"))
    costs = given.pop("costs")
    given["costs"] = read_costs(costs) if costs else None
    if given["budget"] is None:
        del given["budget"]
    opened = open_given(given)
    options = AuditOptions(data=data or None, read=read_options(given), **given)
    with opened as executor, StageLines(quiet=as_json) as lines:
        result = run_audit(
            options,
            out,
            force=force,
            listener=lines,
            command=_command(),
            executor=executor,
        )
    _finish(result, as_json, gates)


@click.command()
@click.option("--rows", type=int, default=1000, show_default=True, help="Rows to generate.")
@click.option("--out", type=PATH, default=Path("trivium-demo"), show_default=True, metavar="DIR")
@SEED
@FORCE
@JSON
@running
def demo(rows: int, out: Path, seed: int, force: bool, as_json: bool, **given: Any) -> None:
    """Generate a mixed table with planted truth, audit it, and grade the audit.

    DIR gets the table, the truth and the run.
    """
    from trivium.audit import audit_demo

    with open_given(given) as executor, StageLines(quiet=as_json) as lines:
        result = audit_demo(
            rows,
            out,
            seed,
            force=force,
            listener=lines,
            command=_command(),
            executor=executor,
        )
    _finish(result, as_json, ())


@click.command()
@files_argument()
@click.option("--target", "--label", "target", metavar="COL", help="Test the columns against COL.")
@click.option("--pairs", is_flag=True, help="Test every two columns against each other.")
@click.option("--fail-if", multiple=True, metavar="RULE", help="Exit 4 when RULE holds.")
@click.option("--permutations", type=int, default=1000, show_default=True, help="Shifts tested.")
@click.option("--fdr", type=float, default=0.05, show_default=True, help="False-discovery rate.")
@click.option("--correction", default="bh", show_default=True, help="For that rate: bh or by.")
@HOLD
@click.option("--keep", multiple=True, metavar="COL", help="Test COL although it is a leak.")
@click.option("--plot", type=PATH, metavar="FILE", help="Write the figure: .svg, .png or .pdf.")
@SEED
@FORCE
@JSON
@running
@reading
def depend(
    data: tuple[Path, ...], plot: Path | None, force: bool, as_json: bool, **given: Any
) -> None:
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
    opened = open_given(given)
    options = DependOptions(data=data, how=how, read=read_options(given), **given)
    if plot is not None:
        check_plot(plot, data, force=force)
    with opened as executor, StageLines(quiet=as_json) as lines:
        found = depend_only(options, lines, executor)
    if plot is not None:
        write_plot(found, plot)
    if as_json:
        print_json(found.report)
    else:
        print_dependence(found.report, plot)
    _apply(gates, found.report)


@click.command()
@files_argument()
@click.option("--label", required=True, metavar="COL", help="The column to predict.")
@click.option("--out", type=PATH, required=True, metavar="DIR", help="The model's folder.")
@click.option("--text-encoder", default="hashed", show_default=True)
@HOLD
@SEED
@FORCE
@JSON
@running
@reading
def fit(data: tuple[Path, ...], out: Path, force: bool, as_json: bool, **given: Any) -> None:
    """Fit the closed-form classifier on DATA and save the model."""
    from trivium.audit import AuditOptions, fit_only
    from trivium.cli.summary import print_warnings

    opened = open_given(given)
    options = AuditOptions(data=data, read=read_options(given), **given)
    with opened as executor, StageLines(quiet=as_json) as lines:
        summary = fit_only(options, out, lines, force=force, executor=executor)
    if as_json:
        print_json(summary)
    else:
        print_warnings(summary["warnings"])
        echo(
            f"leave-one-out accuracy {100 * summary['loo_accuracy']:.1f} %, "
            f"log-loss {summary['loo_log_loss']:.4f}; model in {out}"
        )


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
