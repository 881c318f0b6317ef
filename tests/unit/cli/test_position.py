"""The verb `position`: one question at a time, figures as the library's, a study that resumes."""

import json

import pytest
from click.testing import CliRunner

from trivium.cli.position import position


def run(*arguments):
    return CliRunner().invoke(position, arguments, catch_exceptions=False)


def test_the_list_is_the_family():
    from trivium.study.catalog import catalog

    shown = run("--list").output
    for entry in catalog():
        assert f"{entry.name}: {', '.join(entry.acts) or 'nowhere'}" in shown
    assert json.loads(run("--json").output) == [entry.to_dict() for entry in catalog()]


def test_the_decay_is_the_integral():
    from trivium.kernel.spectral import Geometric

    rows = json.loads(run("--decay", "--base", "500", "--json").output)
    for row in rows:
        exact = float(Geometric(500.0).kernel(row["distance"]).real)
        assert row["exact"] == pytest.approx(exact, abs=1e-12)
    assert "base 500" in run("--decay", "--base", "500").output


def test_two_side_by_side():
    both = json.loads(run("--compare", "Rotary", "Learned", "--json").output)
    assert [entry["name"] for entry in both] == ["Rotary", "Learned"]
    assert [entry["table"] for entry in both] == [False, True]
    assert [entry["acts"] for entry in both] == [["query", "key"], ["embed"]]
    said = run("--compare", "Rotary", "ZeroPadding").output
    assert "query, key" in said
    assert f"{both[0]['loss']['4']:.3f} at 4x" in said
    assert "not in the study" in said


def test_two_questions_are_refused():
    found = CliRunner().invoke(position, ["--decay", "--list"])
    assert found.exit_code == 2
    assert "give one of --list" in found.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--base", "500"], "--base must come with --decay"),
        (["--text", "plays.txt"], "--text must come with --study"),
        (["--decay", "--runs", "3"], "--runs must come with --study"),
        (["--list", "--out", "here"], "--out must come with --study"),
        (["--workers", "0"], "--workers must come with --study"),
    ],
)
def test_what_belongs_to_another_question_is_refused(arguments, said):
    found = CliRunner().invoke(position, arguments)
    assert found.exit_code == 2
    assert said in found.output


def test_a_study_that_cannot_begin_says_why(tmp_path):
    from trivium._core.errors import ArgumentError, OutputError

    taken = tmp_path / "file"
    taken.write_text("mine")
    for folder in (taken, taken / "below"):
        with pytest.raises(OutputError, match=r"could not write; (File exists|Not a directory)"):
            run("--study", "quick", "--out", str(folder), "--runs", "0")
    assert taken.read_text() == "mine"
    with pytest.raises(ArgumentError, match="most must be an integer, non-negative; got -1"):
        run("--study", "quick", "--out", str(tmp_path), "--runs", "-1")


def test_the_executors_of_a_study_are_those_that_there_are():
    from trivium.parallel import EXECUTORS

    assert next(p for p in position.params if p.name == "executor").type.choices == EXECUTORS
    found = CliRunner().invoke(position, ["--study", "quick", "--scheduler", "tcp://a:1"])
    assert found.exit_code == 2
    assert "--scheduler must come with --executor dask" in found.output


def test_a_study_that_stops_says_so(tmp_path, monkeypatch):
    from trivium.study import Preset, study

    sizes = {"length": 8, "size": 4, "batch": 4, "steps": 2, "task_steps": 2, "rows": 2}
    monkeypatch.setitem(study._PRESETS, "quick", Preset("quick", 8, 2, 1, **sizes, seeds=1))
    shown = run("--study", "quick", "--out", str(tmp_path), "--runs", "2", "--workers", "1").output
    assert "2 of 30 runs" in shown
    assert "The same command goes on from here." in shown
    assert json.loads((tmp_path / "study.json").read_text())["runs"] == 2
    more = ["--study", "quick", "--out", str(tmp_path), "--runs", "1", "--executor", "serial"]
    assert "3 of 30 runs" in run(*more).output
