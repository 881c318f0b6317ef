"""The contract of attention's feature maps: weights φ(q)ᵀ φ(k) that a state can carry."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trivium._core.errors import ArgumentError
from trivium._core.families import members

__all__ = ["AttentionFeatures", "CallableFeatures", "features_of"]


class AttentionFeatures(nn.Module, ABC):
    """Features of queries and keys, for tensors `(..., heads, seq, head_dim)`.

    Where `trivium.kernel.FeatureMap` is fitted to rows, a map of attention sees rows one by one,
    may learn by gradient and may have a map for each head. A member answers `width`, `forward`
    and `examples`, and `build` where its instances depend on the heads. What holds for it, it
    declares:

    Attributes:
        name: Word by which `feature_map=` finds it; empty for a member that needs arguments.
        positive: φ(q)ᵀ φ(k) ≥ 0 for all q and k, so that weights can be normalized.
        exponential: φ(q)ᵀ φ(k) is, or estimates, or expands exp(qᵀk / √d).
        pointwise: φ acts on each coordinate and `derivative` knows φ′ from φ, so that features
            need not be kept for backward.
    """

    name: ClassVar[str] = ""
    positive: bool = True
    exponential: ClassVar[bool] = False
    pointwise: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def examples(cls) -> Sequence["AttentionFeatures"]:
        """Return a few small instances for two heads of dimension 4."""

    @classmethod
    def build(cls, n_heads: int, head_dim: int) -> "AttentionFeatures":
        """Return the instance that the map's name stands for."""
        return cls()

    @abstractmethod
    def width(self, head_dim: int) -> int:
        """Return r, the number of features of a head of this dimension."""

    @abstractmethod
    def forward(self, x: Float[Tensor, "*b h s d"]) -> Float[Tensor, "*b h s r"]:
        """Return φ(x)."""

    def queries(self, x: Float[Tensor, "*b h s d"]) -> Float[Tensor, "*b h s r"]:
        """Return φ(x) up to one factor for each row, which normalized weights do not see."""
        return self(x)

    def derivative(self, found: Float[Tensor, "*b s r"]) -> Float[Tensor, "*b s r"]:
        """Return φ′(x) from φ(x), of a pointwise map."""
        raise NotImplementedError(f"{type(self).__name__} is not pointwise")

    def key(self) -> str:
        """Return what two states must have in common to be of the same features."""
        return type(self).__name__


class CallableFeatures(AttentionFeatures):
    """A function of your own, `(..., head_dim)` to `(..., r)`, row by row.

    Args:
        function: The map; a module's parameters become those of this map.
        positive: Whether its weights are never negative.

    Raises:
        ArgumentError: Not callable, or what it returns is not features of its input.

    Example:
        >>> CallableFeatures(torch.sigmoid)(torch.zeros(1, 1, 2)).tolist()
        [[[0.5, 0.5]]]
    """

    def __init__(self, function: Callable[[Tensor], Tensor], positive: bool = True) -> None:
        super().__init__()
        if not callable(function):
            raise ArgumentError(f"CallableFeatures: function must be callable; got {function!r}")
        self.function = function
        self.positive = bool(positive)

    @classmethod
    def examples(cls) -> Sequence["CallableFeatures"]:
        """Return a few small instances."""
        return (cls(nn.functional.softplus), cls(lambda x: torch.cat((x, -x), -1), positive=False))

    def width(self, head_dim: int) -> int:
        """Return r, as the function itself shows it."""
        first = next(self.parameters(), torch.zeros(()))
        with torch.no_grad():
            shown = self.function(torch.zeros(1, 1, 1, head_dim).to(first))
        shape = tuple(getattr(shown, "shape", ()))
        if len(shape) != 4 or shape[:3] != (1, 1, 1) or shape[3] < 1:
            raise ArgumentError(
                f"CallableFeatures: function must return shape (1, 1, 1, r) for (1, 1, 1, "
                f"{head_dim}); got {shape or type(shown).__name__}"
            )
        return int(shape[3])

    def forward(self, x: Float[Tensor, "*b h s d"]) -> Float[Tensor, "*b h s r"]:
        """Return φ(x)."""
        return self.function(x)

    def key(self) -> str:
        """Return the name of the function."""
        return f"CallableFeatures({getattr(self.function, '__name__', type(self.function))})"


@lru_cache(maxsize=1)
def _named() -> dict[str, type[AttentionFeatures]]:
    # mypy has no type for "a family's abstract base".
    found = members("trivium.attention", AttentionFeatures)  # type: ignore[type-abstract]
    return {member.name: member for member in found if member.name}


def features_of(caller: str, feature_map: Any, n_heads: int, head_dim: int) -> AttentionFeatures:
    """Return the map that `feature_map` stands for: a name, an instance or a callable.

    Args:
        caller: The public name that was called.
        feature_map: `"elu1"`, `"relu"`, `"exp"`, `"identity"`, `"hedgehog"`, `"taylor2"`,
            `"favor"`, an `AttentionFeatures`, or a function `(..., d)` to `(..., r)`.
        n_heads: Heads that it will serve.
        head_dim: d.

    Raises:
        ArgumentError: None of these; the message lists the names.

    Example:
        >>> features_of("me", "taylor2", n_heads=2, head_dim=4).width(4)
        15
    """
    if isinstance(feature_map, AttentionFeatures):
        return feature_map
    if isinstance(feature_map, str) and feature_map in _named():
        return _named()[feature_map].build(n_heads, head_dim)
    if callable(feature_map):
        return CallableFeatures(feature_map)
    listed = ", ".join(repr(name) for name in sorted(_named()))
    raise ArgumentError(
        f"{caller}: feature_map must be one of {listed}, an AttentionFeatures or a callable; "
        f"got {feature_map!r}"
    )
