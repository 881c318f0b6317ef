"""What a kind of layer must say so that its per-row gradients need never be written out."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from trivium._core.errors import ArgumentError
from trivium._core.families import members
from trivium.kernel.tangent_hash import ColumnHash

__all__ = ["Call", "LayerKind", "LayerTangents", "register_layer"]

BLOCK_BYTES = 2**20
"""Working memory of one block of rows: a few such blocks stay in a core's cache."""

_OURS: list["LayerKind"] = []


class Call(NamedTuple):
    """One call of a layer.

    Attributes:
        kept: What `LayerKind.keep` returned.
        gradient: The gradient with respect to the layer's output.
    """

    kept: Any
    gradient: Tensor


class LayerTangents(ABC):
    r"""The gradients of n row quantities with respect to one layer's parameters.

    Columns are the layer's parameters, flattened and put one after the other; p of them. Row
    blocks keep the working memory small whatever n is.
    """

    @property
    @abstractmethod
    def n_rows(self) -> int:
        """Number of rows n."""

    @property
    @abstractmethod
    def n_columns(self) -> int:
        """Number of columns p."""

    @abstractmethod
    def rows(self, which: slice) -> "LayerTangents":
        """Return the gradients of some rows."""

    @abstractmethod
    def products(self, directions: Tensor) -> Tensor:
        """Return the inner products with directions `(q, p)`, as `(q, n)`."""

    @abstractmethod
    def combine(self, weights: Tensor) -> Tensor:
        """Return the sums of rows by weights `(r, n)`, as `(r, p)`."""

    @abstractmethod
    def dense(self) -> Tensor:
        """Return the gradients written out, `(n, p)`."""

    def squares(self) -> Tensor:
        """Return the squared length of each row, `(n,)`."""
        size = max(1, 4 * BLOCK_BYTES // (8 * max(1, self.n_columns)))
        return torch.cat([self.rows(b).dense().square().sum(1) for b in blocks(self.n_rows, size)])

    def fused(self, others: Sequence["LayerTangents"]) -> "LayerTangents | None":
        """Return a form whose Gram matrix is the sum of its parts', where that is cheaper.

        Args:
            others: The same rows' gradients of further quantities, through the same calls.

        Returns:
            Only its rows, squares and Gram matrices, with its own kind, are used; `None` where
            there is no such form.
        """
        del others
        return None

    def sketch(self, hashes: Sequence[ColumnHash]) -> Tensor:
        """Return random features `(n, r)` whose inner products estimate those of the rows.

        Args:
            hashes: Of each parameter, in the order of the columns.
        """
        found = []
        sides = [one.flat() for one in hashes]
        for b in blocks(self.n_rows, max(1, 4 * BLOCK_BYTES // (8 * max(1, self.n_columns)))):
            parts = self.rows(b).dense().split([one.n_columns for one in hashes], 1)
            counts = [
                one.counted(part, side)
                for one, part, side in zip(hashes, parts, sides, strict=True)
            ]
            found.append(torch.stack(counts).sum(0))
        return torch.cat(found)

    def add_gram(self, other: "LayerTangents", into: Tensor) -> None:
        """Add the inner products with the rows of `other`, `(n, m)`, in place.

        Here by writing out blocks of both, which serves any two forms of one layer.
        """
        if len(into) == 0 or into.shape[1] == 0:
            return
        size = max(8, 16 * BLOCK_BYTES // (into.element_size() * max(1, self.n_columns)))
        for columns in blocks(other.n_rows, size):
            right = other.rows(columns).dense().mT
            for rows in blocks(self.n_rows, size):
                into[rows, columns].addmm_(self.rows(rows).dense(), right)


class LayerKind(ABC):
    """A kind of layer whose per-row gradients have a structure.

    A member is a frozen dataclass without arguments. It names the parameters that it explains and
    turns what was noted of a layer's calls into `LayerTangents`. Whatever no kind claims is left to
    `torch.func`, row by row: right, but slower.

    Example:
        >>> from trivium.kernel import LinearLayer
        >>> LinearLayer().claims(nn.Linear(3, 2))
        ('weight', 'bias')
    """

    @classmethod
    @abstractmethod
    def examples(cls) -> Sequence["LayerKind"]:
        """Return a few small instances."""

    @abstractmethod
    def layers(self) -> Sequence[tuple[nn.Module, Tensor]]:
        """Return small layers with an input of a few rows, for conformance tests."""

    @abstractmethod
    def claims(self, module: nn.Module) -> tuple[str, ...]:
        """Return the module's parameters that this kind explains; empty for another kind.

        A subclass with a `forward` of its own is another kind.
        """

    def keep(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Any:
        """Return what must be remembered of a call; by default its first argument.

        Args:
            module: The layer.
            args: Its positional arguments.
            output: What it returned.
        """
        del module, output
        return args[0].detach()

    @abstractmethod
    def factor(
        self, module: nn.Module, names: Sequence[str], calls: Sequence[Call], n_rows: int
    ) -> LayerTangents | None:
        """Return the per-row gradients, summed over the calls.

        Args:
            module: The layer.
            names: Which of the claimed parameters, in the order of the columns.
            calls: At least one call.
            n_rows: Rows n.

        Returns:
            `None` where the calls cannot be cut into rows.
        """


def blocks(total: int, size: int) -> Iterator[slice]:
    """Cut rows into blocks of at most `size`."""
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


def inherits(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Return whether a module is of one of these kinds, with the kind's own forward."""
    return any(isinstance(module, kind) and type(module).forward is kind.forward for kind in kinds)


def own(module: nn.Module, *names: str) -> tuple[str, ...]:
    """Return those of `names` that are parameters of the module itself."""
    return tuple(name for name in names if module._parameters.get(name) is not None)


def by_row(value: Tensor, n_rows: int, axes: int) -> Tensor | None:
    """Return `(n, tokens, ...)`, the last `axes` axes kept; `None` where rows cannot be told."""
    lead = value.shape[: value.ndim - axes]
    if not lead or lead[0] % n_rows:
        return None
    return value.reshape(n_rows, -1, *value.shape[value.ndim - axes :])


def register_layer(kind: LayerKind) -> None:
    """Let tangents factor a further kind of layer; it comes before those that are built in.

    Args:
        kind: Yours.

    Raises:
        ArgumentError: Not a `LayerKind`.
    """
    if not isinstance(kind, LayerKind):
        raise ArgumentError(f"register_layer: kind must be a LayerKind; got {kind!r}")
    if kind not in _OURS:
        _OURS.insert(0, kind)


@cache
def _built_in() -> tuple[LayerKind, ...]:
    found = members("trivium.kernel", LayerKind)  # type: ignore[type-abstract]
    return tuple(kind for member in found for kind in member.examples())


def kind_of(module: nn.Module) -> tuple[LayerKind | None, tuple[str, ...]]:
    """Return the kind of a module and the parameters that the kind explains."""
    if not module._parameters:
        return None, ()
    for kind in (*_OURS, *_built_in()):
        names = kind.claims(module)
        if names:
            return kind, names
    return None, ()


def gathered(parts: Sequence[Tensor]) -> Tensor:
    """Put the columns of several parameters one after the other."""
    flat = [part.flatten(1) for part in parts]
    return flat[0] if len(flat) == 1 else torch.cat(flat, 1)


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Put the tokens of several calls one after the other."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), 1)
