"""Every verb from its arguments to its exit code, in this process."""

import contextlib
import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

from trivium.audit import QUANTITIES, AuditOptions, audit, load_classifier
from trivium.cli import main
from trivium.cli.console import printable
from trivium.cli.entry import trivium
from trivium.cli.verbs import COMMANDS

FAST = ["--permutations", "99", "--folds", "3"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "t.csv"
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 2))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["x", "color", "answer"])
        for a, b in x:
            writer.writerow([f"{a:.4f}", "red" if b > 0 else "blue", "u" if a + b > 0 else "d"])
    return path


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    with pytest.raises(SystemExit) as stop:
        main(["audit", str(data), "--label", "answer", "--out", str(out), *FAST])
    assert stop.value.code == 0
    return out


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--help") == 0
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)
    assert set(trivium.list_commands(None)) == set(COMMANDS)  # type: ignore[arg-type]


@pytest.mark.parametrize("verb", sorted(COMMANDS))
def test_help_of_every_verb(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(verb, "--help") == 0
    assert "Usage: trivium" in capsys.readouterr().out


def test_audit_prints_the_verdict_and_the_report(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("audit", data, "--label", "answer", "--out", tmp_path / "r", *FAST) == 0
    found = capsys.readouterr()
    assert "Signal: yes" in found.out
    assert f"Report: {tmp_path / 'r' / 'report.html'}" in found.out
    lines = found.err.splitlines()
    assert [line.split()[0] for line in lines] == [
        "read", "plan", "depend", "encode", "fit", "flag", "tune", "explain",
    ]  # fmt: skip


def test_audit_json_is_the_report(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r"
    assert call("audit", data, "--label", "answer", "--out", out, "--json", *FAST) == 0
    found = capsys.readouterr()
    assert found.err == ""
    assert json.loads(found.out) == json.loads((out / "report.json").read_text())


def test_gate(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["audit", data, "--label", "answer", *FAST, "--out"]
    assert call(*command, tmp_path / "a", "--fail-on", "accuracy<0.999") == 4
    assert "gate tripped: accuracy<0.999" in capsys.readouterr().err
    assert (tmp_path / "a" / "report.html").exists()
    assert call(*command, tmp_path / "b", "--fail-on", "leaks>0") == 0
    assert call(*command, tmp_path / "c", "--fail-on", "speed<1") == 2
    err = capsys.readouterr().err
    assert all(name in err for name in QUANTITIES)
    assert not (tmp_path / "c").exists()


def test_depend(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("depend", data, "--target", "answer", "--permutations", 99) == 0
    assert capsys.readouterr().out.splitlines()[0].split()[:3] == ["column", "kind", "CKA"]
    assert call("depend", data, "--target", "answer", "--permutations", 99, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert {row["column"] for row in report["depend"]} == {"x", "color"}
    assert all(0 < row["p_value"] <= 1 for row in report["depend"])


def test_fit_then_predict(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model"
    assert call("fit", data, "--label", "answer", "--out", model) == 0
    assert "leave-one-out accuracy" in capsys.readouterr().out
    assert call("fit", data, "--label", "answer", "--out", model) == 3
    assert call("fit", data, "--label", "answer", "--out", model, "--force", "--json") == 0
    capsys.readouterr()
    assert call("predict", model, data) == 0
    rows = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert rows[0] == ["row", "answer", "p(d)", "p(u)"]
    assert len(rows) == 61
    out = tmp_path / "p.csv"
    assert call("predict", model, data, "--out", out) == 0
    assert list(csv.reader(out.open(newline=""))) == rows
    assert call("predict", model, data, "--out", out) == 3


def test_explain_and_whatif(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("explain", run, "--rows", "1,3", "--top", 2) == 0
    assert "row 3: label" in capsys.readouterr().out
    assert call("explain", run, "--rows", "1;3") == 2
    assert call("explain", run, "--rows", "1", "--json") == 0
    capsys.readouterr()
    assert call("whatif", run, run / "fixes.csv") == 0
    assert "Labels changed: 0" in capsys.readouterr().out
    assert call("whatif", run, run / "fixes.csv", "--json") == 0
    assert json.loads(capsys.readouterr().out)["relabelled"] == 0


def test_list_names_every_family(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {"Gaussian", "Delta"} <= set(found["kernels"])
    assert "Nystroem" in found["feature maps"]
    for family, member in {
        "gradient estimators": "Score",
        "position encodings": "Rotary",
        "attention layers": "LinearAttention",
        "features of linear attention": "Elu1",
        "optimizers whose steps are traced": "AdamRecurrence",
        "types of Transformer": "bert",
        "stages of audit": "explain",
    }.items():
        assert found[family][member], family
    assert call("list") == 0


def test_demo_grades_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    assert call("demo", "--rows", 300, "--out", out) == 0
    assert "] column visit_steps: planted a text that acts by the order" in capsys.readouterr().out
    assert json.loads((out / "truth.json").read_text())["flipped_rows"]


@pytest.mark.parametrize(
    ("arguments", "code", "name"),
    [
        (["audit", "nowhere.csv", "--label", "y"], 3, "E-"),
        (["audit", "DATA"], 2, "E-ARGUMENT"),
        (["audit", "DATA", "--label", "Answer"], 3, "E-LABEL"),
        (["audit", "DATA", "--label", "answer", "--metric", "speed"], 2, "E-ARGUMENT"),
        (["audit", "DATA", "--label", "answer", "--folds", "1"], 2, "E-ARGUMENT"),
        (["audit", "DATA", "--label", "answer", "--seed", "-1"], 2, "E-ARGUMENT"),
        (["audit", "DATA", "--label", "answer", "--max-bytes", "lots"], 2, "E-USAGE"),
        (["audit", "DATA", "--label", "answer", "--max-bytes", "100"], 3, "E-"),
        (["audit", "DATA", "--label", "answer", "--keep"], 2, "E-USAGE"),
        (["nothing"], 2, "E-USAGE"),
        (["predict", "DATA", "DATA"], 3, "E-MODEL"),
        (["whatif", "nowhere", "DATA"], 3, "E-MODEL"),
    ],
)
def test_errors_are_one_line_with_a_code(
    arguments: list[str],
    code: int,
    name: str,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [str(data) if part == "DATA" else part for part in arguments]
    assert call(*given) == code
    err = capsys.readouterr().err
    assert err.startswith(f"error[{name}")
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "way_out"),
    [
        (["audti", "DATA"], "No such command 'audti'. Did you mean audit? See trivium --help."),
        (["audit", "DATA", "--lable", "answer"], "Did you mean --label? See trivium audit --help."),
        (["list", "--jsn"], "No such option --jsn. Did you mean --json? See trivium list --help."),
        (["fit", "DATA", "--label", "answer"], "Missing option '--out'. See trivium fit --help."),
        (["audit", "FOLDER/tabel.csv", "--label", "answer"], "Did you mean 'table.csv'?"),
        (["audit", "FOLDER/none/t.csv", "--label", "answer"], "There is no folder "),
        (["predict", "FOLDER", "DATA"], "Give a folder that trivium fit wrote"),
        (["explain", "FOLDER", "--rows", "1"], "Give the folder that trivium audit wrote."),
        (["whatif", "DATA", "DATA"], "Give the folder that trivium audit wrote."),
        (["cost", "DATA"], "Give the config.json of a model"),
    ],
)
def test_errors_say_what_to_do(
    arguments: list[str],
    way_out: str,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "table.csv").write_text("a,answer\n1,2\n")
    given = [part.replace("DATA", str(data)).replace("FOLDER", str(tmp_path)) for part in arguments]
    assert call(*given) in {2, 3}
    err = capsys.readouterr().err
    assert way_out in err
    assert len(err.splitlines()) == 1


def test_json_errors_are_objects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("audit", tmp_path / "no.csv", "--label", "y", "--json") == 3
    error = json.loads(capsys.readouterr().err)["error"]
    assert set(error) == {"code", "what", "where", "remedy", "exit_code"}


def test_our_own_fault_keeps_the_traceback_in_a_file(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def break_down(*_: object, **__: object) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr("trivium.audit.depend_only", break_down)
    assert call("depend", data, "--target", "answer") == 1
    err = capsys.readouterr().err
    assert err.startswith("error[E-INTERNAL]: unexpected RuntimeError: broken on purpose")
    path = Path(err.strip().removesuffix(".").rsplit(" ", 1)[-1])
    assert "break_down" in path.read_text()
    path.unlink()


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt, 130), (MemoryError, 5), (BrokenPipeError, 0)]
)
def test_interruptions(
    error: type[BaseException], code: int, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("trivium.audit.depend_only", stop)
    monkeypatch.setattr("os.dup2", lambda *_: None)
    assert call("depend", data, "--target", "answer") == code


def test_terminal_escapes_are_shown_not_obeyed() -> None:
    assert printable("a\x1b[31mb\u202e\ud800c\n\td") == "a\ufffd[31mb\ufffd\ufffdc\n\td"
    # Joiners stay: families of emoji and many scripts need them.
    assert printable("\N{WOMAN}\u200d\N{ROCKET} 数据") == "\N{WOMAN}\u200d\N{ROCKET} 数据"


def test_the_budget_of_an_audit_is_a_count(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r"
    assert call("audit", data, "--label", "answer", "--out", out, "--budget", "2e5", *FAST) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["plan"]["budget"] == 200_000
    capsys.readouterr()
    for value in ("many", "0", "-1e9", "0.5", "inf"):
        assert call("audit", data, "--label", "answer", "--budget", value) == 2
        assert "is not a whole number such as 1e12" in capsys.readouterr().err


def test_fixes_are_read_again_whatever_the_columns_are_called(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 4))
    path = tmp_path / "t.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "row (data)", "row (data) (data)", "label (data)", "answer"])
        flip = rng.random(60) < 0.05
        for (a, *more), wrong in zip(x, flip, strict=True):
            right = (a > 0) != wrong
            writer.writerow([f"{a:.4f}", *(f"{b:.4f}" for b in more), "u" if right else "d"])
    run = tmp_path / "run"
    assert call("audit", path, "--label", "answer", "--out", run, *FAST) == 0
    with (run / "fixes.csv").open(newline="") as file:
        header, first, *_ = csv.reader(file)
    assert len(set(header)) == len(header)
    assert header[5:] == [
        "row (data) (data) (data)",
        "row (data)",
        "row (data) (data)",
        "label (data)",
    ]
    first[4] = first[2]
    with (run / "fixes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, first])
    assert call("whatif", run, run / "fixes.csv") == 0


def test_a_stream_of_text_is_written_to_as_a_notebook_has_one() -> None:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert call("list") == 0
    assert "metrics" in said.getvalue()


def test_paths_of_the_library_may_be_text(data: Path, tmp_path: Path) -> None:
    options = AuditOptions(data=str(data), label="answer", permutations=19, folds=2)
    result = audit(options, str(tmp_path / "run"))
    assert result.report["data"]["source"] == data.name
    assert load_classifier(str(tmp_path / "run")).label == "answer"
    whole = AuditOptions(data=data, label="answer", permutations=19, folds=2)
    assert options.fingerprint(b"") == whole.fingerprint(b"")


def test_one_of_a_thing_is_said_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"{i * 7 % 11}.5,{'ab'[i % 2]}" for i in range(20)]
    lines[3] = "1e400,b"
    (tmp_path / "t.csv").write_text("x,y\n" + "\n".join(lines) + "\n\n")
    one = ["--permutations", "19", "--folds", "2", "--out", tmp_path / "run"]
    assert call("audit", tmp_path / "t.csv", "--label", "y", *one) == 0
    said = capsys.readouterr().err
    assert "1 of 1 column used, 2 classes, " in said
    assert "of 1 column depend" in said
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    messages = [each["message"] for each in report["warnings"]]
    assert "skipped 1 blank line" in messages
    assert any(each.startswith("1 cell not finite, counted as missing") for each in messages)
    page = (tmp_path / "run" / "report.html").read_text()
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    for text in (said, page, card, *messages):
        found = re.findall(r"\b1 (?:columns|rows|classes|cells|lines|warnings|features)\b", text)
        assert found == []
