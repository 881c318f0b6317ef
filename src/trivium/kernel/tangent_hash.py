"""A random feature and a random sign for each weight, as a product over a matrix's two sides."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ColumnHash"]

Side = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class ColumnHash:
    r"""Feature $h_1(i) + h_2(j) \bmod r$ and sign $s_1(i) s_2(j)$ of the weight (i, j).

    The sketch of an outer product is then the circular convolution of its sides' sketches.
    Inner products of sketches are unbiased for any two vectors u and v, with a variance of at most
    $8 \lVert u \rVert^2 \lVert v \rVert^2 / r$, whether they are sketched as factors or written
    out.

    Args:
        width: Features r.
        left: Feature and sign of each place of the first axis.
        right: Feature and sign of each place of the others together.

    Example:
        >>> ColumnHash.draw(torch.Size([3, 2]), 8, torch.Generator().manual_seed(0)).flat()[0].shape
        torch.Size([6])

    Source:
        Charikar, Chen and Farach-Colton, Finding frequent items in data streams, ICALP (2002); Pham
        and Pagh, Fast and scalable polynomial kernels via explicit feature maps, KDD (2013); Avron,
        Nguyen and Woodruff, Subspace embeddings for the polynomial kernel, NeurIPS (2014), lemma 4.
    """

    width: int
    left: Side
    right: Side

    @classmethod
    def draw(
        cls, shape: torch.Size, width: int, generator: torch.Generator, like: Tensor | None = None
    ) -> "ColumnHash":
        """Draw the hash of a parameter.

        Args:
            shape: The parameter's shape.
            width: Features.
            generator: Source of randomness, on the CPU.
            like: A tensor with the dtype and device to work in.
        """
        sides = []
        for size in (shape[0] if shape else 1, shape[1:].numel()):
            place = torch.randint(0, width, (size,), generator=generator)
            sign = torch.randint(0, 2, (size,), generator=generator) * 2.0 - 1.0
            if like is not None:
                place, sign = place.to(like.device), sign.to(like)
            sides.append((place, sign))
        return cls(width, sides[0], sides[1])

    @property
    def n_columns(self) -> int:
        """Number of weights."""
        return len(self.left[0]) * len(self.right[0])

    def flat(self) -> Side:
        """Return the feature and sign of every weight."""
        place = (self.left[0][:, None] + self.right[0]) % self.width
        return place.flatten(), (self.left[1][:, None] * self.right[1]).flatten()

    def counted(self, values: Tensor, side: Side) -> Tensor:
        """Add the last axis of `values` to its features, `(..., r)`."""
        found = values.new_zeros(*values.shape[:-1], self.width)
        return found.index_add_(-1, side[0], values * side[1])
