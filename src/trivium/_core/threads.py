"""One thread for sums: the same seed gives the same bits on any number of cores."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

__all__ = ["one_thread"]


@contextmanager
def one_thread() -> Iterator[None]:
    """Add up in one order, whatever the number of cores: BLAS and torch with one thread.

    Where a sum is split over threads, its last bits depend on their number, and a tree may turn
    on them. Boosting keeps its threads: each of them has whole features, so no sum is split.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)
