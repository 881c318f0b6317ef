"""How many bytes of tensors are alive at once, measured operation by operation."""

import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["LiveBytes"]


class LiveBytes(TorchDispatchMode):
    """Context that follows the storages made inside it; those that came from outside are free.

    Attributes:
        now: Bytes alive.
        peak: Most bytes alive at once, after any operation.

    Example:
        >>> import torch
        >>> with LiveBytes() as live:
        ...     for _ in range(3):
        ...         x = torch.zeros(100, dtype=torch.float64)
        >>> live.peak
        1600
    """

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)
        self.now = 0
        self.peak = 0
        self._tensors: Counter[int] = Counter()
        self._outside: set[int] = set()
        self._seen: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run the operation and take stock of what it returned."""
        for value in tree_leaves((args, kwargs or {})):
            if isinstance(value, Tensor) and id(value) not in self._seen:
                storage = value.untyped_storage()
                if self._tensors[storage.data_ptr()] == 0:
                    self._outside.add(storage.data_ptr())
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self._follow(value)
        self.peak = max(self.peak, self.now)
        return result

    def _follow(self, value: Tensor) -> None:
        storage = value.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        if id(value) in self._seen or place in self._outside or size == 0:
            return
        self._seen.add(id(value))
        if self._tensors[place] == 0:
            self.now += size
        self._tensors[place] += 1
        weakref.finalize(value, self._forget, id(value), place, size)

    def _forget(self, identity: int, place: int, size: int) -> None:
        self._seen.discard(identity)
        self._tensors[place] -= 1
        if self._tensors[place] == 0:
            self.now -= size
