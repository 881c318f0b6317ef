"""The rows of spec 0's fault table that end in the audit or the command line, one id a row."""

import errno
import json
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from trivium._core.threads import one_thread
from trivium.cli import main
from trivium.store import load_model, save_model
from trivium.table import demo_table

FAST = ["--permutations", "19", "--folds", "2"]
RNG = np.random.default_rng(7)
N = 60
LABEL = ["ab"[v] for v in RNG.integers(0, 2, N)]
X = np.round(RNG.normal(size=N) + [2.0 * (label == "a") for label in LABEL], 3)
NOISE = np.round(RNG.normal(size=N), 3)


def table(labels: list[str] | None = None, **columns: Any) -> str:
    """A CSV of these columns and the label y, every cell in quotes."""
    rows = [[*columns, "y"], *zip(*columns.values(), labels or LABEL, strict=True)]
    quoted = ([str(cell).replace('"', '""') for cell in row] for row in rows)
    return "\n".join(",".join(f'"{cell}"' for cell in row) for row in quoted) + "\n"


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that says what was refused."""
    err = capsys.readouterr().err
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.startswith("error[")]
    assert len(lines) == 1, err
    assert err.splitlines()[-1] == lines[0]
    return lines[0]


def no_nan(word: str) -> float:
    raise AssertionError(f"{word} in a report")


def report_of(run: Path) -> Any:
    return json.loads((run / "report.json").read_text(), parse_constant=no_nan)


REFUSED: dict[str, tuple[str, list[str], int, str]] = {
    # id: (CSV, arguments, exit code, parts of the line)
    "empty file": ("", [], 3, "E-EMPTY"),
    "header only": ("x,y\n", [], 3, "E-EMPTY"),
    "one row": ("x,y\n1,a\n", [], 3, "E-FEW-ROWS"),
    "three rows": ("x,y\n1,a\n2,a\n3,b\n", [], 3, "E-TOO-FEW-ROWS|at least 4|column y"),
    "two rows": ("x,y\n1,a\n2,b\n", [], 3, "E-TOO-FEW-ROWS|all 2 rows|Add rows"),
    "one class": (table(["a"] * N, x=X), [], 3, "E-ONE-CLASS|two classes or more"),
    "no label in any row": (table([""] * N, x=X), [], 3, "E-ONE-CLASS|got none|Fill it in"),
    "label absent": (table(x=X), ["--label", "q"], 3, "E-LABEL|'x', 'y'"),
    "label differs by case": (table(x=X), ["--label", "Y"], 3, "Did you mean 'y'?"),
    "one label a row": (table([f"c{i}" for i in range(N)], x=X), [], 3, "looks like regression"),
    "row too short": ("x,y\n1,a\n2\n", [], 3, "E-ROW-WIDTH|line 3"),
    "only a constant column": (
        table(c=["k"] * N),
        [],
        3,
        "E-NO-COLUMNS|'c' (constant)|that varies",
    ),
    "only an empty column": (table(c=[""] * N), [], 3, "E-NO-COLUMNS|'c' (empty)|fill one in"),
    "the label alone": (table(), [], 3, "E-NO-COLUMNS|there is none"),
    "only an identifier": (
        table(t=[f"u{i * 7919}" for i in range(N)]),
        [],
        3,
        "'t' (identifier)|--text",
    ),
    "only the label again": (table(c=LABEL), [], 3, "'c' (determines the label)|--keep"),
    "no column beside the label": (table(x=X), ["--drop", "x"], 3, "there is none"),
    "--keep of no column": (table(x=X), ["--keep", "X"], 3, "E-COLUMN|Did you mean 'x'?"),
    "gate": (table(x=X), ["--fail-on", "speed<1"], 2, "--fail-on must be"),
    "folds": (table(x=X), ["--folds", "1"], 2, "folds must be at least 2; got 1"),
    "permutations": (table(x=X), ["--permutations", "18"], 2, "must be at least 19; got 18"),
    "text encoder": (table(x=X), ["--text-encoder", "bert"], 2, "'hashed' or"),
    "gzip bomb": (table(x=X), ["--max-bytes", "100"], 3, "E-TOO-LONG|--max-bytes"),
}


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_refused_in_one_line_before_anything_is_written(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, extra, code, parts = REFUSED[case]
    data = tmp_path / "d.csv"
    data.write_text(text)
    arguments = ["audit", data, "--label", "y", "--out", tmp_path / "run", *FAST, *extra]
    assert call(*arguments) == code
    line = refusal(capsys)
    assert all(part in line for part in parts.split("|")), line
    assert [path.name for path in tmp_path.iterdir()] == ["d.csv"]
    assert data.read_text() == text


SCRIPTS = ["数据", "العربية", "हिन्दी", "👩\u200d🚀"]
EXPONENTS = RNG.integers(-300, 300, N)
WENT_ON: dict[str, tuple[str, list[str], str]] = {
    # id: (CSV, arguments, code of a warning or nothing)
    "class of one row": (table(["c", *LABEL[1:]], x=X), [], "W-SMALL-CLASS"),
    "blank column name": (table(**{"": NOISE, "x": X}), [], "W-BLANK-NAME"),
    "duplicate names renamed": (
        table(x=X, z=NOISE).replace('"z"', '"x"', 1),
        ["--rename-duplicates"],
        "W-RENAMED",
    ),
    "NUL in text": (table(x=X, t=[f"a\0{i % 3}" for i in range(N)]), [], "W-NUL"),
    "007 ids": (table(x=X, i=[f"{i % 9:03d}" for i in range(N)]), [], "W-LEADING-ZERO"),
    "NA as a category": (
        table(x=X, c=[["NA", "None", "DE"][i % 3] for i in range(N)]),
        [],
        "W-MISSING-TOKEN",
    ),
    "integer beyond 64 bits": (table(x=X, i=[2**64, *range(1, N)]), [], "W-OVERFLOW"),
    "inf and 1e400": (table(x=["inf", "1e400", *X[2:]]), [], "W-NOT-FINITE"),
    "missing label": (table(["", *LABEL[1:]], x=X), [], "W-MISSING-LABEL"),
    "a cell of 2 MB": (
        table(
            x=X, t=["word " * 400_000 if i == 7 else f"w{i} w{i % 7} and more" for i in range(N)]
        ),
        [],
        "",
    ),
    "a text of 20,000 words": (
        table(x=X, t=[" ".join(f"w{300 * i + j}" for j in range(300)) for i in range(N)]),
        [],
        "",
    ),
    "a category of one level a row": (
        table(x=X, c=[f"u{i * 7919}" for i in range(N)]),
        ["--category", "c"],
        "",
    ),
    "constant column": (table(x=X, c=["k"] * N), [], "W-CONSTANT"),
    "all-distinct text": (table(x=X, t=[f"u{i * 7919}" for i in range(N)]), [], "W-IDENTIFIER"),
    "column equal to the label": (table(x=X, c=LABEL), [], "W-LEAK"),
    "conflicting duplicates": (
        table(["a", "b"] * (N // 2), x=[i // 2 % 5 for i in range(N)]),
        [],
        "W-CONFLICTING-LABELS",
    ),
    "identical rows of a class": (table(c=LABEL), ["--keep", "c"], "W-ONE-FOLD"),
    "no signal": (table(z=NOISE), [], "W-NO-SIGNAL"),
    "collinear": (table(x=X, twice=2 * X, minus=-X), [], ""),
    "more columns than rows": (
        table(x=X, **{f"c{i}": np.round(RNG.normal(size=N), 3) for i in range(2 * N)}),
        [],
        "",
    ),
    "scales from 1e-300 to 1e300": (
        table(
            x=[f"{a}e{b}" for a, b in zip(X, EXPONENTS, strict=True)], z=[f"{v}e-310" for v in X]
        ),
        [],
        "",
    ),
    "labels in any script": (table([SCRIPTS[i % 4] for i in range(N)], x=X), [], ""),
    "labels of 10 KB": (table([label * 10_000 for label in LABEL], x=X), [], ""),
}


@pytest.mark.parametrize("case", WENT_ON, ids=str)
def test_goes_on_with_finite_numbers_and_says_so(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, extra, code = WENT_ON[case]
    data = tmp_path / "d.csv"
    data.write_text(text)
    assert call("audit", data, "--label", "y", "--out", tmp_path / "run", *FAST, *extra) == 0
    assert "Traceback" not in capsys.readouterr().err
    found = {warning["code"] for warning in report_of(tmp_path / "run")["warnings"]}
    assert {code} - {""} <= found
    assert code or not found & {"W-LIBRARY", "W-COMPLETENESS"}
    assert (tmp_path / "run" / "report.html").stat().st_size < 500_000
    assert data.read_text() == text


def verdict_of(text: str, tmp_path: Path, *extra: str) -> tuple[Any, list[str]]:
    data = tmp_path / "d.csv"
    data.write_text(text)
    assert call("audit", data, "--label", "y", "--out", tmp_path / "run", *FAST, *extra) == 0
    report = report_of(tmp_path / "run")
    return report, report["verdict"]


def test_a_leak_comes_first_and_kept_leaks_are_said_to_be_used(tmp_path: Path) -> None:
    text = table(x=X, c=LABEL)
    report, verdict = verdict_of(text, tmp_path)
    assert report["warnings"][0]["code"] == "W-LEAK"
    assert verdict[0] == "Leakage: column c: left out of the fit."
    assert verdict_of(text, tmp_path, "--keep", "c", "--force")[1][0].endswith("as --keep says.")


def test_noise_does_not_judge_labels(tmp_path: Path) -> None:
    # With even classes and no signal, leave-one-out is wrong on nearly every row, and fixing a
    # few labels turns that over: it must not be sold as a gain.
    report, verdict = verdict_of(table(["a", "b"] * (N // 2), z=NOISE), tmp_path)
    assert report["flags"]["what_if"] == []
    assert verdict[-1].startswith(("Labels: not judged", "Labels: none"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    colors = ["red", "green", "blue"] * (N // 3)
    (folder / "d.csv").write_text(table(x=X, color=colors))
    assert call("audit", folder / "d.csv", "--label", "y", "--out", folder / "run", *FAST) == 0
    return folder / "run"


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_output_in_the_way(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, before = run.parent / "d.csv", files_of(run.parent)
    (tmp_path / "link").symlink_to(run)
    audit = ["audit", data, "--label", "y", *FAST, "--out"]
    for out, extra, word in [
        (run, [], "E-EXISTS"),
        (data, ["--force"], "must not be the data"),
        (data / "run", ["--force"], "Not a directory"),
        (tmp_path / "link", [], "got a link"),
        (tmp_path / ("a" * 300), [], "File name too long"),
    ]:
        assert call(*audit, out, *extra) == 3
        assert word in refusal(capsys)
    for arguments, word in [
        (["fit", data, "--label", "y", "--out", run, "--force"], "only a model may be replaced"),
        (["fit", data, "--label", "y", "--out", data, "--force"], "got a file"),
        (["predict", run, data, "--out", data, "--force"], "must not be the data"),
        (["predict", run, data, "--out", run, "--force"], "got a folder"),
    ]:
        assert call(*arguments) == 3
        assert word in refusal(capsys)
    assert files_of(run.parent) == before


def test_a_forced_link_is_replaced_and_its_target_kept(run: Path, tmp_path: Path) -> None:
    before = files_of(run)
    (tmp_path / "link").symlink_to(run)
    audit = ["audit", run.parent / "d.csv", "--label", "y", *FAST, "--out", tmp_path / "link"]
    assert call(*audit, "--force") == 0
    assert not (tmp_path / "link").is_symlink()
    assert files_of(run) == before


def edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "manifest.json"
        found = json.loads(path.read_text())
        change(found)
        path.write_text(json.dumps(found, indent=1) + "\n")

    return damage


def rewrite(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).write_bytes(change((folder / name).read_bytes()))][0]


def resign(change: Callable[[dict[str, Any], dict[str, Any]], object]) -> Callable[[Path], None]:
    """Checksums that are right, around content that is not ours."""

    def damage(folder: Path) -> None:
        tensors, manifest = load_model(folder)
        change(tensors, manifest)
        shutil.rmtree(folder)
        save_model(folder, tensors, manifest)

    return damage


TENSORS = "tensors.safetensors"
DAMAGE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "truncated": ("model", rewrite(TENSORS, lambda data: data[:-8])),
    "flipped bit": ("model", rewrite(TENSORS, lambda data: data[:-1] + bytes([data[-1] ^ 1]))),
    "missing key": ("model", edit(lambda found: found.pop("checksum"))),
    "extra key": ("model", edit(lambda found: found.update(more=1))),
    "newer schema": ("model", edit(lambda found: found.update(schema=2))),
    "duplicate key": (
        "model",
        rewrite("manifest.json", lambda data: data.replace(b"{", b'{"schema": 1,', 1)),
    ),
    "renamed pickle": ("model", rewrite("manifest.json", lambda _: b"cbuiltins\nprint\n.")),
    "signed without classes": ("model", resign(lambda _, found: found.pop("classes"))),
    "signed with a class less": ("model", resign(lambda _, found: found["classes"].pop())),
    "signed without encoder": ("model", resign(lambda _, found: found.pop("encoder"))),
    "evidence truncated": ("evidence", rewrite(TENSORS, lambda data: data[:-8])),
    "evidence without rows": ("evidence", resign(lambda tensors, _: tensors.pop("X"))),
    "evidence cut": (
        "evidence",
        resign(lambda tensors, _: tensors.update(kept=tensors["kept"][:3])),
    ),
    "evidence of other classes": (
        "evidence",
        resign(lambda tensors, _: tensors.update(codes=tensors["codes"] + 7)),
    ),
}


@pytest.mark.parametrize("case", DAMAGE, ids=str)
def test_damaged_models_are_refused(
    case: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part, damage = DAMAGE[case]
    copy = shutil.copytree(run, tmp_path / "run")
    damage(copy / part)
    verbs = {
        "model": [["predict", copy, run.parent / "d.csv"]],
        "evidence": [["whatif", copy, copy / "fixes.csv"], ["explain", copy, "--rows", "1"]],
    }
    for arguments in verbs[part]:
        assert call(*arguments) == 3
        assert refusal(capsys).startswith("error[E-MODEL]")


def test_prediction_says_what_it_could_not_read(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new.csv"
    new.write_text("color,x,more\nred,hello,1\npurple,1e400,2\n")
    assert call("predict", run, new) == 0
    found = capsys.readouterr()
    assert len(found.out.splitlines()) == 3
    assert "'hello' in row 1" in found.err
    assert "'purple'" in found.err
    assert all(line.startswith("warning: ") for line in found.err.splitlines())
    new.write_text("x\n1\n")
    assert call("predict", run, new) == 3
    assert "missing 'color'" in refusal(capsys)


H = "row,label,new_label\n"
FIXES = {
    "no class": (f"{H}1,{LABEL[0]},zz\n", "'zz' is not a class, f.csv, row 1"),
    "a row that is none": (f"{H}0,a,b\n", "row '0' is not a labeled row"),
    "a superscript": (f"{H}\u00b2,a,b\n", "is not a labeled row"),
    "twice": (f"{H}1,{LABEL[0]},b\n1,{LABEL[0]},a\n", "given twice, f.csv, row 2"),
    "every row": (
        H + "".join(f"{i + 1},{y},{'ab'.replace(y, '')}\n" for i, y in enumerate(LABEL)),
        "leave a row untouched",
    ),
    "one class left": (
        H + "".join(f"{i + 1},a,drop\n" for i, y in enumerate(LABEL) if y == "a"),
        "two classes",
    ),
    "the data themselves": (table(x=X), "row, label, new_label is missing"),
    "nothing": ("", "E-EMPTY"),
    "a header alone": ("row,label,new_label\n", "the fixes must list a row"),
}


@pytest.mark.parametrize("case", FIXES, ids=str)
def test_whatif_refuses(
    case: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, part = FIXES[case]
    (tmp_path / "f.csv").write_text(text)
    assert call("whatif", run, tmp_path / "f.csv") == 3
    assert part in refusal(capsys)


@pytest.mark.parametrize(
    ("rows", "code"), [("0", 3), ("61", 3), ("-1", 2), ("1,", 2), ("9" * 30, 3)]
)
def test_explain_refuses(
    rows: str, code: int, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("explain", run, "--rows", rows) == code
    refusal(capsys)


def test_an_audit_by_a_number_looks_like_regression(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["audit", run.parent / "d.csv", "--label", "x", "--out", tmp_path / "r"]
    assert call(*command) == 3
    assert "looks like regression" in refusal(capsys)
    # The test of dependence needs no classes.
    assert call("depend", run.parent / "d.csv", "--target", "x", "--permutations", "19") == 0


def test_fit_says_what_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "d.csv").write_text(table(x=X, c=LABEL))
    assert call("fit", tmp_path / "d.csv", "--label", "y", "--out", tmp_path / "m") == 0
    assert "warning[W-LEAK]: column c" in capsys.readouterr().err


def test_demo_spares_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "demo.csv").write_text("mine")
    for out, rows, code, word in [
        (tmp_path / "file", 100, 3, "File exists"),
        (tmp_path, 100, 3, "another is there"),
        (tmp_path / "few", 99, 2, "at least 100; got 99"),
    ]:
        assert call("demo", "--rows", rows, "--out", out) == code
        assert word in refusal(capsys)
    assert (tmp_path / "demo.csv").read_text() == (tmp_path / "file").read_text() == "mine"
    assert not (tmp_path / "few").exists()


def test_memory_limit_is_told_with_a_figure(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    depend = ["depend", run.parent / "d.csv", "--target", "y"]
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10**9, 10**9))
    assert call(*depend) == 5
    assert "at least 2,000 MB; got 1,000 MB" in refusal(capsys)
    monkeypatch.undo()

    def fail(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 9 GiB")

    monkeypatch.setattr("trivium.audit.depend_only", fail)
    assert call(*depend) == 5
    line = refusal(capsys)
    assert "MB (Unable to allocate 9 GiB)" in line


def test_full_and_closed_outputs(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("trivium.audit.depend_only", fail)
    assert call("depend", run.parent / "d.csv", "--target", "y") == 5
    assert "the disk is full" in refusal(capsys)
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert call("list") == 0


def test_escapes_in_names_are_not_obeyed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "\x1b[31mred.csv"
    data.write_text(table(**{"\x1b[2Jx": X, "c": LABEL}).replace('"y"', '"\x9by"'))
    assert call("audit", data, "--label", "\x9by", "--out", tmp_path / "\x1bc", *FAST) == 0
    assert call("audit", data, "--label", "\x1b]0;t", "--out", tmp_path / "o", *FAST) == 3
    found = capsys.readouterr()
    assert not {"\x1b", "\x9b"} & set(found.out + found.err)


def test_the_number_of_threads_changes_no_bit(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text(demo_table(400, seed=2).csv, encoding="utf-8")
    threads = torch.get_num_threads()
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            with threadpool_limits(n):
                arguments = ["--label", "recommends", "--out", tmp_path / str(n), *FAST]
                assert call("audit", tmp_path / "d.csv", *arguments) == 0
            assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(threads)
    found = [files_of(tmp_path / n) for n in "12"]
    clocked = {"report.json", "report.html"}
    assert set(found[0]) == set(found[1])
    assert [name for name in found[0] if found[0][name] != found[1][name]] == [
        name for name in found[0] if name in clocked
    ]


def test_one_thread_holds_blas_and_torch_and_gives_them_back() -> None:
    def blas() -> set[int]:
        return {p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"}

    before = torch.get_num_threads(), blas()
    with one_thread():
        assert (torch.get_num_threads(), blas()) == (1, {1})
    assert (torch.get_num_threads(), blas()) == before


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise OSError('gone')", "must not raise; OSError: gone"),
        ("return float('nan')", "must return a finite number; got nan"),
        ("target[:] = 'a'; return 1.0", "must leave its arguments as they are"),
    ],
)
def test_user_metric_that_fails(
    body: str,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "faulty_metric.py").write_text(f"def metric(target, guess):\n    {body}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "faulty_metric", raising=False)
    path = tmp_path / "t.csv"
    path.write_text(table(x=X, noise=NOISE))
    command = ["audit", path, "--label", "y", "--out", tmp_path / "run", *FAST]
    assert call(*command, "--metric", "faulty_metric:metric") == 3
    line = refusal(capsys)
    assert line.startswith("error[E-METRIC]")
    assert said in line
    assert not (tmp_path / "run").exists()
    monkeypatch.delitem(sys.modules, "faulty_metric")


def test_costs_of_other_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, costs = tmp_path / "t.csv", tmp_path / "costs.csv"
    path.write_text(table(x=X, noise=NOISE))
    costs.write_text("a,c\n0,1\n5,0\n")
    command = ["audit", path, "--label", "y", "--out", tmp_path / "run", *FAST, "--costs", costs]
    assert call(*command) == 3
    assert "got them without 'b' and with 'c'" in refusal(capsys)
    costs.write_text("true,b,a\na,1,0\nb,0,50\n")
    assert call(*command) == 0
    assert report_of(tmp_path / "run")["tune"]["metric"] == "cost"
    assert call(*command, "--metric", "f1") == 2
