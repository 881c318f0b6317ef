"""What `trivium depend` prints: the columns, the aspects of texts, the pairs, a sentence."""

import textwrap
import unicodedata
from pathlib import Path
from typing import Any

from trivium._core.counted import counted, noun
from trivium.cli.console import echo, printable
from trivium.cli.summary import print_warnings

__all__ = ["print_dependence"]

_WIDTH = 88
_NAME = 24
_PAIRS = 20
_CORRECTIONS = {"bh": "Benjamini-Hochberg", "by": "Benjamini-Yekutieli"}
_BEYOND = {
    "presence": "which words",
    "order": "order beyond words",
    "distance": "distance beyond order",
}


def print_dependence(report: dict[str, Any], plot: Path | None = None) -> None:
    """Print what was found on stdout and the warnings on stderr."""
    if "depend" in report:
        _print_columns(report)
        _print_aspects(report)
    if "pairs" in report:
        if "depend" in report:
            echo()
        _print_pairs(report)
    if plot is not None:
        echo(f"Figure: {plot}")
    print_warnings(report["warnings"])


def _print_columns(report: dict[str, Any]) -> None:
    head = f"{'CKA':>7} {'p':>9} {'p (tail)':>9} {'q':>9}"
    echo(f"{'column':<{_NAME}} {'kind':<8} {head}  shape, kernel")
    for row in report["depend"]:
        about = ": ".join(part for part in (row["shape"], row["kernel"]) if part)
        echo(
            f"{_padded(row['column'])} {row['kind']:<8} {row['cka']:7.4f} {row['p_value']:9.4g} "
            f"{row['p_tail']:9.3g} {row['q_value']:9.4g}  {about}"
        )
    rows = report["depend"]
    left = report.get("untested", {"columns": 0, "why": ""})
    hits = sum(row["q_value"] <= report["fdr"] for row in rows)
    name = report["data"]["target"]["column"]
    _say(
        f"{hits} of {counted(len(rows) + left['columns'], 'column')} "
        f"{noun(hits, 'depends', 'depend')} on {name} "
        f"(q <= {report['fdr']:g}, {_CORRECTIONS[report['correction']]})."
    )
    if left["why"]:
        _say(f"Note: {left['why']}.")


def _print_aspects(report: dict[str, Any]) -> None:
    """One line for each text: the three nested tests."""
    for row in report["depend"]:
        if row["aspects"]:
            parts = [
                f"{_BEYOND[aspect['aspect']]} p = {aspect['p_value']:.3g} "
                f"(q = {aspect['q_value']:.3g})"
                for aspect in row["aspects"]
            ]
            _say(f"Text {row['column']}: {', '.join(parts)}.")


def _print_pairs(report: dict[str, Any]) -> None:
    pairs = report["pairs"]
    hits = sum(row["q_value"] <= report["fdr"] for row in pairs)
    echo(f"{'column':<{_NAME}} {'column':<{_NAME}} {'CKA':>7} {'p':>9} {'q':>9}")
    for row in pairs[:_PAIRS]:
        names = f"{_padded(row['first'])} {_padded(row['second'])}"
        echo(f"{names} {row['cka']:7.4f} {row['p_value']:9.4g} {row['q_value']:9.4g}")
    more = f"; the first {_PAIRS} are shown, --json has all" if len(pairs) > _PAIRS else ""
    _say(
        f"{hits} of {counted(len(pairs), 'pair')} {noun(hits, 'depends', 'depend')} on each other "
        f"(q <= {report['fdr']:g}, {_CORRECTIONS[report['correction']]}){more}."
    )


def _say(sentence: str) -> None:
    echo(textwrap.fill(printable(sentence), _WIDTH, subsequent_indent="  "))


def _cells(char: str) -> int:
    """Places that a character takes on a terminal."""
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _padded(name: str) -> str:
    """Return a name on one line in exactly `_NAME` places of the terminal, cut where longer."""
    text = printable(" ".join(name.split()))
    kept, used = "", 0
    whole = sum(map(_cells, text)) <= _NAME
    for char in text:
        if used + _cells(char) > _NAME - (not whole):
            break
        kept, used = kept + char, used + _cells(char)
    if not whole:
        kept, used = kept + "…", used + 1
    return kept + " " * (_NAME - used)
