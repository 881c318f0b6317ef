"""Every executor gives the same bits, keeps what has ended, and says what went wrong."""

import sys
import warnings
from pathlib import Path

import pytest
import torch

from trivium._core.errors import ArgumentError, MissingExtraError, TriviumWarning
from trivium.moment import Moments, merge_tree
from trivium.parallel import BlockJournal, Executor, JoblibExecutor, open_executor
from trivium.parallel.task import Outcome

NAMES = ("serial", "threads")  # the laws of tests/conformance hold for all of them


@pytest.fixture(scope="module", params=NAMES)
def executor(request: pytest.FixtureRequest) -> Executor:
    with open_executor(request.param, n_workers=None if request.param == "serial" else 2) as opened:
        yield opened


def rows_of(number: int) -> torch.Tensor:
    return torch.randn(50, 3, generator=torch.Generator().manual_seed(number))


def moments_of(number: int) -> Moments:
    return Moments(3).update(rows_of(number))


def scaled(number: int, shared: torch.Tensor) -> torch.Tensor:
    return number * shared


def complains(number: int) -> int:
    if number == 3:
        raise ValueError("three is right out")
    if number % 2:
        warnings.warn(f"{number} is odd", TriviumWarning, stacklevel=1)
    return number


def test_the_same_bits_as_one_after_the_other(executor: Executor) -> None:
    wanted = merge_tree(moments_of(number) for number in range(13))
    found = executor.merge(moments_of, range(13))
    assert torch.equal(found.total, wanted.total)
    assert torch.equal(found.mean, wanted.mean)


def test_results_in_order_with_something_shared(executor: Executor) -> None:
    found = executor.map(scaled, range(7), shared=torch.ones(2))
    assert [int(value[0]) for value in found] == list(range(7))


def test_the_original_error_and_where_it_was_raised(executor: Executor) -> None:
    with pytest.raises(ValueError, match="three is right out") as caught:
        executor.map(complains, [2, 3])
    assert "complains" in str(caught.value.__cause__)
    assert caught.value.__notes__ == ["raised in block 1 of 2"]


def test_warnings_arrive_in_the_order_of_the_blocks(executor: Executor) -> None:
    with pytest.warns(TriviumWarning) as seen:
        assert executor.map(complains, [0, 1, 7, 5, 1]) == [0, 1, 7, 5, 1]
    assert [str(w.message) for w in seen] == ["1 is odd", "7 is odd", "5 is odd"]


def test_a_journal_spares_what_has_ended(executor: Executor, tmp_path: Path) -> None:
    journal = BlockJournal(tmp_path, "these")
    with pytest.raises(ValueError, match="right out"):
        executor.map(complains, [0, 2, 3], journal=journal)
    journal.write(0, Outcome("kept"))
    journal.write(2, Outcome(3))
    assert executor.map(complains, [0, 2, 3], journal=journal)[0] == "kept"


def test_no_blocks_at_all(executor: Executor) -> None:
    assert executor.map(complains, []) == []


def test_ray_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"Install trivium\[ray\]"):
        open_executor("ray")


def test_another_backend_of_joblib() -> None:
    with JoblibExecutor(2, "sequential") as executor:
        assert torch.equal(executor.map(rows_of, range(3))[2], rows_of(2))


def test_options_that_do_not_go_together() -> None:
    with pytest.raises(ArgumentError, match="scheduler must come with 'dask'"):
        open_executor("processes", scheduler="tcp://127.0.0.1:1")
    with pytest.raises(ArgumentError, match="backend must be registered with joblib; got 'lokki'"):
        JoblibExecutor(2, "lokki")
    with pytest.raises(ArgumentError, match="n_workers must be an integer, positive"):
        JoblibExecutor(0)
    with pytest.raises(ArgumentError, match="retries"):
        open_executor("serial", retries=-1)


@pytest.mark.parametrize("ahead", [0, -1, 1.5, True, "2"])
def test_no_window_at_all_is_refused(executor: Executor, ahead: object) -> None:
    with pytest.raises(ArgumentError, match=r"each: ahead must be an integer, positive"):
        list(executor.each(abs, [1, 2], ahead=ahead))


def test_a_window_counts_from_the_first_block_that_is_not_in_the_journal(
    executor: Executor, tmp_path: Path
) -> None:
    journal = BlockJournal(tmp_path, "f")
    executor.map(abs, [-1, -2, -3], journal=journal)
    found = dict(executor.each(abs, range(-1, -20, -1), journal=journal, ahead=2))
    assert found == {number: number + 1 for number in range(19)}
