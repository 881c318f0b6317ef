"""Random draws of a training, apart from everything else that the process does."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import torch

__all__ = ["own_stream"]

_ALONE = RLock()


@contextmanager
def own_stream() -> Iterator[None]:
    """Leave torch's stream as it was, and let no other training draw from it meanwhile.

    torch has one stream for all threads of a process, so of trainings that run in threads one goes
    at a time.
    """
    with _ALONE, torch.random.fork_rng(devices=[]):
        yield
