"""The clock of the plan: which machine tells the seconds, and that it changes nothing else."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trivium._core.errors import ArgumentError, DataError
from trivium.audit import AuditOptions, audit
from trivium.audit.plan_clock import PlanClock
from trivium.audit.plan_work import passes, product, steps
from trivium.cost import Machine

FAST = {"permutations": 99, "folds": 2}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the default machine file would be."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    (tmp_path / "trivium").mkdir()
    return tmp_path / "trivium" / "machine.json"


def measured(**changes: Any) -> Machine:
    """A machine as a calibration leaves it."""
    sheet = Machine.datasheet(1e9, 1e8, 1e-3)
    laws = {kind: replace(law, error=0.1) for kind, law in sheet.laws.items()}
    return replace(sheet, laws=laws, calibrated=True, **changes)


def test_a_machine_never_calibrated_is_a_datasheet_with_a_wide_interval(home: Path) -> None:
    clock = PlanClock.of(None)
    assert clock.described() == {
        "name": clock.name,
        "calibrated": False,
        "how": "peak rates of a usual core: this machine was never calibrated",
    }
    low, middle, high = clock.seconds([product(500, 500, 500)])
    assert high / middle == pytest.approx(5) == pytest.approx(middle / low)


@pytest.mark.parametrize(("processor", "sheet"), [("x86_64", "avx2"), ("arm64", "neon")])
def test_the_datasheet_is_of_this_kind_of_core(
    home: Path, monkeypatch: pytest.MonkeyPatch, processor: str, sheet: str
) -> None:
    monkeypatch.setattr("platform.machine", lambda: processor)
    assert sheet in PlanClock.of(None).name


def test_the_default_file_is_used_where_it_is(home: Path) -> None:
    measured().save(home)
    clock = PlanClock.of(None)
    assert clock.described() == {
        "name": "the machine file machine.json",
        "calibrated": True,
        "how": "calibrated",
    }
    low, middle, high = clock.seconds([steps(10)])
    assert (low, middle, high) == pytest.approx((0.01 / 2.2, 0.01, 0.01 * 2.2))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda path: path.write_text("{"), "must be JSON"),
        (lambda path: measured(threads=2).save(path), "calibrated for 1 thread"),
        (lambda path: measured(dtype="bfloat16").save(path), "float32 or float64; got 1"),
    ],
)
def test_a_default_file_that_cannot_serve_is_named_and_not_used(
    home: Path, spoil: Callable[[Path], None], why: str
) -> None:
    spoil(home)
    described = PlanClock.of(None).described()
    assert not described["calibrated"]
    assert why in described["how"]
    # Named by the user it is refused.
    with pytest.raises((ArgumentError, DataError), match=why):
        PlanClock.of(home)


def test_without_a_home_there_is_a_datasheet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert "HOME or XDG_DATA_HOME" in PlanClock.of(None).how


def test_a_machine_without_the_laws_needed_is_refused(tmp_path: Path) -> None:
    whole = measured()
    some = {kind: law for kind, law in whole.laws.items() if kind != "pass"}
    replace(whole, laws=some).save(tmp_path / "m.json")
    with pytest.raises(ArgumentError, match="kind must be one of"):
        PlanClock.of(tmp_path / "m.json")


def test_numbers_of_twice_the_size_take_twice_the_operations(home: Path) -> None:
    def clock(dtype: str) -> PlanClock:
        measured(dtype=dtype).save(home)
        return PlanClock.of(None)

    work = [product(300, 300, 300)]
    flops = 2 * 300**3 / 0.4e9
    rest = work[0].bytes / 0.4e8 + 1e-3
    assert clock("float64").seconds(work)[1] == pytest.approx(flops + rest)
    assert clock("float32").seconds(work)[1] == pytest.approx(2 * flops + rest)
    assert clock("float32").seconds([passes(100)])[1] == pytest.approx(1600 / 0.4e8 + 1e-3)


def test_a_machine_file_that_is_not_there_leaves_no_folder(tmp_path: Path) -> None:
    options = AuditOptions(machine=tmp_path / "none.json", **FAST)
    with pytest.raises(DataError, match="it cannot be read"):
        audit(options, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_same_bits_with_and_without_a_calibration(
    home: Path, tmp_path: Path, without_clock: Callable[[Any], Any]
) -> None:
    plain = audit(AuditOptions(**FAST), tmp_path / "plain")
    measured().save(tmp_path / "m.json")
    timed = audit(AuditOptions(machine=tmp_path / "m.json", **FAST), tmp_path / "timed")
    assert without_clock(plain.report) == without_clock(timed.report)
    assert plain.report["plan"]["machine"] != timed.report["plan"]["machine"]
    ours, theirs = (one.report["plan"]["predicted_seconds"] for one in (plain, timed))
    assert theirs > 5 * ours
    for name in ("rows.csv", "fixes.csv", "model/tensors.safetensors"):
        assert (plain.folder / name).read_bytes() == (timed.folder / name).read_bytes()
    plan = json.loads((timed.folder / "report.json").read_text())["plan"]
    happened = {stage["name"]: stage for stage in timed.report["stages"]}
    for stage in plan["stages"]:
        assert stage["seconds"] == happened[stage["name"]]["seconds"]
    assert plan["seconds"] == pytest.approx(sum(stage["seconds"] for stage in plan["stages"]))


def test_a_run_is_the_same_with_another_machine() -> None:
    one, other = AuditOptions(), AuditOptions(machine=Path("m.json"))
    assert one.fingerprint(b"") == other.fingerprint(b"")
    assert one.fingerprint(b"") != AuditOptions(budget=10**9).fingerprint(b"")
