"""The pages are complete and true: fields, options, codes, links, code."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trivium._core import errors
from trivium.audit import QUANTITIES, STAGES, AuditOptions, audit
from trivium.audit.depend_stage import untested
from trivium.cli.verbs import COMMANDS
from trivium.table import grade

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("*.md"))]
AUDIT = (DOCS / "audit.md").read_text("utf-8")
WRITTEN = (DOCS / "run-files.md").read_text("utf-8")
VERBS = (DOCS / "command-line.md").read_text("utf-8")
MODELS = {"closed_form", "logistic", "boosting", "majority"}
METRICS = {"accuracy", "macro_f1", "log_loss"}
TRUTH = {
    "rows": 344,
    "informative": {"Body Mass (g)": "a number"},
    "null": {"Island": "category"},
    "order_only": "Comments",
    "flipped_rows": [115],
    "identifier": "Individual ID",
    "constant": "Region",
    "duplicate_rows": [],
}


AS_ITEMS = "explain.tuned.items[]"


def section(text: str, heading: str) -> str:
    """The text under a heading, up to the next one of its level or above."""
    level = len(heading) - len(heading.lstrip("#"))
    found = re.search(rf"^{re.escape(heading)}$(.*?)(?=^#{{1,{level}}} |\Z)", text, re.M | re.S)
    assert found, heading
    return found[1]


def first_cells(text: str) -> list[str]:
    return re.findall(r"^\| (.+?) \|", text, re.M)


def named(text: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", text))


# ---- report.json ----------------------------------------------------------------------------


def key_paths(value: Any, path: str = "") -> Iterator[str]:
    """Paths of the leaves; `[]` is an entry of a list, MODEL and METRIC stand for their names."""
    if isinstance(value, dict):
        for key, inner in value.items():
            name = "MODEL" if path == "scores.models" and key in MODELS else key
            name = "METRIC" if path == "scores.models.MODEL" and key in METRICS else name
            yield from key_paths(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for inner in value:
            yield from key_paths(inner, f"{path}[]")
    else:
        yield path


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("docs") / "run"
    options = AuditOptions(permutations=19, folds=2, metric="macro_f1")
    return audit(options, out, grade=lambda r: {"truth": grade(r, TRUTH)}).report


@pytest.fixture(scope="module")
def tuned_report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run that keeps a network, which has something of its own to explain."""
    folder = tmp_path_factory.mktemp("tuned")
    X = np.random.default_rng(0).normal(size=(400, 3))
    labels = np.where(X[:, 0] * X[:, 1] + 0.7 * X[:, 2] > 0, "same", "other")
    lines = [f"{a:.4f},{b:.4f},{c:.4f},{y}" for (a, b, c), y in zip(X, labels, strict=True)]
    (folder / "t.csv").write_text("\n".join(["a,b,c,y", *lines]) + "\n")
    options = AuditOptions(
        data=folder / "t.csv", label="y", metric="accuracy", folds=3, permutations=99
    )
    report = audit(options, folder / "run").report
    assert report["tune"]["kept"] == "network"
    return report


@pytest.fixture(scope="module")
def learnt_report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run that tries to read a text in order, and finds a period of its dates."""
    folder = tmp_path_factory.mktemp("learnt")
    rng = np.random.default_rng(0)
    lines = []
    for last, words in zip(rng.integers(0, 2, 240), rng.integers(0, 9, (240, 4)), strict=True):
        a, b, c, d = (f"w{word}" for word in words)
        text = f"{a} first {b} {c} then {d}" if last else f"{a} then {b} {c} first {d}"
        day = 23 * int(rng.integers(0, 30)) + 8 * int(last) + int(rng.integers(0, 11))
        lines.append(f"{np.datetime64('2020-01-01') + day},{text},{'yes' if last else 'no'}")
    (folder / "t.csv").write_text("\n".join(["when,steps,y", *lines]) + "\n")
    options = AuditOptions(data=folder / "t.csv", label="y", folds=3, permutations=199)
    report = audit(options, folder / "run").report
    assert report["encode"]["waves"][0]["periods"]
    assert report["encode"]["in_order"][0]["tried"]
    return report


@pytest.fixture(scope="module")
def large_report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run of a table of which only a sample is held."""
    folder = tmp_path_factory.mktemp("large")
    X = np.random.default_rng(0).normal(size=(600, 2))
    labels = np.where(X[:, 0] + X[:, 1] > 0, "same", "other")
    lines = [f"{a:.4f},{b:.4f},{y}" for (a, b), y in zip(X, labels, strict=True)]
    (folder / "t.csv").write_text("\n".join(["a,b,y", *lines]) + "\n")
    options = AuditOptions(data=folder / "t.csv", label="y", folds=2, permutations=19, hold=900)
    return audit(options, folder / "run").report


def documented_fields() -> set[str]:
    fields = re.sub(r"### Warnings.*", "", section(WRITTEN, "## report.json"), flags=re.S)
    found = {cell.strip("`") for cell in first_cells(fields) if cell.startswith("`")}
    found.remove(AS_ITEMS)  # one line, "as explain.items[]", stands for all of its fields
    items = [path for path in found if path.startswith("explain.items[]")]
    return found | {path.replace("explain.items[]", AS_ITEMS) for path in items}


def test_every_field_of_a_report_is_described(
    report: dict[str, Any],
    tuned_report: dict[str, Any],
    learnt_report: dict[str, Any],
    large_report: dict[str, Any],
) -> None:
    for one in (report, tuned_report, learnt_report, large_report):
        assert set(key_paths(one)) - documented_fields() == set()


def test_no_field_is_described_that_is_not_written(
    report: dict[str, Any],
    tuned_report: dict[str, Any],
    learnt_report: dict[str, Any],
    large_report: dict[str, Any],
) -> None:
    reports = (report, tuned_report, learnt_report, large_report, untested(2001, 2000))
    written = set().union(*map(key_paths, reports))
    parents = {path.split(".")[0] for path in written}
    assert documented_fields() - written - parents == set()


def test_the_comparison_of_fields_can_fail(report: dict[str, Any]) -> None:
    more = {**report, "scores": {**report["scores"], "novelty": 1}}
    assert set(key_paths(more)) - documented_fields() == {"scores.novelty"}


def test_files_of_a_run_have_the_columns_described() -> None:
    from trivium.audit.files import FIXES, ROWS

    assert set(ROWS) <= named(section(WRITTEN, "### rows.csv"))
    assert set(FIXES) <= named(section(WRITTEN, "### fixes.csv and whatif"))


def test_stages_are_described_in_their_order() -> None:
    headings = re.findall(r"^### (\w+)$", section(AUDIT, "## The stages"), re.M)
    assert headings == list(STAGES)


def test_gates_are_described() -> None:
    cells = " ".join(first_cells(section(AUDIT, "## Gates")))
    assert named(cells) == set(QUANTITIES)


# ---- verbs, options, codes ------------------------------------------------------------------


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_option_is_described(verb: str) -> None:
    own = section(VERBS, f"## trivium {verb}")
    if verb == "audit":
        own += section(AUDIT, "## Options")
    reading = section(VERBS, "## How the file is read")
    listed = set(re.findall(r"--[a-z][a-z-]*", own))
    shared = set(re.findall(r"--[a-z][a-z-]+", reading)) if "ptions of reading" in own else set()
    options = {
        name for p in COMMANDS[verb].params for name in p.opts if p.param_type_name == "option"
    }
    assert options <= listed | shared
    assert listed <= options


def codes_in_source(letter: str) -> set[str]:
    rooms = [p for p in (ROOT / "src" / "trivium").rglob("*.py") if "testing" not in p.parts]
    found = re.compile(rf'"({letter}-[A-Z]+(?:-[A-Z]+)*)"')
    return {code for path in rooms for code in found.findall(path.read_text("utf-8"))}


def test_every_warning_is_described() -> None:
    listed = {name for name in named(section(WRITTEN, "### Warnings")) if name.startswith("W-")}
    assert listed == codes_in_source("W")


def test_every_error_is_described() -> None:
    listed = {name for name in named(section(VERBS, "## Errors")) if name.startswith("E-")}
    assert {name for name in listed if name != "E-NAME"} == codes_in_source("E") - {"E-TRIVIUM"}


def test_errors_are_listed_with_their_exit_codes() -> None:
    exits: dict[str, str] = {}
    for codes, exit_code in re.findall(r"^\| (`E-.+?) \| ([\d, ]+) \|", VERBS, re.M):
        exits |= dict.fromkeys(named(codes), exit_code)
    for name in errors.__all__:
        kind = getattr(errors, name)
        if issubclass(kind, errors.TriviumError) and kind is not errors.TriviumError:
            assert exits[kind.default_code] == str(kind.exit_code), name


# ---- links ----------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


def broken_links(page: Path, text: str) -> list[str]:
    bare = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", bare):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    assert broken_links(page, page.read_text("utf-8")) == []


def test_links_can_be_broken() -> None:
    page = DOCS / "index.md"
    assert broken_links(page, "[a](audit.md#gates) [b](no.md) [c](audit.md#no)") == [
        "no.md",
        "audit.md#no",
    ]


def test_every_page_is_in_the_navigation() -> None:
    nav = (ROOT / "mkdocs.yml").read_text("utf-8")
    assert {str(p.relative_to(DOCS)) for p in DOCS.rglob("*.md")} == set(
        re.findall(r"[\w/-]+\.md", nav)
    )


# ---- code -----------------------------------------------------------------------------------


def two_classes() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    y = np.repeat(["no", "yes"], 30)
    return {"X": generator.normal(size=(60, 3)) + 2.0 * (y == "yes")[:, None], "y": y}


def a_table() -> dict[str, Any]:
    import polars as pl

    from trivium.audit import fit_only
    from trivium.audit.state import Silent

    space = two_classes()
    frame = pl.DataFrame({"a": space["X"][:, 0], "b": space["X"][:, 1], "y": space["y"]})
    frame.write_csv("data.csv")
    frame.drop("y").write_csv("new.csv")
    fit_only(AuditOptions(data=Path("data.csv"), label="y"), Path("model"), Silent())
    return {**space, "frame": frame}


def pets() -> dict[str, Any]:
    space = two_classes()
    y = np.where(space["y"] == "yes", "dog", "cat")
    return {**space, "y": y, "X_new": space["X"][:4]}


def streams() -> dict[str, Any]:
    from trivium.moment import Moments

    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(60, 384)), np.repeat([0, 1], 30)
    moments = Moments(384).update(X, y)
    moments.save("yesterday.safetensors")
    phi, psi = torch.rand(20, 256), torch.rand(20, 256)
    return {
        "X": X,
        "y": y,
        "sample_weight": np.ones(60),
        "stream": [(X[:5], y[:5])],
        "X_wrong": X[:2],
        "y_wrong": y[:2],
        "parts": [moments] * 3,
        "phi": phi,
        "psi": psi,
        "query": torch.rand(256),
    }


def two_numbers() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    return {"x": generator.normal(size=50), "y": generator.normal(size=50)}


# Pages and what their code takes as given; the pages of the kernel run in tests/unit/kernel.
RUNNABLE: dict[str, Callable[[], dict[str, Any]]] = {
    "how-to/check-labels.md": two_classes,
    "how-to/gate-a-pipeline.md": a_table,
    "how-to/use-a-saved-model.md": a_table,
    "how-to/larger-than-memory.md": dict,
    "files-and-models.md": dict,
    "systems/closed-form.md": pets,
    "systems/dependence.md": two_numbers,
    "systems/objective.md": dict,
    "systems/path-kernel.md": dict,
    "systems/linear-attention.md": dict,
    "systems/cost.md": dict,
    "systems/position.md": dict,
    "systems/sinusoid.md": dict,
    "systems/parallel.md": dict,
    "how-to/add-an-optimizer.md": dict,
    "how-to/add-an-encoding.md": dict,
    "how-to/add-a-gradient-estimator.md": dict,
    "how-to/add-an-attention.md": dict,
    "how-to/add-a-cost-rule.md": dict,
    "primitives/moment.md": streams,
}


@pytest.mark.parametrize("page", RUNNABLE)
def test_code_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space = {"__name__": "page", **RUNNABLE[page]()}
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text("utf-8"), re.M | re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), space)
    assert os.getcwd() == str(tmp_path)


def test_code_of_every_page_runs_somewhere() -> None:
    """Here, in the room's own tests, or, for the guide, in test_guide.py."""
    others = {"primitives/kernel.md", "how-to/add-a-kernel.md", "systems/expectation.md"}
    with_code = {
        str(page.relative_to(DOCS))
        for page in DOCS.rglob("*.md")
        if "```python" in page.read_text("utf-8")
    }
    assert with_code == RUNNABLE.keys() | others
