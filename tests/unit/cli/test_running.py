"""Options that say where the work is done: what goes together, and what does not."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from trivium.cli.running import EXECUTOR_NAMES, open_given
from trivium.cli.verbs import COMMANDS
from trivium.parallel import EXECUTORS, SerialExecutor


def given(**how: Any) -> dict[str, Any]:
    return {"executor": "serial", "workers": None, "scheduler": None, "timeout": None} | how


def test_names_are_those_of_the_executors() -> None:
    assert set(EXECUTOR_NAMES) == set(EXECUTORS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "2"], "--workers must come with --executor"),
        (["--timeout", "2"], "--timeout must come with --executor"),
        (["--scheduler", "tcp://h:1"], "--scheduler must come with --executor dask"),
        (
            ["--executor", "dask", "--scheduler", "tcp://h:1", "--workers", "2"],
            "--workers must come without --scheduler",
        ),
        (["--executor", "spark"], "'spark' is not one of"),
        (["--executor", "processes", "--workers", "0"], "0 is not in the range"),
    ],
)
def test_what_does_not_go_together(options: list[str], message: str) -> None:
    found = CliRunner().invoke(COMMANDS["audit"], options)
    assert found.exit_code == 2
    assert message in found.output


def test_the_rest_of_the_options_stays() -> None:
    options = given() | {"label": "y"}
    with open_given(options) as executor:
        assert isinstance(executor, SerialExecutor)
    assert options == {"label": "y"}


def test_several_files_on_the_command_line(tmp_path: Path) -> None:
    for part in range(2):
        with (tmp_path / f"{part}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["a", "y"])
            writer.writerows([i % 8 + 0.5, "up" if i % 3 else "down"] for i in range(40))
    files = [str(tmp_path / f"{part}.csv") for part in range(2)]
    how = ["--target", "y", "--permutations", "19", "--json", "--executor", "threads"]
    found = CliRunner().invoke(COMMANDS["depend"], [*files, *how])
    assert found.exit_code == 0, found.output
    report = json.loads(found.stdout)
    assert report["data"]["rows"] == 80
    assert report["data"]["source"] == "0.csv and 1 more file"
