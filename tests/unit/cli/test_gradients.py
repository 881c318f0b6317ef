"""`trivium gradients`: our problems, one of the user's, the figure, and what it refuses."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributions import Bernoulli

from trivium.audit import PROBLEMS
from trivium.cli import main
from trivium.cli.gradients import gradients

FAST = ["--repeats", "8", "--samples", "4"]
MINE = """
import torch
from torch.distributions import Normal
from trivium.expectation import Pathwise, Score

def problem():
    return lambda z: z.square().sum(-1), Normal(torch.zeros(3), 1.0), [Pathwise(), Score()]

def few():
    return problem()[:2]

def broken():
    raise KeyError("oh")

def wrong():
    return 3, 4

here = 5
"""


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def found(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    capsys.readouterr()
    assert call("gradients", *arguments, *FAST, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert isinstance(report, dict)
    return report


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_problem_for_tests.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_problem_for_tests", raising=False)
    return "my_problem_for_tests"


@pytest.mark.parametrize("name", PROBLEMS)
def test_our_problems(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    report = found(capsys, name)
    assert report["problem"] == name
    rows = {row["name"]: row for row in report["estimators"]}
    assert {"Score()", "Score('none')", "Score('leave-one-out')"} <= set(rows)
    if name == "normal":  # its support cannot be listed: an unbiased estimator is the reference
        assert {report["reference"], report["best"]["evaluations"]} <= {
            row for row, found_row in rows.items() if found_row["unbiased"]
        }
        assert not rows[report["best"]["evaluations"]]["seen_biased"]
    else:
        assert report["reference"] == "exact"
        # Of those that are exact, up to rounding, the one with fewest evaluations.
        most = max(row["deviation"] for row in rows.values())
        exact = [row for row in rows.values() if row["deviation"] < 1e-10 * most]
        least = min(row["evaluations"] for row in exact)
        assert rows[report["best"]["evaluations"]] in exact
        assert rows[report["best"]["evaluations"]]["evaluations"] == least
    # Eight repeats of a noisy gradient say little where nothing is exact.
    assert rows["Score()"]["cosine_of_mean"] > (0.0 if name == "normal" else 0.3)
    assert not rows["Score()"]["seen_biased"]
    assert report["seed"] == 0
    assert name in (gradients.help or "")


def test_the_classifier_is_what_it_says() -> None:
    problem = PROBLEMS["classifier"]()
    distribution = problem.distribution
    every = torch.arange(10)[:, None].expand(10, 200)
    hits = (distribution.log_prob(every).exp() * problem.f(every)).sum(0)
    assert float(hits.mean()) == pytest.approx(0.977, abs=1e-6)


def test_the_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("gradients", *FAST) == 0
    text, progress = capsys.readouterr()
    assert text.startswith("bernoulli: six coupled")
    assert "| Score('none') " in text
    assert "The bias is that against the exact gradient." in text
    assert "Not compared: Pathwise() (Pathwise cannot serve Bernoulli" in text
    assert "at equal time" in " ".join(text.split())
    assert "gradient estimators, 8 calls of each" in progress


def test_the_same_seed_gives_the_same_figures(capsys: pytest.CaptureFixture[str]) -> None:
    def figures(seed: int) -> list[float]:
        return [row["deviation"] for row in found(capsys, "--seed", seed)["estimators"]]

    assert figures(1) == figures(1)
    assert figures(1) != figures(2)


def test_a_problem_of_the_users(mine: str, capsys: pytest.CaptureFixture[str]) -> None:
    report = found(capsys, "--f", f"{mine}:problem")
    assert [row["name"] for row in report["estimators"]] == ["Pathwise()", "Score()"]
    assert report["skipped"] == {}
    assert [row["bias"] is None for row in report["estimators"]].count(True) == 1
    assert len(found(capsys, "--f", f"{mine}:few")["estimators"]) > 2
    assert str(Path.cwd()) not in sys.path


def test_the_figure_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "a.svg"
    assert call("gradients", *FAST, "--plot", path) == 0
    assert f"Figure: {path}" in capsys.readouterr().out
    assert "<svg" in path.read_text()
    assert call("gradients", *FAST, "--plot", path) == 3
    assert "E-EXISTS" in capsys.readouterr().err
    assert call("gradients", *FAST, "--plot", path, "--force") == 0
    capsys.readouterr()
    assert call("gradients", *FAST, "--plot", tmp_path / "none" / "a.svg") == 3
    error = capsys.readouterr().err
    assert "the figure must be in a folder that exists" in error
    assert "calls of each" not in error  # before the work is done


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "PROBLEM must be one of 'bernoulli', 'classifier'"),
        (["normal", "--f", "{mine}:few"], "PROBLEM and --f must not both be given"),
        (["--f", "{mine}"], "--f must be as package.module:function"),
        (["--f", "no_such_module_here:f"], "it raised ModuleNotFoundError"),
        (["--f", "{mine}.py:few"], "are found, by names without .py"),
        (["--f", "{mine}:none"], "it raised AttributeError"),
        (["--f", "{mine}:here"], "it raised TypeError"),
        (["--f", "{mine}:broken"], "it raised KeyError: 'oh'"),
        (
            ["--f", "{mine}:wrong"],
            r"must return (f, distribution) or (f, distribution, estimators)",
        ),
        (["--repeats", "3"], "repeats must be at least 8; got 3"),
        (["--samples", "0"], "samples must be an integer, positive; got 0"),
        (["--seed", "-1"], "random_state must be None, an integer"),
        (["--plot", "a.jpg"], "--plot must end in .svg, .png or .pdf; got 'a.jpg'"),
    ],
)
def test_bad_input_is_named(
    arguments: list[str], message: str, mine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("gradients", *(word.format(mine=mine) for word in arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error[E-ARGUMENT]: ")
    assert message in error


def test_biased_estimators_are_marked(
    mine: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step through the samples has no slope, and the line says so."""
    Path(f"{mine}.py").write_text(
        MINE.replace("z.square().sum(-1)", "(z > 0.3).sum(-1) + 0 * z.sum(-1)")
    )
    monkeypatch.delitem(sys.modules, mine, raising=False)
    assert call("gradients", "--f", f"{mine}:problem", "--repeats", "100") == 0
    text = capsys.readouterr().out
    assert "*: biased beyond chance" in text
    assert "The bias is that against the mean of Score(), the unbiased" in text
    assert isinstance(PROBLEMS["bernoulli"]().distribution, Bernoulli)
