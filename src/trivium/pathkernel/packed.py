"""A call's arguments, told apart: tensors with a row each, and what is the same for all rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from trivium._core.errors import ArgumentError

__all__ = ["Call", "Packed", "as_call", "pack"]


class _Row:
    def __repr__(self) -> str:
        return "<rows>"

    def __reduce__(self) -> str:
        return "ROW"  # in another process too there is one mark


ROW = _Row()


@dataclass(frozen=True)
class Call:
    """Positional and named arguments of a model."""

    arguments: tuple[Any, ...]
    named: dict[str, Any]


@dataclass(frozen=True)
class Packed:
    """The shape of a call: its tree, with a mark where the rows' tensors go."""

    spec: Any
    leaves: tuple[Any, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as nested plain values: torch's own tree does not without a warning."""
        tree = pytree.tree_unflatten(range(len(self.leaves)), self.spec)
        return _packed, (tree, self.leaves)

    def unpack(self, rows: Sequence[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the positional and the named arguments with these rows in them."""
        given = iter(rows)
        return pytree.tree_unflatten(
            [next(given) if leaf is ROW else leaf for leaf in self.leaves], self.spec
        )

    def same_as(self, other: "Packed | None") -> "Packed":
        """Return the other one where it says the same, so that notes share it."""
        if other is None or len(self.leaves) != len(other.leaves):
            return self
        pairs = zip(self.leaves, other.leaves, strict=True)
        same = all(
            a is b or (not isinstance(a, Tensor) and type(a) is type(b) and a == b)
            for a, b in pairs
        )
        return other if same and (self.spec is other.spec or self.spec == other.spec) else self

    @property
    def n_rows_leaves(self) -> int:
        """How many tensors have a row each."""
        return sum(leaf is ROW for leaf in self.leaves)


def _packed(tree: Any, leaves: tuple[Any, ...]) -> Packed:
    return Packed(pytree.tree_structure(tree), leaves)


_ONE = pytree.tree_structure(((0,), {}))


def pack(
    arguments: tuple[Any, ...], named: dict[str, Any], n_rows: int
) -> tuple[Packed, list[Tensor]]:
    """Split a call into its shape and the tensors whose first axis is the rows."""
    if len(arguments) == 1 and not named and type(arguments[0]) is Tensor:
        leaves, spec = list(arguments), _ONE  # by far the most common, and ten times as fast
    else:
        leaves, spec = pytree.tree_flatten((arguments, named))
    is_row = [isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == n_rows for leaf in leaves]
    marked = tuple(ROW if row else leaf for leaf, row in zip(leaves, is_row, strict=True))
    return Packed(spec, marked), [leaf for leaf, row in zip(leaves, is_row, strict=True) if row]


def as_call(caller: str, x: Any) -> tuple[Packed, list[Tensor], int]:
    """Read what a user asks about: one tensor, a tuple of arguments, or a dict of named ones.

    Returns:
        The call, its rows' tensors, and the number of rows.

    Raises:
        ArgumentError: No tensor in it, or no rows.
    """
    if isinstance(x, Call):
        arguments, named = x.arguments, x.named
    else:
        arguments, named = (
            ((), x) if isinstance(x, dict) else (x if isinstance(x, tuple) else (x,), {})
        )
    first = next((leaf for leaf in pytree.tree_leaves((arguments, named)) if _has_rows(leaf)), None)
    if first is None:
        raise ArgumentError(
            f"{caller}: x must be a tensor (or a tuple or dict of the model's arguments) with at "
            f"least one row; got {x!r:.80}"
        )
    packed, rows = pack(arguments, dict(named), len(first))
    return packed, rows, len(first)


def _parts(x: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(x, Call):
        return x.arguments, x.named
    if isinstance(x, dict):
        return (), x
    return (x if isinstance(x, tuple) else (x,)), {}


def _has_rows(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.ndim > 0 and len(leaf) > 0
