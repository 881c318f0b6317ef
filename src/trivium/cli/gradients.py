"""The verb `gradients`: gradient estimators side by side."""

import textwrap
from pathlib import Path
from typing import Any

import click

from trivium.cli.console import StageLines, echo, printable
from trivium.cli.options import FORCE, JSON, PATH, SEED, print_json

__all__ = ["gradients"]

_WIDTH = 88


@click.command()
@click.argument("problem", required=False)
@click.option("--f", "f", metavar="MODULE:NAME", help="A problem of your own.")
@click.option("--samples", type=int, default=16, show_default=True, help="Draws of each call.")
@click.option("--repeats", type=int, default=200, show_default=True, help="Calls of each.")
@click.option("--plot", type=PATH, metavar="FILE", help="Write the figure: .svg, .png or .pdf.")
@SEED
@FORCE
@JSON
def gradients(plot: Path | None, force: bool, as_json: bool, **given: Any) -> None:
    """Measure which gradient estimator is the best bargain on an expectation.

    PROBLEM is bernoulli (the default), classifier, normal, ranking or subset. MODULE:NAME is a
    function of yours that returns (f, distribution) or (f, distribution, estimators).
    """
    from trivium.audit import GradientsOptions, check_figure, gradients_only, write_figure

    if plot is not None:
        check_figure("gradients", plot, force=force)
    with StageLines(quiet=as_json) as lines:
        found = gradients_only(GradientsOptions(**given), lines)
    if plot is not None:
        write_figure(found.comparison.plot, plot)
    if as_json:
        print_json(found.report)
    else:
        _print_comparison(found, plot)


def _print_comparison(found: Any, plot: Path | None) -> None:
    report = found.report
    _say(f"{report['problem']}: {report['about']}")
    echo()
    echo(found.comparison.grid())
    echo()
    for note in found.comparison.notes():
        _say(note)
    if report["best"]:
        _say(
            f"Least variance among the unbiased: {report['best']['evaluations']} at equal "
            f"evaluations of f, {report['best']['time']} at equal time."
        )
    for name, why in report["skipped"].items():
        _say(f"Not compared: {name} ({why.removeprefix('expect: ')})")
    if plot is not None:
        echo(f"Figure: {plot}")


def _say(sentence: str) -> None:
    echo(textwrap.fill(printable(sentence), _WIDTH, subsequent_indent="  "))
