"""Per-row gradients in factored form: products, Gram matrices, sums, never written out."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.checks import check_shapes
from trivium._core.errors import ArgumentError
from trivium._core.random import torch_generator
from trivium.kernel.layer import LayerTangents
from trivium.kernel.layer_dense import DenseTangents
from trivium.kernel.tangent_hash import ColumnHash
from trivium.kernel.tangent_layout import Layout

__all__ = ["Tangents"]


@dataclass(frozen=True, eq=False)
class Tangents:
    r"""Gradients $g_i$ of n row quantities with respect to all trainable parameters, factored.

    Built by `TangentTape` or `tangents_of`. One part for each layer; a parameter in no part has a
    gradient of zero.

    Args:
        layout: Where the parameters stand.
        parts: Numbers of the parameters, and their gradients.
        n_rows: Rows n.
        like: A tensor with the dtype and device of the parameters.

    Example:
        >>> from torch import nn
        >>> from trivium.kernel import tangents_of
        >>> net, x = nn.Linear(2, 1), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> found = tangents_of(net, x, lambda out: out[:, 0])
        >>> found.gram(found)
        tensor([[ 6., 12.],
                [12., 26.]])
        >>> found.combine(torch.tensor([[1.0, 1.0]]))
        tensor([[4., 6., 2.]])
    """

    layout: Layout
    parts: Sequence[tuple[tuple[int, ...], LayerTangents]]
    n_rows: int
    like: Tensor

    def rows(self, which: slice) -> "Tangents":
        """Return the gradients of some rows; `parts` that are written out are views.

        Args:
            which: Row numbers; a step other than 1 is allowed.
        """
        n_rows = len(range(self.n_rows)[which])
        parts = [(names, part.rows(which)) for names, part in self.parts]
        return Tangents(self.layout, parts, n_rows, self.like)

    def products(self, directions: Float[Tensor, "q p"]) -> Float[Tensor, "q n"]:
        r"""Return $\langle g_i, u_q \rangle$.

        Args:
            directions: u, one a row.

        Raises:
            ArgumentError: Not of the parameters' dtype.
            ShapeError: Not `(q, p)`.

        Cost:
            O(n T q p) at most, for T tokens a row; O(n (T + q) p) where T and q exceed one.
        """
        self._check("products", "directions", directions, self.layout.n_parameters)
        total = self._zeros(len(directions), self.n_rows)
        for which, part in self.parts:
            total += part.products(self.layout.columns(which, directions))
        return total

    def products_by_layer(self, directions: Float[Tensor, "q p"]) -> Float[Tensor, "l q n"]:
        """Return `products` layer by layer, in the order of `layout.layers`.

        Args:
            directions: One a row.

        Raises:
            ArgumentError: As for `products`.
            ShapeError: As for `products`.
        """
        self._check("products_by_layer", "directions", directions, self.layout.n_parameters)
        found = self._zeros(len(self.layout.layers), len(directions), self.n_rows)
        for which, part in self.parts:
            layers = sorted({self.layout.layer_of[i] for i in which})
            for layer in layers:
                chosen = directions
                if len(layers) > 1:
                    chosen = torch.zeros_like(directions)
                    own = [i for i in which if self.layout.layer_of[i] == layer]
                    self.layout.place(own, self.layout.columns(own, directions), chosen)
                found[layer] += part.products(self.layout.columns(which, chosen))
        return found

    def gram(self, other: "Tangents") -> Float[Tensor, "n m"]:
        r"""Return $\langle g_i, g'_j \rangle$, the tangent kernel between rows.

        Args:
            other: Gradients with respect to the same parameters.

        Raises:
            ArgumentError: Of another model, or another dtype or device.

        Cost:
            O(n m T T′ (d_in + d_out)) a layer, or O(n m d_in d_out) where that is less; O(n m)
            memory and blocks of a few megabytes.
        """
        self._alike(other)
        total = self._zeros(self.n_rows, other.n_rows)
        for _, part, theirs in self._pairs(other):
            part.add_gram(theirs, total)
        return total

    def dense(self) -> Float[Tensor, "n p"]:
        """Return the gradients written out.

        Cost:
            O(n p) memory: meant for few rows, or small models.
        """
        found = self._zeros(self.n_rows, self.layout.n_parameters)
        for which, part in self.parts:
            self.layout.place(which, part.dense(), found)
        return found

    def combine(self, weights: Float[Tensor, "r n"]) -> Float[Tensor, "r p"]:
        r"""Return $\sum_i w_{ri} g_i$, without writing the gradients out.

        Args:
            weights: w, one combination a row.

        Raises:
            ArgumentError: Not of the parameters' dtype.
            ShapeError: Not `(r, n)`.

        Cost:
            O(r n T p) at most, for T tokens a row.
        """
        self._check("combine", "weights", weights, self.n_rows)
        found = self._zeros(len(weights), self.layout.n_parameters)
        for which, part in self.parts:
            self.layout.place(which, part.combine(weights), found)
        return found

    def squares(self) -> Float[Tensor, " n"]:
        r"""Return $\lVert g_i \rVert^2$, the diagonal of `gram` with itself."""
        total = self._zeros(self.n_rows)
        for _, part in self.parts:
            total += part.squares()
        return total

    def sketch(self, width: int, seed: int) -> Float[Tensor, "n r"]:
        r"""Return random features whose inner products estimate `gram`, without bias.

        Args:
            width: Features r; the variance is at most $8 \lVert g_i \rVert^2
                \lVert g'_j \rVert^2 / r$.
            seed: Of the random numbers; rows that are to be compared need the same.

        Cost:
            O(n T (d_in + d_out + r log r)) a layer; memory of O(r + d_in + d_out) beside the
            result.
        """
        total = self._zeros(self.n_rows, width)
        for which, part in self.parts:
            hashes = []
            for i in which:
                draws = torch_generator(seed, "tangent sketch", self.layout.names[i])
                hashes.append(ColumnHash.draw(self.layout.shapes[i], width, draws, self.like))
            total += part.sketch(hashes)
        return total

    def written(self) -> DenseTangents:
        """Return one part for all parameters, written out."""
        return DenseTangents(self.dense())

    @property
    def nbytes(self) -> int:
        """Bytes that the factored gradients take, what parts share counted once."""
        return sum({t.data_ptr(): t.nbytes for t in _held(self.parts)}.values())

    def _pairs(
        self, other: "Tangents"
    ) -> Sequence[tuple[tuple[int, ...], LayerTangents, LayerTangents]]:
        mine, theirs = dict(self.parts), dict(other.parts)
        found = [(which, part, theirs[which]) for which, part in mine.items() if which in theirs]
        odd = self._rest(mine.keys() - theirs.keys()), other._rest(theirs.keys() - mine.keys())
        if all(part.parts for part in odd):  # a layer that was cut up in two ways
            left, right = (part.written() for part in odd)
            found.append((tuple(range(len(self.layout.names))), left, right))
        return found

    def _rest(self, keys: Collection[tuple[int, ...]]) -> "Tangents":
        parts = [(which, part) for which, part in self.parts if which in keys]
        return Tangents(self.layout, parts, self.n_rows, self.like)

    def _alike(self, other: Any) -> None:
        if not isinstance(other, Tangents):
            raise ArgumentError(f"gram: other must be Tangents; got {type(other).__name__}")
        if other.layout != self.layout:
            raise ArgumentError(
                f"gram: other must be of the same parameters, {self.layout.n_parameters} in "
                f"{len(self.layout.names)}; got {other.layout.n_parameters} in "
                f"{len(other.layout.names)}"
            )
        if other.like.dtype != self.like.dtype or other.like.device != self.like.device:
            raise ArgumentError(
                f"gram: other must be {self.like.dtype} on {self.like.device}; got "
                f"{other.like.dtype} on {other.like.device}"
            )

    def _check(self, method: str, name: str, value: Tensor, size: int) -> None:
        check_shapes(method, {name: (value, f"q {size}")})
        if value.dtype != self.like.dtype or value.device != self.like.device:
            raise ArgumentError(
                f"{method}: {name} must be {self.like.dtype} on {self.like.device}, as the "
                f"parameters are; got {value.dtype} on {value.device}"
            )

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=self.like.dtype, device=self.like.device)


def _held(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, LayerTangents):
        yield from _held(list(vars(value).values()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _held(one)
