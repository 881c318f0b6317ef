"""What a verb prints at its end: plain text, numbers with their intervals or methods."""

import sys
import textwrap
from typing import Any

from trivium.cli.console import echo, printable

__all__ = [
    "print_explanations",
    "print_summary",
    "print_warnings",
    "print_whatif",
]

_WIDTH = 88


def print_summary(result: Any) -> None:
    """Print a run's verdict, the grades of a demo, and where the files are."""
    report = result.report
    echo()
    for sentence in report["verdict"]:
        echo(textwrap.fill(sentence, _WIDTH, subsequent_indent="  "))
    if report["demo"]:
        echo()
        for item in report["demo"]["truth"]:
            echo(f"  [{item['grade']}] {item['what']}: planted {item['planted']}; {item['found']}")
    seconds = sum(stage["seconds"] for stage in report["stages"])
    again = " (resumed)" if result.resumed else ""
    echo(f"\nDone in {seconds:.1f} s, seed {report['seed']}{again}.")
    echo(f"Report: {result.page}")
    if report["flags"]["listed"]:
        fixes = result.folder / "fixes.csv"
        echo(f"To try fixes: edit {fixes}, then trivium whatif {result.folder} {fixes}")


def print_warnings(warnings: list[dict[str, str]]) -> None:
    """Print what a reader of the result should know, on stderr."""
    for warning in warnings:
        line = f"warning[{warning['code']}]: {warning['where']}: {warning['message']}"
        print(printable(line), file=sys.stderr)


def print_explanations(items: list[dict[str, Any]]) -> None:
    """Print rows with the training rows for and against them."""
    for item in items:
        _print_explanation(item, "intercept")
        if "tuned" in item:
            echo("  what tuning added, by the path of its training:")
            _print_explanation(item["tuned"], "before tuning")


def _print_explanation(item: dict[str, Any], first: str) -> None:
    echo(
        f"row {item['row']}: label {item['label']}, predicted {item['predicted']} over "
        f"{item['rival']} by {item['score']:.4f}"
    )
    echo(
        f"  = {first} {item['intercept']:+.4f}, for {item['total_support']:+.4f}, "
        f"against {item['total_oppose']:+.4f} (sum is off by {item['error']:.1e})"
    )
    for side in ("support", "oppose"):
        for row in item[side]:
            own = " (itself)" if row["itself"] else ""
            echo(f"  {row['contribution']:+.4f}  row {row['row']}, {row['label']}{own}")


def print_whatif(answer: dict[str, Any]) -> None:
    """Print what the fixes change."""
    before, after = answer["before"], answer["after"]
    echo(f"Labels changed: {answer['relabelled']}; rows dropped: {answer['dropped']}.")
    which = "rows of the sample" if answer.get("sample") else "rows"
    echo(f"On the {answer['rows_compared']:,} {which} not touched, by exact leave-one-out:")
    gain = 100 * (after["accuracy"] - before["accuracy"])
    echo(
        f"  accuracy  {100 * before['accuracy']:.2f} % -> {100 * after['accuracy']:.2f} % "
        f"({gain:+.2f})"
    )
    loss = after["log_loss"] - before["log_loss"]
    echo(f"  log-loss  {before['log_loss']:.4f} -> {after['log_loss']:.4f} ({loss:+.4f})")
    echo(f"Answered in {answer['milliseconds']:.1f} ms.")
