"""A data loader that tells a recording which rows each of its batches has."""

import copy
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from trivium._core.errors import ArgumentError

__all__ = ["NotedLoader"]


class _Noting:
    """A sampler of batches that remembers what it gave, in order."""

    def __init__(self, sampler: Any, skip: int) -> None:
        self.sampler, self.skip = sampler, skip
        self.given: deque[Any] = deque()

    def __iter__(self) -> Iterator[Any]:
        self.given.clear()
        skip, self.skip = self.skip, 0
        for batch in islice(iter(self.sampler), skip, None):
            self.given.append(batch)
            yield batch

    def __len__(self) -> int:
        return len(self.sampler) - self.skip


class NotedLoader(Iterable[Any]):
    """The batches of a loader, each noted before it is handed over.

    A row's id is its index in the loader's dataset: what its sampler gives.

    Args:
        loader: Over a dataset with indices; any sampler, workers and collation.
        note: Called with the ids of each batch.
        skip: Batches that the first pass leaves out: those of a resumed training's broken epoch.

    Raises:
        ArgumentError: The loader's rows have no indices, or come in no order.
    """

    def __init__(
        self, loader: DataLoader[Any], note: Callable[[list[Any]], None], skip: int = 0
    ) -> None:
        if not isinstance(loader, DataLoader):
            raise ArgumentError(
                f"loader: loader must be a torch.utils.data.DataLoader; got {type(loader).__name__}"
            )
        if isinstance(loader.dataset, IterableDataset):
            raise ArgumentError(
                "loader: the dataset must have indices; got an IterableDataset",
                remedy="Let it give each row's id, and call recording.batch(ids) in the loop.",
            )
        if not getattr(loader, "in_order", True):
            raise ArgumentError("loader: batches must come in order; got in_order=False")
        self.loader, self.note, self.skip = loader, note, skip
        self._noted = copy.copy(loader)
        name = "sampler" if loader.batch_sampler is None else "batch_sampler"
        self._sampler = _Noting(getattr(loader, name), skip)
        object.__setattr__(self._noted, name, self._sampler)  # a loader refuses its own change

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        going_on = self._sampler.skip > 0
        states = torch.get_rng_state(), random.getstate()
        batches: Iterator[Any] = iter(self._noted)
        if going_on:  # the broken epoch had drawn its order before the checkpoint
            batches = _primed(batches)
            torch.set_rng_state(states[0])
            random.setstate(states[1])
        for batch in batches:
            ids = self._sampler.given.popleft()
            if not isinstance(ids, list | tuple):
                raise ArgumentError(
                    "loader: a batch must be made of rows with indices; got a loader with "
                    "batch_size=None whose dataset makes its own batches",
                    remedy="Call recording.batch(ids) in the loop.",
                )
            self.note(list(ids))
            yield batch


def _primed(batches: Iterator[Any]) -> Iterator[Any]:
    """Draw what the order needs now, and give the same batches."""
    first = next(batches, None)

    def again() -> Iterator[Any]:
        if first is not None:
            yield first
        yield from batches

    return again()
