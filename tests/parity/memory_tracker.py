"""A tensor tracker: every storage that an operator makes, from its birth to its end."""

import weakref

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Tracker(TorchDispatchMode):
    """The bytes of all storages alive after each operator, and the most of them at once.

    `known` are tensors that are there before: parameters, buffers, inputs, a cache.
    """

    def __init__(self, *known):
        super().__init__()
        self.alive = {}
        self.now = self.peak = 0
        self._enter(known)

    def _enter(self, tensors):
        for tensor in tree_leaves(tensors):
            storage = getattr(tensor, "untyped_storage", lambda: None)()
            if storage is None or storage._cdata in self.alive:
                continue
            key, size = storage._cdata, storage.nbytes()
            self.alive[key] = weakref.finalize(storage, self._leave, key, size)
            self.now += size
        self.peak = max(self.peak, self.now)

    def _leave(self, key, size):
        del self.alive[key]
        self.now -= size

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        self._enter(out)
        return out
