"""Laws that every executor keeps: what comes back does not depend on where it was made."""

import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from threadpoolctl import threadpool_info
from torch import Tensor

from trivium._core.errors import TriviumWarning
from trivium.moment import Moments
from trivium.parallel import BlockJournal, Executor, SerialExecutor

__all__ = ["EXECUTOR_LAWS", "check_executor"]

Law = Callable[[Executor], None]
_N = 11


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def _rows(number: int) -> Tensor:
    generator = torch.Generator().manual_seed(number)
    return torch.randn(200, 5, generator=generator) * 10.0 ** (number % 5)


def _moments(number: int) -> Moments:
    return Moments(5).update(_rows(number))


def _product(number: int) -> Tensor:
    rows = _rows(number)
    return rows.T @ rows / rows.sum()


def _late(number: int) -> int:
    time.sleep(0.2 if number == 0 else 0.0)
    return number


def _threads(number: int) -> int:
    blas = [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]
    return max(torch.get_num_threads(), *blas, number * 0)


def _times(number: int, shared: dict[str, Any]) -> Any:
    return number * shared["a"] @ shared["b"].T + float(shared["c"].sum()), shared["name"]


def _complain(number: int) -> int:
    if number % 2:
        warnings.warn(f"{number} is odd", TriviumWarning, stacklevel=1)
    return number


def _fail(number: int) -> int:
    if number == 5:
        raise LookupError("five", number)
    return number


def _nothing(number: int) -> None:
    return None


def bits_of_one_after_the_other(executor: Executor) -> None:
    """Results, and sums of results, have the bits of the serial executor."""
    serial = SerialExecutor()
    found, wanted = (one.map(_product, range(_N)) for one in (executor, serial))
    for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
        _expect(torch.equal(one, other), f"block {number} has other bits")
    for n in (1, _N):
        mine, theirs = (one.merge(_moments, range(n)) for one in (executor, serial))
        same = torch.equal(mine.total, theirs.total) and torch.equal(mine.mean, theirs.mean)
        _expect(same, f"{n} blocks merged have other bits")


def results_in_order(executor: Executor) -> None:
    """`map` returns results by number, also where the first one is the last to end."""
    found = executor.map(_late, range(_N))
    _expect(found == [*range(_N)], f"results are {found}")


def every_block_once(executor: Executor) -> None:
    """`each` yields every block once, with its own number; no block at all is none."""
    found = sorted(executor.each(_late, range(_N)))
    _expect(found == [(n, n) for n in range(_N)], f"blocks yielded are {found}")
    _expect(executor.map(_nothing, range(3)) == [None] * 3, "a result that is None is lost")
    _expect(executor.map(_late, []) == [], "no blocks give something")


def one_thread_a_block(executor: Executor) -> None:
    """A block runs with one thread, of torch and of BLAS."""
    found = executor.map(_threads, range(_N))
    _expect(max(found) == 1, f"blocks have {found} threads")


def shared_arrives(executor: Executor) -> None:
    """What is shared arrives whole: tensors with their strides, arrays, text."""
    a = torch.randn(6, 4, generator=torch.Generator().manual_seed(1)).T
    shared = {"a": a, "b": _rows(2)[:3].repeat(1, 2)[:, :6], "c": _rows(3).numpy(), "name": "é"}
    found, wanted = (
        one.map(_times, range(_N), shared=shared) for one in (executor, SerialExecutor())
    )
    for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
        same = torch.equal(one[0], other[0]) and one[1] == other[1]
        _expect(same, f"block {number} was given something else")


def original_error(executor: Executor) -> None:
    """An error of the function is raised as it was, says its block, and has its traceback."""
    try:
        executor.map(_fail, [1, 5, 2])
    except LookupError as error:
        _expect(error.args == ("five", 5), f"the error says {error.args}")
        noted = getattr(error, "__notes__", [])
        _expect(noted == ["raised in block 1 of 3"], f"its notes are {noted}")
        _expect("_fail" in str(error.__cause__), "its cause has no traceback of the worker")
    except Exception as error:
        raise AssertionError(f"a LookupError came as {type(error).__name__}") from error
    else:
        raise AssertionError("an error of a block is lost")
    _expect(executor.map(_late, [3]) == [3], "after an error it does not work")


def warnings_arrive(executor: Executor) -> None:
    """Warnings of blocks are shown here, each once, in the order of the blocks."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = executor.map(_complain, [0, 1, 7, 5, 1])
    _expect(found == [0, 1, 7, 5, 1], f"results are {found}")
    said = [str(one.message) for one in caught if one.category is TriviumWarning]
    _expect(said == ["1 is odd", "7 is odd", "5 is odd"], f"warnings are {said}")


def journal_spares(executor: Executor) -> None:
    """Blocks in a journal are not run again; those of a run that failed are in it."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        journal = BlockJournal(folder, "law")
        executor.map(_complain, [0, 2, 4], journal=journal)
        found = executor.map(_fail, [5, 5, 5], journal=journal)
        _expect(found == [0, 2, 4], f"with a journal the results are {found}")
        told: list[tuple[int, int]] = []
        executor.map(
            _complain,
            [0, 2, 4, 6],
            journal=journal,
            progress=lambda done, n: told.append((done, n)),
        )
        _expect(told == [(3, 4), (4, 4)], f"progress was {told}")


def dropped_half_way(executor: Executor) -> None:
    """A generator dropped half-way leaves nothing to what comes after it."""
    blocks = executor.each(_late, range(1, 40))
    next(iter(blocks))
    blocks.close()
    found = executor.map(_fail, range(4))
    _expect(found == [*range(4)], f"after a dropped generator results are {found}")


def no_further_than_asked(executor: Executor) -> None:
    """With `ahead` all blocks run, none of them that far from the first that has not ended."""
    missing = set(range(30))
    for number, _ in executor.each(_late, range(30), ahead=4):
        _expect(number < min(missing) + 4, f"block {number} ended before {min(missing)}")
        missing.remove(number)
    _expect(not missing, f"held back for good are the blocks {sorted(missing)}")


EXECUTOR_LAWS: tuple[Law, ...] = (
    bits_of_one_after_the_other,
    results_in_order,
    every_block_once,
    one_thread_a_block,
    shared_arrives,
    original_error,
    warnings_arrive,
    journal_spares,
    dropped_half_way,
    no_further_than_asked,
)


def check_executor(make: Callable[[], Executor]) -> None:
    """Hold an executor to every law in `EXECUTOR_LAWS`.

    Args:
        make: Starts one; it is closed afterwards.

    Raises:
        AssertionError: A law is broken; the message names the law and what was found.

    Example:
        >>> check_executor(SerialExecutor)
    """
    with make() as executor:
        for law in EXECUTOR_LAWS:
            try:
                law(executor)
            except Exception as error:  # a law that cannot go on is broken too
                said = str(error) if isinstance(error, AssertionError) else repr(error)
                raise AssertionError(
                    f"law {law.__name__}: {type(executor).__name__}: {said}"
                ) from error
