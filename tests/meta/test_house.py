"""The rules of the house that no linter knows: module length, no machine paths, no hosts."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
FORBIDDEN = {
    "a machine's path": re.compile(r"(^|[\s\"'(=])/(work|root|farm)/"),
    "a registry's host": re.compile(r"(pypi\.org|pythonhosted|download\.pytorch|npmjs\.)"),
    "pickle": re.compile(r"^\s*(import|from) (pickle|cPickle|dill|cloudpickle|shelve|marshal)\b"),
}
# Messages between the processes of one run are pickled, as joblib and Dask do; no file is.
EXCEPT = {"pickle": {"src/trivium/parallel/wire.py"}}


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def test_modules_are_at_most_300_lines() -> None:
    long = {p.name: n for p in SOURCES if (n := len(p.read_text().splitlines())) > 300}
    assert not long


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_tracked_file_has(what: str) -> None:
    found = []
    for path in tracked():
        if path == Path(__file__) or not path.exists() or path.suffix in {".png", ".csv", ".gz"}:
            continue
        if str(path.relative_to(ROOT)) in EXCEPT.get(what, ()):
            continue
        text = path.read_text(encoding="utf-8", errors="ignore")
        lines = [i for i, line in enumerate(text.splitlines(), 1) if FORBIDDEN[what].search(line)]
        found += [f"{path.relative_to(ROOT)}:{i}" for i in lines]
    assert not found


def test_the_rules_can_fail() -> None:
    assert FORBIDDEN["pickle"].search("import pickle")
    assert FORBIDDEN["a machine's path"].search('open("/' + 'work/x")')
    assert FORBIDDEN["a registry's host"].search("https://" + "pypi.org/simple")


def test_both_readmes_have_the_same_commands() -> None:
    blocks = [
        re.findall(r"```(?:sh|python|console)\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
        for name in ("README.md", "README.zh-CN.md")
    ]
    assert blocks[0] == blocks[1]
    assert "make run\n" in "".join(blocks[0])
    assert "make test\n" in "".join(blocks[0])
