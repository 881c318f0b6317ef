"""Machines: sums of laws, intervals, files, datasheets, and what is refused."""

import json
import math
from pathlib import Path

import pytest

from trivium._core.errors import ArgumentError, DataError, OutputError
from trivium.cost import KINDS, Law, Machine, Operation
from trivium.cost.datasheet import DATASHEETS
from trivium.cost.machine_file import default_path

LAWS = {
    "linear": Law(1e-11, 1e-11, 5e-11, 2e-6, 0.0, 0.1, (1e6, 1e5), (1e9, 1e7), 12),
    "pass": Law(0.0, 1e-11, 4e-11, 1e-6, 4e-10, 0.5, (0.0, 1e4), (0.0, 1e8), 9),
}


def machine(**more):
    return Machine(LAWS, cache=1e6, calibrated=True, about={"processor": "a chip"}, **more)


def test_seconds_are_sums_and_kinds_err_independently():
    work = [Operation("linear", 1e8, 5e5, 1), Operation("pass", 0, 6e6, 3, 3e6)]
    low, middle, high = machine().seconds(work)
    one = 1e8 * 1e-11 + 5e5 * 1e-11 + 2e-6
    two = 6e6 * 4e-11 + 3e-6  # twice the cache in each call, results that are not fresh
    assert middle == pytest.approx(one + two)
    assert high == pytest.approx(one + two + math.hypot(0.1 * one, 0.5 * two))
    assert low == pytest.approx(one + two - math.hypot(one - one / 1.1, two - two / 1.5))
    # Within a kind they go together.
    twice = machine().seconds([work[1], work[1]])
    assert twice == pytest.approx([2 * each for each in machine().seconds(work[1:])])
    assert machine().outside(work) == ()


def test_the_regimes():
    law, above = LAWS["pass"], 2.0**25
    assert law.seconds(Operation("pass", 0, 1e6), 1e6, above) == pytest.approx(1e-5 + 1e-6)
    half = 1.5e6 * (0.5 * 1e-11 + 0.5 * 4e-11) + 1e-6
    assert law.seconds(Operation("pass", 0, 1.5e6), 1e6, above) == pytest.approx(half)
    fresh = Operation("pass", 0, 8e7, 1, 4e7)
    assert law.seconds(fresh, 1e6, above) == pytest.approx(8e7 * 4e-11 + 1e-6 + 4e7 * 4e-10)
    # The threshold itself is fresh: 32 heads of 512 × 512 in float32 are just that.
    limit = Operation("pass", 0, 2**26, 1, 2**25)
    assert law.seconds(limit, 1e6, above) > 2**25 * 4e-10
    # The same bytes in two calls are memory that is there.
    twice = Operation("pass", 0, 8e7, 2, 4e7)
    assert law.seconds(twice, 1e6, above) == pytest.approx(8e7 * 4e-11 + 2e-6)


def test_work_of_equal_calls_scales():
    work = Operation("pass", 0, 3e6, 2, 1e6)
    one, ten = machine().seconds([work]), machine().seconds([work.times(10)])
    assert ten == pytest.approx([10 * each for each in one])


def test_sizes_beyond_those_measured_widen_the_interval_and_are_named():
    inside, far = Operation("linear", 1e9, 1e7), Operation("linear", 8e9, 1e7)
    assert machine().outside([inside]) == ()
    assert machine().outside([far, Operation("pass", 0, 1e6)]) == ("linear",)
    low, middle, high = machine().seconds([far])
    assert high / middle == pytest.approx(1.1 * (1 + 0.25 * 3))
    assert middle / low == pytest.approx(high / middle)
    # Too small is beyond as well.
    assert machine().outside([Operation("pass", 0, 100)]) == ("pass",)


def test_no_law_for_a_kind():
    with pytest.raises(ArgumentError, match="kind must be one of linear, pass; got 'softmax'"):
        machine().seconds([Operation("softmax", 0, 10)])
    assert machine().seconds([Operation("softmax", calls=0)]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("name", "value"), [("flops", -1), ("bytes", float("nan")), ("calls", "1"), ("fresh", True)]
)
def test_an_operation_that_is_none(name, value):
    with pytest.raises(ArgumentError, match=f"{name} must be a number ≥ 0"):
        Operation("pass", **{name: value})


def test_other_operations_that_are_none():
    with pytest.raises(ArgumentError, match="calls must be positive where there is work"):
        Operation("pass", bytes=1, calls=0)
    with pytest.raises(ArgumentError, match="kind must be a name"):
        Operation("")


@pytest.mark.parametrize("value", [-1e-9, float("inf"), float("nan"), "1"])
def test_a_law_that_is_none(value):
    with pytest.raises(ArgumentError, match="far must be a finite number ≥ 0"):
        Law(0.0, 0.0, value, 0.0, 0.0, 0.1)


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"laws": {}}, "at least one law"),
        ({"dtype": "float8"}, "dtype must be one of float32"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"cache": -1.0}, "cache must be a finite number"),
        ({"fresh_above": float("inf")}, "fresh_above must be a finite number"),
    ],
)
def test_a_machine_that_is_none(given, rule):
    with pytest.raises(ArgumentError, match=rule):
        Machine(**({"laws": LAWS} | given))


def test_a_file_holds_all_of_it(tmp_path):
    path = tmp_path / "machine.json"
    machine(threads=2, dtype="bfloat16").save(path)
    found = Machine.load(path, dtype="bfloat16", threads=2)
    assert found == machine(threads=2, dtype="bfloat16")
    assert [each.name for each in tmp_path.iterdir()] == ["machine.json"]


def test_another_dtype_or_number_of_threads_is_refused(tmp_path):
    path = tmp_path / "machine.json"
    machine().save(path)
    with pytest.raises(ArgumentError, match=r"dtype must be float32.*got bfloat16"):
        Machine.load(path, dtype="bfloat16")
    with pytest.raises(ArgumentError, match=r"threads must be 1, .*got 4. Calibrate"):
        Machine.load(path, threads=4)


def broken(change):
    """Return the text of a machine file with something changed."""
    found = machine().to_dict()
    change(found)
    return json.dumps(found)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "must be JSON"),
        ("[1]", "must be a machine file"),
        ("{", "must be JSON"),
        (broken(lambda f: f.update(format="x")), "must be a machine file"),
        (broken(lambda f: f.update(version=2)), "version must be 1; got 2"),
        (broken(lambda f: f.pop("laws")), "'laws' is missing"),
        (broken(lambda f: f["laws"]["pass"].pop("near")), "near"),
        (broken(lambda f: f["laws"]["pass"].update(more=1)), "more"),
        (broken(lambda f: f["laws"]["pass"].update(near=-1)), "near must be a finite number"),
        (broken(lambda f: f["laws"]["pass"].update(most=[1, -1])), "most must be a finite"),
        (broken(lambda f: f["laws"]["pass"].update(most=[1])), "unpack"),
        (broken(lambda f: f.update(laws=[])), "attribute"),
        (broken(lambda f: f.update(cache="1")), "cache must be a finite number"),
        (broken(lambda f: f.update(about=[])), "about must be an object"),
        (broken(lambda f: f.update(calibrated=1)), "truth value"),
        (broken(lambda f: f.update(threads=0)), "threads must be at least 1"),
        (broken(lambda f: f.update(dtype="x")), "dtype must be one of"),
        (broken(lambda f: f.update(cache=1)).replace('"cache": 1', '"cache": NaN'), "NaN"),
        (broken(lambda f: f.update(cache=1)).replace('"cache": 1', '"cache": 1e999'), "finite"),
        ('{"a":' * 100_000, "must be JSON"),
        (" " * (2**20 + 1), "at most 1,048,576 bytes"),
    ],
)
def test_a_broken_file_is_refused(tmp_path, text, why):
    path = tmp_path / "machine.json"
    path.write_text(text)
    with pytest.raises(DataError, match=why) as stop:
        Machine.load(path)
    assert stop.value.code == "E-MACHINE"
    assert stop.value.where == str(path)


def test_a_changed_number_or_layout_is_seen(tmp_path):
    path = tmp_path / "machine.json"
    machine().save(path)
    text = path.read_text()
    for changed in (text.replace("9", "8", 1), text + " ", text.replace("\n", "", 1)):
        path.write_text(changed)
        with pytest.raises(DataError, match="not as it was written"):
            Machine.load(path)
    path.write_text(text.replace('"threads"', '"format": "trivium machine", "threads"'))
    with pytest.raises(DataError, match="not as it was written"):
        Machine.load(path)


def test_no_file_and_no_folder(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        Machine.load(tmp_path / "none.json")
    with pytest.raises(OutputError, match="could not write"):
        machine().save(tmp_path / "none" / "machine.json")


def test_what_was_there_stays_when_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "machine.json"
    machine().save(path)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(MemoryError, match="No space left"):
        machine(threads=3).save(path)
    assert Machine.load(path) == machine()
    assert len(list(tmp_path.iterdir())) == 1


def test_where_the_file_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert default_path() == tmp_path / ".local/share/trivium/machine.json"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")  # to be ignored, as its standard says
    assert default_path() == tmp_path / ".local/share/trivium/machine.json"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert default_path() == tmp_path / "data/trivium/machine.json"
    Path(tmp_path, "data/trivium").mkdir(parents=True)
    machine().save(default_path())
    assert Machine.load() == machine()
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.delenv("HOME")
    with pytest.raises(ArgumentError, match="HOME or XDG_DATA_HOME must be set"):
        Machine.load()


def test_a_datasheet_has_a_wide_interval_and_says_so():
    found = Machine.datasheet(100e9, 10e9, 1e-5)
    assert not found.calibrated
    assert set(found.laws) == set(KINDS)
    low, middle, high = found.seconds([Operation("linear", 4e9, 1e6)])
    assert middle == pytest.approx(4e9 / 40e9 + 1e6 / 4e9 + 1e-5)
    assert high / middle == pytest.approx(2.5) == pytest.approx(middle / low)
    # The peak itself is inside.
    assert low * 0.99 <= 4e9 / 100e9 + 1e-5 <= high
    assert "not measured" in str(found)
    assert found.outside([Operation("linear", 1e15)]) == ()


@pytest.mark.parametrize("name", DATASHEETS)
def test_named_datasheets(name):
    assert Machine.datasheet(name).about["name"] == name


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ((0.0, 1e9), "flops_per_second must be a positive finite number; got 0.0"),
        ((1e9, None), "bytes_per_second must be"),
        ((1e9, float("inf")), "bytes_per_second must be"),
        ((1e9, 1e9, -1.0), "call_seconds must be"),
        (("core",), "must be a rate or one of core-avx2"),
    ],
)
def test_a_datasheet_that_is_none(given, rule):
    with pytest.raises(ArgumentError, match=rule):
        Machine.datasheet(*given)


def test_the_text_of_a_machine():
    text = str(machine())
    assert text.startswith("a chip, float32, 1 thread\n")
    assert "linear" in text
    assert "100.0" in text  # 1e-11 seconds a FLOP
    assert "50 %" in text
