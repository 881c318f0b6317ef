"""The verb `cost`: where a Transformer's compute goes, counted from its configuration."""

import json
import textwrap
from pathlib import Path
from typing import Any

import click

from trivium.cli.console import echo, printable
from trivium.cli.options import FORCE, JSON, PATH

__all__ = ["cost"]

_WIDTH = 88


@click.command()
@click.argument("name")
@click.option("--lengths", metavar="N,N", help="Tokens of a row; in decode those in the cache.")
@click.option("--length-file", type=PATH, metavar="FILE", help="Lengths of your rows, one a line.")
@click.option("--mode", default="forward", show_default=True, help="Or train, prefill, decode.")
@click.option("--attention", metavar="A,A", help="Designs to compare, such as sdpa,linear:4d.")
@click.option("--batch", type=int, default=1, show_default=True, help="Rows of a batch.")
@click.option("--padding", default="batch", show_default=True, help="Or none, sorted, longest.")
@click.option("--count", default="executed", show_default=True, help="Or needed.")
@click.option("--head", metavar="KIND", help="lm or base, against what is usual.")
@click.option("--itemsize", type=int, default=4, show_default=True, help="Bytes of a number.")
@click.option("--machine", type=PATH, metavar="FILE", help="Seconds too: of trivium calibrate.")
@click.option("--threads", type=int, help="Threads that the machine file must be for.")
@click.option("--verify", is_flag=True, help="Hold the count against torch's own counter.")
@click.option("--plot", type=PATH, metavar="FILE", help="Write the figure: .svg or .png.")
@FORCE
@JSON
def cost(name: str, plot: Path | None, force: bool, as_json: bool, **given: Any) -> None:
    """Count what a Transformer computes, component by component, and where costs cross.

    NAME is a bundled model such as bert-base-uncased or Llama-3.1-8B, or the path of a
    config.json. A is eager, sdpa, window:512, linear, linear:4d, linear:h/4 or hybrid:LLLF.
    """
    from trivium.cost import Asked, TransformerShape, cost_report, read_lengths

    verified, head = given.pop("verify"), given.pop("head")
    shape = TransformerShape.from_config(name, head=head)
    if plot is not None:
        from trivium.audit import check_figure

        check_figure("cost", plot, force=force)
    lengths = _integers(given.pop("lengths"))
    file, designs = given.pop("length_file"), given.pop("attention")
    rows = None if file is None else read_lengths(file)
    if not lengths and rows is not None:
        lengths = _quantiles(rows.rows)
    attention = [] if designs is None else designs.split(",")
    machine = _machine(given.pop("machine"), given.pop("threads"))
    lengths = lengths or ([] if shape.tokens is not None else [128, 512, 2048])
    report = cost_report(shape, lengths, attention, rows, Asked(**given, machine=machine))
    checks = _verified(name, report, head) if verified else []
    if plot is not None:
        from trivium.audit import write_figure
        from trivium.cost.picture import draw

        write_figure(lambda: draw(report), plot)
    if as_json:
        # ASCII only: nothing in a name can steer the terminal.
        print(json.dumps(report.to_dict() | {"verified": checks}, ensure_ascii=True, indent=1))
    else:
        _print(report, checks, plot)


def _machine(file: Path | None, threads: int | None) -> Any:
    from trivium.cost import Machine

    if file is None:
        if threads is not None:
            raise click.BadParameter("--threads is about a machine file: give --machine FILE")
        return None
    return Machine.load(file, threads=threads)


def _integers(text: str | None) -> list[int]:
    """Return the numbers of a list such as 128,512; their ranges are checked where they count."""
    if text is None:
        return []
    parts = [part.strip().replace("_", "") for part in text.split(",")]
    if not all(part.removeprefix("-").isdecimal() and len(part) < 20 for part in parts):
        raise click.BadParameter(f"{text!r} is not a list of lengths such as 128,512,2048")
    return [int(part) for part in parts]


def _quantiles(rows: tuple[int, ...]) -> list[int]:
    """Return the median, the ninth decile and the longest of the rows."""
    ordered = sorted(rows)
    places = (len(ordered) // 2, 9 * len(ordered) // 10, len(ordered) - 1)
    return sorted({ordered[place] for place in places})


def _verified(name: str, report: Any, head: str | None) -> list[dict[str, Any]]:
    """Hold the forward count against torch's counter, and fail where they differ."""
    from trivium._core.errors import TriviumError
    from trivium.cost.torch_counter import verify

    work = report.tables[0].work
    decode = work.mode == "decode"
    lengths = [table.work.past if decode else table.work.n for table in report.tables]
    found = verify(name, lengths, work.batch, head=head)
    for check in found:
        if not check.equal:
            raise TriviumError(
                f"cost: the count must equal that of FlopCounterMode; got {check.ours:,} and "
                f"{check.theirs:,} at n = {check.n:,}",
                where=name,
                code="E-VERIFY",
            )
    return [{"n": each.n, "ours": each.ours, "theirs": each.theirs} for each in found]


def _print(report: Any, checks: list[dict[str, Any]], plot: Path | None) -> None:
    echo(str(report))
    if report.comparison is not None and len(report.comparison.entries) > 1:
        echo()
        echo(str(report.comparison))
    if report.verdict:
        echo()
    for sentence in report.verdict:
        echo(textwrap.fill(printable(sentence), _WIDTH, subsequent_indent="  "))
    if checks:
        places = ", ".join(f"{check['n']:,}" for check in checks)
        echo(f"Verified: FlopCounterMode counts the same forward FLOPs at n = {places}.")
    if plot is not None:
        echo(f"Figure: {plot}")
