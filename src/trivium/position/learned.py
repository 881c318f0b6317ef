"""A learned vector for each position; two levels of it reach the square of the table."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import embedding

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError
from trivium.position.base import Added
from trivium.position.tabulated import check_places, positive_sizes

__all__ = ["Learned"]


class Learned(Added):
    r"""A learned vector for each position, $p_k \sim N(0, 0.02^2)$ before training.

    With a hierarchy a, n rows serve n² positions: $u_k = (p_k - a\,p_0) / (1 - a)$ and
    $q_{k n + l} = a\,u_k + (1 - a)\,u_l$, so that $q_l = p_l$ below n and a trained table goes on.

    Args:
        max_length: Rows n of the table, and positions where there is no hierarchy.
        d_model: Width of the vectors.
        hierarchy: a, usually 0.4; with ½ the positions k n + l and l n + k would be one.
        merge: As in `Added`.

    Raises:
        ArgumentError: A size that is not positive, a hierarchy outside of (0, 1) or ½; when
            called, a position past the table.

    Cost:
        O(n m) time; max_length · m parameters.

    Example:
        >>> Learned(4, 8, hierarchy=0.4).vectors(torch.arange(16)).shape
        torch.Size([16, 8])

    Source:
        Gehring et al., Convolutional Sequence to Sequence Learning, ICML (2017), section 3.1;
        Devlin et al., BERT, NAACL (2019), for the initial values; Su, Hierarchical decomposition
        of position encodings (2020), for the hierarchy.
    """

    def __init__(
        self,
        max_length: int,
        d_model: int,
        hierarchy: float | None = None,
        *,
        merge: str = "add",
    ) -> None:
        super().__init__(merge)
        sizes = positive_sizes("Learned", max_length=max_length, d_model=d_model)
        self.max_length, self.d_model = sizes
        self.hierarchy = None if hierarchy is None else _hierarchy(hierarchy)
        self.weight = nn.Parameter(torch.randn(sizes) * 0.02)

    @classmethod
    def examples(cls) -> Sequence["Learned"]:
        """Return small instances: one level, multiplied, two levels."""
        return (cls(24, 8), cls(24, 8, merge="multiply"), cls(5, 8, hierarchy=0.4))

    @property
    def limit(self) -> int:
        """Positions that it has: n, or n² with a hierarchy."""
        return self.max_length if self.hierarchy is None else self.max_length**2

    def vectors(self, i: Int[Tensor, "*b n"]) -> Float[Tensor, "*b n m"]:
        """Return the vectors of positions i.

        Raises:
            ArgumentError: A position past the table.
        """
        check_places("Learned", i, self.limit)
        if self.hierarchy is None:
            return embedding(i, self.weight)
        a, n = self.hierarchy, self.max_length
        u = (self.weight - a * self.weight[:1]) / (1 - a)
        return a * embedding(i // n, u) + (1 - a) * embedding(i % n, u)

    def extra_repr(self) -> str:
        """Say the sizes."""
        sizes = f"max_length={self.max_length}, d_model={self.d_model}"
        return sizes if self.hierarchy is None else f"{sizes}, hierarchy={self.hierarchy}"


def _hierarchy(hierarchy: float) -> float:
    a = float(check_number("Learned", "hierarchy", hierarchy, "in (0, 1)"))
    if a == 0.5:
        raise ArgumentError(
            "Learned: hierarchy must not be 0.5, where positions k n + l and l n + k have the "
            "same vector; got 0.5",
            remedy="Take 0.4.",
        )
    return a
