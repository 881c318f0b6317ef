"""Parameters that stand for a sum, which is made only where nothing better is known.

A module sees an ordinary tensor. The two things that large weights are used for, a linear map and a
look-up, are answered from the parts; anything else receives the sum, made for that one call.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn import functional

__all__ = ["FactoredTensor", "VirtualTensor"]

# What can be read off the base: asking for a shape must not make the sum.
_PROPERTIES = ("shape", "dtype", "device", "requires_grad", "ndim", "layout", "is_cuda")
_READ_OFF = {getattr(Tensor, name).__get__ for name in _PROPERTIES} | {
    Tensor.size,
    Tensor.dim,
    Tensor.numel,
    Tensor.__len__,
    Tensor.is_floating_point,
}


class VirtualTensor(Tensor):
    """Base of the tensors that stand for a sum; members answer `materialized` and may do better.

    Attributes:
        base: The stored tensor, never written to.
    """

    base: Tensor

    def materialized(self) -> Shaped[Tensor, "*shape"]:
        """Return the sum as an ordinary tensor."""
        raise NotImplementedError

    def linear(
        self, x: Float[Tensor, "*rows d"], bias: Float[Tensor, " o"] | None
    ) -> Float[Tensor, "*rows o"]:
        r"""Return $x W^\top$ + bias."""
        return functional.linear(x, self.materialized(), bias)

    def rows_at(self, places: Int[Tensor, "*places"]) -> Float[Tensor, "*places d"]:
        """Return the rows at some places."""
        return functional.embedding(places, self.materialized())

    @classmethod
    def __torch_function__(
        cls,
        func: Callable,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Answer linear maps and look-ups from the parts, anything else with the sum."""
        named = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            if func in _READ_OFF:
                return func(*args, **named)
            weight = args[1] if len(args) > 1 else None
            if isinstance(weight, VirtualTensor):
                if func is functional.linear:
                    bias = args[2] if len(args) > 2 else named.get("bias")
                    return weight.linear(_made(args[0]), _made(bias))
                if func is functional.embedding and named.get("max_norm") is None:
                    return weight.rows_at(args[0])
            return func(
                *(_made(value) for value in args),
                **{name: _made(value) for name, value in named.items()},
            )


def _made(value: Any) -> Any:
    if isinstance(value, VirtualTensor):
        return value.materialized()
    if isinstance(value, list | tuple):
        return type(value)(_made(item) for item in value)
    return value


class FactoredTensor(VirtualTensor):
    r"""$W + B A^\top$ of a small rank, applied as $x W^\top + (x A) B^\top$.

    Under `torch.func.vmap` the factors differ from member to member and W does not, so that
    $x W^\top$ is one product for all members.
    """

    down: Float[Tensor, "d r"]
    up: Float[Tensor, "o r"]

    @classmethod
    def of(
        cls, base: Float[Tensor, "o d"], down: Float[Tensor, "d r"], up: Float[Tensor, "o r"]
    ) -> "FactoredTensor":
        """Return the tensor that stands for base + up downᵀ."""
        made = Tensor._make_subclass(cls, base)
        made.base, made.down, made.up = base, down, up
        return made

    def materialized(self) -> Float[Tensor, "o d"]:
        """Return the sum as an ordinary tensor."""
        return self.base + self.up @ self.down.mT

    def linear(
        self, x: Float[Tensor, "*rows d"], bias: Float[Tensor, " o"] | None
    ) -> Float[Tensor, "*rows o"]:
        """Apply W once and the factors by themselves."""
        found, through = functional.linear(x, self.base, bias), x @ self.down
        if self.up.shape[-1] > 1:
            return found + through @ self.up.mT
        # One fused pass; under autocast the products come in half precision, the factor does not.
        return torch.addcmul(found, through, self.up[:, 0].to(through.dtype))

    def rows_at(self, places: Int[Tensor, "*places"]) -> Float[Tensor, "*places d"]:
        """Look both parts up."""
        found = functional.embedding(places, self.base)
        return found + functional.embedding(places, self.up) @ self.down.mT
