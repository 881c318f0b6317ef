"""The verb `calibrate`: measure this machine, for seconds in `trivium cost`."""

from pathlib import Path
from typing import Any

import click

from trivium._core.counted import counted
from trivium.cli.console import StageLines, echo
from trivium.cli.options import FORCE, JSON, PATH, SEED, print_json

__all__ = ["calibrate"]


@click.command()
@click.option("--seconds", type=float, default=60.0, show_default=True, help="Time to spend.")
@click.option("--threads", type=int, default=1, show_default=True, help="Threads that compute.")
@click.option("--dtype", default="float32", show_default=True, help="Or bfloat16 and so on.")
@click.option("--out", type=PATH, metavar="FILE", help="The machine file (in your data folder).")
@SEED
@FORCE
@JSON
def calibrate(out: Path | None, seed: int, force: bool, as_json: bool, **given: Any) -> None:
    """Measure how long the operators of a Transformer take on this machine.

    Writes the machine file that `trivium cost --machine FILE` reads. Run it while nothing else
    runs: what others do to the machine is measured with it.
    """
    from trivium._core.errors import OutputError
    from trivium._core.place import check_place
    from trivium.cost.machine_file import default_path

    place = default_path() if out is None else out
    if out is not None and place.exists() and not force:
        raise OutputError(
            "calibrate: the file must not exist",
            where=str(place),
            remedy="Write over it with --force.",
            code="E-EXISTS",
        )
    if out is None:
        _make_folder(place.parent)
    check_place(place, "calibrate")
    machine = _measure(seed, as_json, given)
    machine.save(place)
    if as_json:
        print_json({"file": str(place), **machine.to_dict()})
    else:
        echo(str(machine))
        echo()
        echo(f"Machine file: {place}")


def _measure(seed: int, quiet: bool, given: dict[str, Any]) -> Any:
    from trivium.attention import linear_attention_cases
    from trivium.cost import Machine
    from trivium.cost.calibrate import check_asked

    check_asked(given["seconds"], given["threads"], given["dtype"])
    cases = linear_attention_cases(given["dtype"])
    with StageLines(quiet=quiet) as lines:
        lines.begin("calibrate")
        machine = Machine.calibrate(progress=lines.step, cases=cases, random_state=seed, **given)
        about = machine.about
        did = f"{counted(about['cases'], 'call')}, each at least {about['rounds']} times"
        lines.end("calibrate", did, float(about["seconds"]))
    return machine


def _make_folder(folder: Path) -> None:
    from trivium._core.errors import OutputError

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"calibrate: the folder must be one that can be made; {error.strerror or error}",
            where=str(folder),
            remedy="Name the file: --out FILE.",
        ) from error
