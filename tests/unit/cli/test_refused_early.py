"""What can be refused before the work is refused before the work: nothing was read by then."""

import errno
import fcntl
import os
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import pytest

import trivium.audit.depend_verb
import trivium.audit.predict_verb
import trivium.audit.run
import trivium.audit.verbs
from trivium.cli import main


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table that nobody may read."""

    def read(*_: Any, **__: Any) -> Any:
        raise AssertionError("the table was read")

    monkeypatch.setitem(trivium.audit.run.STAGES, "read", (read, ""))
    monkeypatch.setattr(trivium.audit.verbs, "read_stage", read)
    monkeypatch.setattr(trivium.audit.verbs, "demo_table", read)
    monkeypatch.setattr(trivium.audit.predict_verb, "open_table", read)
    monkeypatch.setattr(trivium.audit.depend_verb, "open_table", read)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "t.csv"
    path.write_text("x,y\n" + "".join(f"{i * 7 % 11}.5,{'ab'[i % 2]}\n" for i in range(20)))
    return path


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of a refusal."""
    before = sorted(os.listdir())
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    line = capsys.readouterr().err.splitlines()[-1]
    assert stop.value.code in (2, 3, 5), line
    assert sorted(os.listdir()) == before
    return line


def test_the_table_is_read_where_nothing_is_wrong(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So the other tests can fail."""
    for verb, out in (("audit", "run"), ("fit", "model")):
        with pytest.raises(SystemExit) as stop:
            main([verb, str(data), "--label", "y", "--out", out])
        assert stop.value.code == 1
        assert "the table was read" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["audit", "fit"])
def test_a_package_that_is_not_there(
    verb: str, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    asked = ["--text-encoder", "sentence-transformers:any", "--out", "new"]
    line = refused(capsys, verb, data, "--label", "y", *asked)
    assert line.startswith("error[E-EXTRA]: the sentence encoder any needs the package"), line
    assert "pip install 'trivium[text]'" in line


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--machine", "none.json"], "E-MACHINE"),
        (["--machine", "t.csv"], "E-MACHINE"),
        (["--metric", "nowhere:f"], "No module named 'nowhere'"),
        (["--out", "t.csv"], "E-EXISTS"),
        (["--out", "t.csv/run"], "Not a directory"),
        (["--out", "others"], "a folder with other files in it"),
        (["--out", "complete"], "a complete run"),
        (["--out", "unfinished"], "an unfinished run of other settings"),
        (["--out", "busy"], "another one is at work"),
        (["--fail-on", "acuracy<1"], "acuracy"),
        (["--scheduler", "tcp://127.0.0.1:1"], "--executor dask"),
    ],
)
def test_an_audit(
    given: list[str], said: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("others").mkdir()
    Path("others", "kept.txt").write_text("kept")
    for name in ("complete", "unfinished"):
        with trivium.store.RunFolder(name, "other") as run:
            run.finish() if name == "complete" else None
    Path("busy").mkdir()
    with open("busy/.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        line = refused(capsys, "audit", data, "--label", "y", *given)
    assert said in line


def test_a_model_of_another_in_the_way(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("model").mkdir()
    asked = ["fit", data, "--label", "y", "--out", "model"]
    assert "save_model: path must be free; got a folder" in refused(capsys, *asked)
    Path("model", "thesis.tex").write_text("kept")
    assert "only a model may be replaced" in refused(capsys, *asked, "--force")
    assert "No such file" in refused(capsys, *asked[:-1], "nowhere/model")
    assert "Not a directory" in refused(capsys, *asked[:-1], "t.csv/model")


def test_a_demo_over_a_run(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with trivium.store.RunFolder("demo/run", "other") as run:
        run.finish()
    assert "a complete run" in refused(capsys, "demo", "--out", "demo")


def test_predictions_without_a_place(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("folder").mkdir()
    asked = ["predict", "model", data, "--force", "--out"]
    assert "--out must be a file; got a folder" in refused(capsys, *asked, "folder")
    assert "No such file" in refused(capsys, *asked, "nowhere/p.csv")


def test_a_model_whose_sentence_encoder_is_gone(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(data.parent)

    class Model:
        def __init__(self, name: str, **_: Any) -> None:
            if name != "letters":
                raise OSError("no such model")

        def encode(self, texts: list[str], **_: Any) -> list[list[float]]:
            return [[text.count(mark) + 0.5 for mark in "aeiou"] for text in texts]

    package = types.ModuleType("sentence_transformers")
    package.SentenceTransformer = Model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", package)
    words = ["an old house", "in some town", "under every tree", "of two rivers"]
    lines = [f"{words[i % 4]} {words[i * 3 % 4]} {i * i}.,{'ab'[i % 2]}" for i in range(40)]
    data.write_text("t,y\n" + "\n".join(lines) + "\n")
    asked = [data, "--label", "y", "--text", "t", "--text-encoder"]
    with pytest.raises(SystemExit) as stop:
        main(list(map(str, ["fit", *asked, "sentence-transformers:letters", "--out", "model"])))
    assert stop.value.code == 0, capsys.readouterr().err

    # The model is looked for when it is known that there are texts, before columns are tested.
    def depend(*_: Any) -> str:
        raise AssertionError("columns were tested")

    monkeypatch.setitem(trivium.audit.run.STAGES, "depend", (depend, ""))
    line = refused(capsys, "audit", *asked, "sentence-transformers:gone", "--out", "run")
    assert "text_encoder must name an installed model; got 'gone'" in line

    def read(*_: Any) -> str:
        raise AssertionError("the table was read")

    monkeypatch.setattr(trivium.audit.predict_verb, "open_table", read)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    line = refused(capsys, "predict", "model", data)
    assert line.startswith("error[E-EXTRA]: the sentence encoder letters"), line


def no_space(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read_only(*_: Any, **__: Any) -> Any:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


@pytest.mark.parametrize(
    ("fault", "said"),
    [(no_space, "error[E-RESOURCE]"), (read_only, "error[E-OUTPUT]")],
)
def test_a_place_that_is_full_or_read_only(
    fault: Any,
    said: str,
    data: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", fault)
    label = [data, "--label", "y"]
    for asked in (
        ["audit", *label],
        ["audit", *label, "--out", "new/run"],
        ["fit", *label, "--out", "model"],
        ["predict", "model", data, "--out", "p.csv"],
        ["calibrate", "--out", "machine.json"],
    ):
        assert refused(capsys, *asked).startswith(said)


def test_a_study_without_a_place(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "position", "--study", "quick", "--out", "t.csv")
    assert "position_study: could not write" in line
    line = refused(capsys, "position", "--study", "quick", "--runs", "-1", "--out", "t.csv")
    assert "most must be an integer, non-negative; got -1" in line
