"""Calibration under a clock that the test turns: no test here measures time."""

from dataclasses import dataclass, field

import pytest

from trivium._core.errors import ArgumentError
from trivium.cost import Machine, Operation
from trivium.cost.calibrate import Case, Timer, calibrate


@dataclass
class Clock:
    """A clock that stands still but for the calls that are made."""

    now: float = 0.0
    seen: list[str] = field(default_factory=list)

    def timer(self):
        return Timer(lambda: self.now, lambda: self.now)

    def case(self, size, seconds, kind="pass", cost=0.01, bytes_=None, besides=()):
        def call():
            self.now += seconds

        def build():
            self.seen.append(size)
            return call

        work = Operation(kind, 0, bytes_ or seconds * 1e10, 1)
        return Case(work, size, build, cost, besides)


def cases(clock):
    """Passes at 10 GB/s of 0.5 to 100 ms."""
    return [clock.case(f"{i}", 5e-4 * 1.6**i) for i in range(12)]


def run(clock, seconds=20.0, **more):
    asked = {"cases": cases(clock), "only": True, "timer": clock.timer()} | more
    return calibrate(seconds, **asked)


def test_the_rate_is_found():
    clock = Clock()
    found = run(clock)
    assert isinstance(found, Machine)
    assert found.calibrated
    low, middle, high = found.seconds([Operation("pass", 0, 2e8)])
    assert middle == pytest.approx(0.02, rel=1e-6)
    assert low == pytest.approx(0.02 / 1.03)
    assert high == pytest.approx(0.02 * 1.03)
    assert found.laws["pass"].sizes == 12
    assert found.about["cases"] == 12
    assert (found.dtype, found.threads) == ("float32", 1)


@pytest.mark.parametrize("seconds", [12.0, 30.0, 100.0])
def test_the_time_is_kept(seconds):
    clock = Clock()
    found = run(clock, seconds)
    assert 0.85 * seconds <= clock.now <= seconds
    assert found.about["seconds"] == pytest.approx(clock.now, abs=0.1)


def test_cases_are_interleaved_in_an_order_that_repeats():
    first, again, other = Clock(), Clock(), Clock()
    run(first, random_state=3)
    run(again, random_state=3)
    run(other, random_state=4)
    assert first.seen == again.seen != other.seen
    rounds = [first.seen[i : i + 12] for i in range(0, 48, 12)]
    assert all(sorted(each) == sorted(rounds[0]) for each in rounds)
    assert rounds[0] != rounds[1]


def test_a_disturbed_round_and_a_lucky_one_do_not_count():
    clock = Clock()
    turns = {"3": 0}

    def build():
        turns["3"] += 1
        # The first round is four times too fast, and every third one is disturbed.
        seconds = 0.005 if turns["3"] == 1 else 0.06 if turns["3"] % 3 == 0 else 0.02

        def call():
            clock.now += seconds

        return call

    odd = Case(Operation("pass", 0, 2e8), "odd", build, 0.01)
    found = run(clock, 60.0, cases=[*cases(clock), odd])
    assert found.laws["pass"].error == 0.03
    assert turns["3"] > 8


def test_the_dearest_are_left_out_where_time_is_short():
    clock = Clock()
    dear = clock.case("dear", 3.0, cost=9.0)
    found = run(clock, 20.0, cases=[*cases(clock), dear])
    assert "dear" not in clock.seen
    assert found.about["cases"] == 12
    # Nothing is silent about it: such a call is beyond what was measured.
    assert found.outside([dear.operation]) == ("pass",)
    clock = Clock()
    run(clock, 60.0, cases=[*cases(clock), clock.case("dear", 3.0, cost=9.0)])
    assert "dear" in clock.seen


def test_progress_is_told():
    clock, told = Clock(), []
    run(clock, progress=lambda done, total: told.append((done, total)))
    done = [each for each, _ in told]
    assert done == sorted(done)
    assert {total for _, total in told} == {200}
    assert 150 < done[-1] <= 200


def test_what_a_case_holds_besides_is_taken_off():
    clock = Clock()
    inside = Operation("softmax", 0, 5e7, 1)
    softmax = [clock.case(f"{i}", 5e-4 * 2**i, kind="softmax") for i in range(8)]
    fused = [
        clock.case(f"{i}", 5e-3 + 2e-3 * 2**i, "attention", 0.01, 2e7 * 2**i, (inside,))
        for i in range(8)
    ]
    found = run(clock, cases=[*fused, *softmax])
    both = [Operation("attention", 0, 3e7), inside]
    assert found.seconds(both)[1] == pytest.approx(5e-3 + 3e-3, rel=1e-6)


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"seconds": 9.0}, "seconds must be a finite number from 10; got 9.0"),
        ({"seconds": float("nan")}, "seconds must be"),
        ({"seconds": float("inf")}, "seconds must be"),
        ({"seconds": "60"}, "seconds must be"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"threads": True}, "threads must be at least 1"),
        ({"dtype": "int8"}, "dtype must be one of float32"),
        ({"cases": ()}, "cases must hold at least one case"),
    ],
)
def test_refused(given, rule):
    with pytest.raises(ArgumentError, match=rule):
        run(Clock(), **given)


def test_calls_too_short_for_the_clock_do_not_divide_by_zero(monkeypatch):
    monkeypatch.setattr("trivium.cost.calibrate._SPAN", 1e-8)
    clock = Clock()
    still = [clock.case(f"{i}", 0.0, bytes_=10.0**i) for i in range(4, 8)]
    ticking = clock.case("tick", 1.0, bytes_=1e9)
    assert run(clock, cases=[*still, ticking]).laws["pass"].sizes == 5


def test_the_standard_cases_run_and_their_counts_are_the_tables():
    """Each small case is built and called once; the operations are those that tables give."""
    torch = pytest.importorskip("torch")
    from trivium.cost import KINDS
    from trivium.cost.cases import standard_cases

    known = standard_cases("float32")
    kinds = {case.operation.kind for case in known}
    assert kinds | {"linear attention", "causal linear attention"} == set(KINDS)
    with torch.inference_mode():
        for case in known:
            if case.operation.flops < 5e7 and case.operation.bytes < 2e6:
                out = case.build()()
                assert out.numel() * 4 == case.operation.fresh or case.operation.kind == "call"
    assert all(each.besides for each in known if each.operation.kind.endswith("attention"))


def test_the_threads_are_put_back(monkeypatch):
    torch = pytest.importorskip("torch")
    clock, before = Clock(), torch.get_num_threads()
    seen = []

    def stop():
        seen.append(torch.get_num_threads())
        raise KeyboardInterrupt

    monkeypatch.setattr("trivium.cost.cases.standard_cases", lambda dtype: [])
    case = Case(Operation("pass", 0, 1), "0", stop)
    with pytest.raises(KeyboardInterrupt):
        calibrate(10.0, threads=before + 1, cases=[case], timer=clock.timer())
    assert seen == [before + 1]
    assert torch.get_num_threads() == before
