"""One thread for sums: the same seed gives the same bits on any number of cores."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import torch
from threadpoolctl import threadpool_limits

__all__ = ["one_thread"]

_lock = Lock()
_inside = 0  # blocks that are open, in all threads together
_threads = 1  # of torch, before the first of them
_seen = 0  # modules loaded at the last look for BLAS libraries
_limits: list[threadpool_limits] = []


@contextmanager
def one_thread() -> Iterator[None]:
    """Add up in one order, whatever the number of cores: BLAS and torch with one thread.

    Where a sum is split over threads, its last bits depend on their number, and a tree may turn
    on them. Boosting keeps its threads: each of them has whole features, so no sum is split.

    The limits hold for the process, so they end when the last block that is open, in any thread,
    ends: one that ends earlier must not give its threads to the others.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _inside, _threads, _seen  # noqa: PLW0603 - the limits are the process's too
    with _lock:
        if _inside == 0:
            _threads = torch.get_num_threads()
        if _inside == 0 or len(sys.modules) != _seen:  # a module may have brought its own BLAS
            _limits.append(threadpool_limits(1, user_api="blas"))
            _seen = len(sys.modules)
        _inside += 1
        torch.set_num_threads(1)  # OpenMP's own count is one for each thread


def _leave() -> None:
    global _inside  # noqa: PLW0603
    with _lock:
        _inside -= 1
        if _inside == 0:
            while _limits:
                _limits.pop().restore_original_limits()
            torch.set_num_threads(_threads)
