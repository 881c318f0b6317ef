"""Per-row gradients in factored form: products, Gram matrices, sums, never written out."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trivium._core.checks import check_shapes
from trivium._core.errors import ArgumentError
from trivium.kernel.layer import LayerTangents
from trivium.kernel.layer_dense import DenseTangents

__all__ = ["Layout", "Tangents"]


@dataclass(frozen=True)
class Layout:
    """Where each trainable parameter of a model stands in the flat vector of length p.

    Parameters are in the order of `model.named_parameters()`; a shared one counts once.

    Attributes:
        names: The parameters.
        shapes: Their shapes.
        slices: Their places.
        layers: The modules that own them, in order of appearance; a parameter of the model itself
            is a layer of its own.
        layer_of: The layer's number of each parameter.

    Example:
        >>> layout = Layout.of(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)))
        >>> layout.n_parameters, layout.layers
        (11, ('0', '1'))
    """

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    slices: tuple[slice, ...]
    layers: tuple[str, ...]
    layer_of: tuple[int, ...]

    @classmethod
    def of(cls, model: nn.Module, caller: str = "Layout") -> "Layout":
        """Return the layout of a model.

        Args:
            model: The model.
            caller: The public name that was called.

        Raises:
            ArgumentError: Not a module, nothing to train, or parameters of two dtypes or devices.
        """
        if not isinstance(model, nn.Module):
            raise ArgumentError(
                f"{caller}: model must be a torch.nn.Module; got {type(model).__name__}"
            )
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        if not named:
            raise ArgumentError(
                f"{caller}: model must have a trainable parameter; got "
                f"{type(model).__name__} with none"
            )
        kinds = {(p.dtype, p.device) for _, p in named}
        if len(kinds) > 1:
            listed = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds))
            raise ArgumentError(
                f"{caller}: trainable parameters must share one dtype and device; got {listed}"
            )
        start, slices, layer_of = 0, [], []
        layers: dict[str, int] = {}
        for name, p in named:
            slices.append(slice(start, start + p.numel()))
            start += p.numel()
            layer_of.append(layers.setdefault(name.rpartition(".")[0] or name, len(layers)))
        return cls(
            tuple(name for name, _ in named),
            tuple(p.shape for _, p in named),
            tuple(slices),
            tuple(layers),
            tuple(layer_of),
        )

    @property
    def n_parameters(self) -> int:
        """Length p of the flat vector."""
        return self.slices[-1].stop

    def columns(self, which: Sequence[int], flat: Tensor) -> Tensor:
        """Return the columns of some parameters of `(..., p)`, one after the other."""
        parts = [self.slices[i] for i in which]
        if all(a.stop == b.start for a, b in pairwise(parts)):
            return flat[..., parts[0].start : parts[-1].stop]
        return torch.cat([flat[..., part] for part in parts], -1)

    def place(self, which: Sequence[int], part: Tensor, into: Tensor) -> None:
        """Put columns of some parameters into `(..., p)`."""
        start = 0
        for one in (self.slices[i] for i in which):
            size = one.stop - one.start
            into[..., one] = part[..., start : start + size]
            start += size


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

    def _pairs(
        self, other: "Tangents"
    ) -> Sequence[tuple[tuple[int, ...], LayerTangents, LayerTangents]]:
        mine, theirs = dict(self.parts), dict(other.parts)
        found = [(which, part, theirs[which]) for which, part in mine.items() if which in theirs]
        odd = self._rest(mine.keys() - theirs.keys()), other._rest(theirs.keys() - mine.keys())
        if all(part.parts for part in odd):  # a layer that was cut up in two ways
            left, right = (DenseTangents(part.dense()) for part in odd)
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
