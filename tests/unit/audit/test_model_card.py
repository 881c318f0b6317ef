"""The card says what the model is and is never read; no name in it is taken for markup."""

import hashlib
import json
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt

from trivium import __version__
from trivium.audit import AuditOptions, audit, fit_only, load_classifier
from trivium.audit.model_card import inert
from trivium.audit.state import Silent
from trivium.cli.entry import trivium
from trivium.report.charts.reliability import wilson
from trivium.table import read_table

HOSTILE = [
    "<script>alert(1)</script>",
    "[x](javascript:alert(1))",
    "![x](https://example.org/a.png)",
    "a|b|c",
    "`code` *em* __strong__ ~~gone~~ $x$",
    "# head\n---\nlicense: mit\n",
    "www.example.org https://example.org a@example.org @all #1",
    "\x1b[31mred \u202ereversed",
    "&lt;b&gt; &#60;",
    "\" \\ ' : # - {a: b}",
]


def write(folder: Path, names: list[str], classes: tuple[str, str]) -> Path:
    """Write a table whose columns have these names; the first tells the classes apart."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 60)
    cells = rng.normal(size=(120, len(names))) + (y[:, None] * 2.0) * (np.arange(len(names)) == 0)

    def quoted(value: object) -> str:
        return '"' + str(value).replace('"', '""') + '"'

    header = ",".join(map(quoted, [*names, "the label"]))
    rows = [
        ",".join([*(f"{c:.5f}" for c in row), quoted(classes[k])])
        for row, k in zip(cells, y, strict=True)
    ]
    path = folder / "data.csv"
    path.write_text("\n".join([header, *rows]) + "\n", "utf-8")
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card")
    options = AuditOptions(
        data=write(folder, ["height", "width"], ("no", "yes")), label="the label"
    )
    fit_only(options, folder / "model", Silent())
    return folder / "model"


def parts(card: str) -> tuple[dict, str]:
    """Split a card as a hub does: what stands between the first two lines `---`, and the rest."""
    found = re.match(r"---\n(.*?)\n---\n(.*)", card, re.S)
    assert found
    return yaml.safe_load(found[1]), found[2]


def test_the_front_matter_is_what_hubs_read(plain: Path) -> None:
    front, _ = parts((plain / "README.md").read_text("utf-8"))
    assert set(front) == {"library_name", "pipeline_tag", "tags", "metrics", "model-index"}
    result = front["model-index"][0]["results"][0]
    assert result["dataset"] == {"name": "data.csv", "type": "data.csv"}
    assert [m["type"] for m in result["metrics"]] == ["accuracy", "log_loss"]
    assert front["library_name"] == "trivium"
    assert front["pipeline_tag"] == result["task"]["type"] == "tabular-classification"


def test_its_figures_are_those_of_leave_one_out(plain: Path) -> None:
    front, text = parts((plain / "README.md").read_text("utf-8"))
    summary = fit_only(
        AuditOptions(data=plain.parent / "data.csv", label="the label"),
        plain.parent / "again",
        Silent(),
    )
    metrics = front["model-index"][0]["results"][0]["metrics"]
    assert metrics[0]["value"] == summary["loo_accuracy"]
    assert metrics[1]["value"] == pytest.approx(summary["loo_log_loss"], abs=1e-9)
    low, high = wilson(summary["loo_accuracy"], 120)
    assert f"| {summary['loo_accuracy']:.4f} | {low:.4f} to {high:.4f} |" in text
    assert (plain / "README.md").read_bytes() == (plain.parent / "again/README.md").read_bytes()


def test_it_names_the_manifest_by_its_checksum(plain: Path) -> None:
    text = (plain / "README.md").read_text("utf-8")
    assert hashlib.sha256((plain / "manifest.json").read_bytes()).hexdigest() in text
    assert f"| trivium | {__version__} |" in text
    assert "README" not in json.loads((plain / "manifest.json").read_text())["tensors"]["file"]


def test_it_has_names_and_no_row(plain: Path) -> None:
    text = (plain / "README.md").read_text("utf-8")
    for name in ("height", "width", "| no | 60 | 50.0 % |", "| yes | 60 | 50.0 % |"):
        assert name in text
    cells = re.findall(r"-?\d\.\d{5}", (plain.parent / "data.csv").read_text())
    assert len(cells) == 240
    assert not [cell for cell in cells if cell in text]


def test_its_code_runs(plain: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(plain)
    (tmp_path / "new.csv").write_bytes((plain.parent / "data.csv").read_bytes())
    monkeypatch.chdir(tmp_path)
    _, text = parts((plain / "README.md").read_text("utf-8"))
    code = re.search(r"```python\n(.*?)```", text, re.S)
    assert code
    space: dict = {}
    exec(code[1], space)
    assert (space["codes"] == np.repeat([0, 1], 60)).mean() > 0.7


def test_its_command_runs(plain: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(plain)
    (tmp_path / "new.csv").write_bytes((plain.parent / "data.csv").read_bytes())
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```sh\n(.*?)```", (plain / "README.md").read_text("utf-8"), re.S)
    assert code
    name, *arguments = shlex.split(code[1])
    assert name == "trivium"
    trivium(arguments, standalone_mode=False)
    lines = (tmp_path / "predictions.csv").read_text("utf-8").splitlines()
    assert len(lines) == 121
    assert sum("no" in line for line in lines[1:61]) > 40


def spoil(card: Path, how: str) -> None:
    if how == "gone":
        card.unlink()
    elif how == "bytes":
        card.write_bytes(bytes(range(256)) * 9)
    elif how == "a link":
        card.unlink()
        card.symlink_to("/nowhere")
    elif how == "a pipe":
        card.unlink()
        os.mkfifo(card)
    else:
        card.unlink()
        card.mkdir()


@pytest.mark.parametrize("how", ["gone", "bytes", "a link", "a pipe", "a folder"])
def test_a_spoilt_card_changes_nothing(plain: Path, tmp_path: Path, how: str) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for name in ("manifest.json", "tensors.safetensors", "README.md"):
        (model / name).write_bytes((plain / name).read_bytes())
    spoil(model / "README.md", how)
    found, wanted = load_classifier(model), load_classifier(plain)
    assert found.classes == wanted.classes
    table = read_table(plain.parent / "data.csv")
    np.testing.assert_array_equal(found.predict_proba(table), wanted.predict_proba(table))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_shown_and_does_nothing(name: str) -> None:
    reader = MarkdownIt("gfm-like", {"html": True, "linkify": False}).enable("table")
    page = reader.render(
        f"A {inert(name)} b.\n\n| {inert(name)} | {inert(name)} |\n| --- | --- |\n"
    )
    tags = re.findall(r"<(/?\w+)[^>]*>", page)
    cells = ["table", "thead", "tr", "th", "/th", "th", "/th", "/tr", "/thead", "/table"]
    assert tags == ["p", "/p", *cells]
    assert not re.search(r"https?:|www\.|@|#\d", inert(name).replace("&#", ""))


def test_the_reader_of_markup_can_fail() -> None:
    reader = MarkdownIt("gfm-like", {"html": True, "linkify": False})
    assert "<em>" in reader.render("*a*")
    assert "<script>" in reader.render("<script>1</script>")


def test_hostile_names_keep_the_card_whole(tmp_path: Path) -> None:
    data = write(tmp_path, HOSTILE, (HOSTILE[0], HOSTILE[5]))
    fit_only(AuditOptions(data=data, label="the label"), tmp_path / "model", Silent())
    front, text = parts((tmp_path / "model" / "README.md").read_text("utf-8"))
    assert "license" not in front
    titles = [line for line in text.splitlines() if line.startswith("#")]
    assert titles[1:] == [
        "## Data",
        "## How it was fitted",
        "## How well it predicts",
        "## Labels in doubt",
        "## Limits",
        "## How to use it",
        "## License",
        "## Versions",
    ]
    assert text.count("\x1b") == text.count("<script") == text.count("\u202e") == 0


def test_a_name_in_the_front_matter_adds_no_key(tmp_path: Path) -> None:
    name = 'x"\nlicense: mit\n---\n# \U0001f600.csv'
    data = write(tmp_path, ["a"], ("no", "yes")).rename(tmp_path / name)
    fit_only(AuditOptions(data=data, label="the label"), tmp_path / "model", Silent())
    front, _ = parts((tmp_path / "model" / "README.md").read_text("utf-8"))
    assert "license" not in front
    shown = front["model-index"][0]["results"][0]["dataset"]["name"]
    assert shown == name.replace("\n", "⏎")


def test_without_signal_labels_are_not_judged(tmp_path: Path) -> None:
    data = write(tmp_path, ["a"], ("no", "yes"))
    lines = data.read_text().splitlines()
    rng = np.random.default_rng(1)
    body = [
        f"{x:.4f},{row.split(',')[1]}"
        for x, row in zip(rng.normal(size=120), lines[1:], strict=True)
    ]
    data.write_text("\n".join([lines[0], *body]) + "\n")
    fit_only(AuditOptions(data=data, label="the label"), tmp_path / "model", Silent())
    assert "Not judged" in (tmp_path / "model" / "README.md").read_text("utf-8")


def test_the_card_of_a_run_has_its_folds_and_its_decision(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(400, 2))
    y = np.where(x[:, 0] * x[:, 1] > 0, "same", "other")  # only a network sees it
    lines = [f"{a:.4f},{b:.4f},{k}" for (a, b), k in zip(x, y, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,y", *lines]) + "\n")
    options = AuditOptions(
        data=tmp_path / "t.csv", label="y", folds=3, permutations=19, metric="macro_f1"
    )
    report = audit(options, tmp_path / "run").report
    text = (tmp_path / "run" / "model" / "README.md").read_text("utf-8")
    ours = report["scores"]["models"]["closed_form"]["macro_f1"]
    assert f"| macro F1 on 3 folds | {ours['mean']:.4f} |" in text
    assert report["tune"]["kept"] != "closed form"
    assert f"by {inert(report['tune']['kept'])}, tuned for macro&#95;f1" in text
