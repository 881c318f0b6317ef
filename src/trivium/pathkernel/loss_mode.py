"""Hearing each call of one torch function, at little cost to all the others."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, _pop_mode, _push_mode
from torch.utils._device import DeviceContext

__all__ = ["LossMode"]


class LossMode(TorchFunctionMode):
    """Hears the calls of one torch function while it is on.

    It lies at the bottom of the stack of modes, so that a mode that the user opens and closes in
    between stays on top of it, and it is on from a forward to the step only: each torch call
    under a mode costs a microsecond.

    Args:
        function: The function.
        heard: Called with its arguments, named arguments and result.
    """

    def __init__(
        self, function: Callable[..., Tensor], heard: Callable[[Any, Any, Any], None]
    ) -> None:
        super().__init__()
        self.function = function
        self.heard = heard
        self.on = False

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is self.function and self.on:
            self.heard(args, kwargs or {}, result)
        return result

    def start(self) -> None:
        """Listen from now on."""
        if self.on:
            return
        self.on = True
        above = _popped() if torch._C._len_torch_function_stack() else []
        while above and isinstance(above[-1], DeviceContext):  # it insists on being the lowest
            _push_mode(above.pop())
        _push_mode(self)
        _push_back(above)

    def stop(self) -> None:
        """Listen no more."""
        if not self.on:
            return
        self.on = False
        _push_back([mode for mode in _popped() if mode is not self])


def _popped() -> list[TorchFunctionMode]:
    """Take all modes off, the highest first."""
    return [_pop_mode() for _ in range(torch._C._len_torch_function_stack())]


def _push_back(modes: list[TorchFunctionMode]) -> None:
    for mode in reversed(modes):
        _push_mode(mode)
