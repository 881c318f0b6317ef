"""What pages name is there: the code of the README, commands, files, and the reference's names."""

import importlib
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from trivium.cli.verbs import COMMANDS

ROOT = Path(__file__).parents[2]
DOCS, SRC = ROOT / "docs", ROOT / "src"
PAGES = [*sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("*.md"))]


def test_code_of_the_readme_runs() -> None:
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    y = np.repeat(["ham", "spam"], 30)
    net = torch.nn.Linear(4, 2)
    target = torch.as_tensor(y == "spam").long()
    space: dict[str, Any] = {
        "X": generator.normal(size=(60, 384)) + (y == "spam")[:, None],
        "y": y,
        "x": torch.randn(60, 4),
        "net": net,
        "optimizer": torch.optim.SGD(net.parameters(), lr=0.1),
        "F": torch.nn.functional,
        "target": target,
        "rows": torch.randn(1, 6, 512),
        "lengths": [90, 200],
    }
    loop = """for _ in range(2):
        recording.batch(range(60))
        optimizer.zero_grad()
        F.cross_entropy(net(x), target).backward()
        optimizer.step()  #"""
    text = (ROOT / "README.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block.replace("...  ", loop), "README.md", "exec"), space)


# ---- commands and paths ---------------------------------------------------------------------


def unknown_commands(text: str) -> list[str]:
    """Lines of shell blocks that name a verb or an option that there is not."""
    shell = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)).replace("\\\n", " ")
    wrong = []
    for line in re.findall(r"^trivium (.+)$", shell, re.M):
        verb, *words = shlex.split(line, comments=True)
        if verb in {"VERB", "--version"}:
            continue
        known = {name for p in COMMANDS[verb].params for name in p.opts} if verb in COMMANDS else {}
        if not known or {word for word in words if word.startswith("--")} - {*known, "--help"}:
            wrong.append(line)
    return wrong


def missing_paths(text: str) -> list[str]:
    """Files of the repository that a page names and that there are not."""
    named = r"(?:benchmarks|examples|tests|constraints)/[\w./-]*\w"
    found = set(re.findall(rf"(?<![\w/.])({named})", text))
    return sorted(path for path in found if not list(ROOT.glob(f"{path}*")))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_and_files_of_a_page_are_there(page: Path) -> None:
    text = page.read_text("utf-8")
    assert unknown_commands(text) == []
    assert missing_paths(text) == []


def test_commands_and_files_can_be_missing() -> None:
    block = "```sh\ntrivium audit t.csv --lable y  # a\ntrivium adit t.csv\ntrivium list\n```"
    assert unknown_commands(block) == ["audit t.csv --lable y  # a", "adit t.csv"]
    assert missing_paths("`benchmarks/moment/one_pass.py` and `benchmarks/moment.py`") == [
        "benchmarks/moment/one_pass.py"
    ]


# ---- reference ------------------------------------------------------------------------------

# Rooms whose __init__ lists what is public, and what of it needs no page: names that only carry
# what the command line shares with the audit, and values that a page of prose lists.
LISTED: dict[str, set[str]] = {
    "trivium": set(),
    "trivium.audit": {
        *("DEPEND_QUANTITIES", "METRICS", "PROBLEMS", "QUANTITIES", "STAGES"),
        *("check_figure", "check_plot", "spare_input", "write_figure", "write_plot"),
    },
    "trivium.table": {"MISSING_TOKENS", "gather", "open_files", "shown_name"},
    "trivium.store": set(),
    "trivium.report": set(),
    "trivium.closedform": set(),
    "trivium.dependence": set(),
    "trivium.cost": {"KINDS"},
    "trivium.sinusoid": set(),
    "trivium.moment": set(),
    "trivium.parallel": {"EXECUTORS", "Progress", "given_executor"},
    "trivium.study": {"FULL", "Job", "QUICK", "TASKS", "run_job"},
}


def referenced() -> set[str]:
    """Names that the reference shows: one by one, or all that a module defines."""
    found = set()
    for page in (DOCS / "reference").glob("*.md"):
        for path in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.M):
            file = SRC.joinpath(*path.split("."))
            if file.with_suffix(".py").exists():
                found |= set(importlib.import_module(path).__all__)
            else:
                room, _, name = path.rpartition(".")
                assert hasattr(importlib.import_module(room), name), path
                found.add(name)
    return found


def test_reference_shows_every_public_name() -> None:
    shown = referenced()
    for room, plain in LISTED.items():
        module = importlib.import_module(room)
        public = {n for n in module.__all__ if not isinstance(getattr(module, n), ModuleType)}
        assert public - shown == plain, room


def test_reference_shows_what_pages_import() -> None:
    missing = set()
    for page in PAGES:
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
            for names in re.findall(r"^from trivium[\w.]* import ([\w, ]+)", block, re.M):
                missing |= set(re.split(r",\s*", names.strip()))
    assert missing - referenced() == set()
