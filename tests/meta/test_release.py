"""One version everywhere; a citation file that is one; floors that the constraints name."""

import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import trivium

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
# The part of the schema of CFF 1.2.0 that our file uses: key to rule.
TEXT = re.compile(r"\S.*", re.S)
CFF: dict[str, Any] = {
    "cff-version": "1.2.0",
    "message": TEXT,
    "type": re.compile("software|dataset"),
    "title": TEXT,
    "abstract": TEXT,
    "version": TEXT,
    "date-released": date,
    "license": re.compile(r"[A-Za-z0-9.\-]+"),
    "keywords": [TEXT],
    "authors": [{"name": TEXT}],
}
REQUIRED = {"cff-version", "message", "title", "authors"}


def fits(value: Any, rule: Any) -> bool:
    if isinstance(rule, list):
        return isinstance(value, list) and bool(value) and all(fits(v, rule[0]) for v in value)
    if isinstance(rule, dict):
        return (
            isinstance(value, dict)
            and value.keys() == rule.keys()
            and all(fits(value[key], rule[key]) for key in rule)
        )
    if isinstance(rule, re.Pattern):
        return isinstance(value, str) and rule.fullmatch(value) is not None
    return isinstance(value, rule) if isinstance(rule, type) else value == rule


def faults(citation: dict[str, Any]) -> list[str]:
    unknown = [key for key in citation if key not in CFF]
    bad = [key for key, value in citation.items() if key in CFF and not fits(value, CFF[key])]
    return sorted(unknown + bad + [key for key in REQUIRED if key not in citation])


def citation() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))


def test_the_citation_is_one_and_names_this_version() -> None:
    found = citation()
    assert faults(found) == []
    assert found["version"] == trivium.__version__
    assert found["license"] == PROJECT["license"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("authors", []), ("authors", [{}]), ("date-released", "soon"), ("doi", 1), ("title", "")],
)
def test_a_wrong_citation_is_caught(key: str, value: object) -> None:
    assert faults(citation() | {key: value}) == [key]


def test_the_changelog_has_this_version_on_the_day_of_the_citation() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    found = re.findall(r"^## (\d+\.\d+\.\d+) \((\d{4}-\d\d-\d\d)\)$", text, re.M)
    assert found[0] == (trivium.__version__, str(citation()["date-released"]))
    assert found == sorted(found, key=lambda one: Version(one[0]), reverse=True)


def pins(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


# Of the extra `test`, what checks the source and not the installed package.
NOT_INSTALLED = ("import-linter", "mypy", "ruff")


def floors() -> dict[str, str]:
    extras = PROJECT["optional-dependencies"]
    tried = [one for one in extras["test"] if not one.startswith(("trivium", *NOT_INSTALLED))]
    asked = [*PROJECT["dependencies"], *extras["plot"], *extras["dask"], *tried]
    return {need.name: next(iter(need.specifier)).version for need in map(Requirement, asked)}


def test_the_oldest_environment_is_that_of_the_floors() -> None:
    pinned = pins((ROOT / "constraints" / "oldest.txt").read_text("utf-8"))
    wrong = {
        name: floor for name, floor in floors().items() if not at_the_floor(pinned[name], floor)
    }
    assert wrong == {}
    assert pinned.keys() - floors().keys() == {"distributed", "pyparsing"}  # of dask and matplotlib
    assert pinned["distributed"] == pinned["dask"]


def at_the_floor(pin: str, floor: str) -> bool:
    return Version(pin) == Version(floor)


@pytest.mark.parametrize(("pin", "floor"), [("8.10", "8.1"), ("8.1.3", "8.1"), ("2.5.9", "2.6")])
def test_a_pin_beside_its_floor_is_caught(pin: str, floor: str) -> None:
    assert at_the_floor(floor, floor)
    assert at_the_floor(f"{floor}.0", floor)
    assert not at_the_floor(pin, floor)


def test_no_dependency_has_an_upper_cap() -> None:
    asked = [Requirement(one) for one in PROJECT["dependencies"]]
    assert [need.name for need in asked if [s.operator for s in need.specifier] != [">="]] == []


def test_what_the_sdist_takes_along_is_there() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]
    for name in build["targets"]["sdist"]["include"]:
        assert (ROOT / name.lstrip("/")).exists(), name


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(trivium.__file__).parent / "py.typed").exists()
