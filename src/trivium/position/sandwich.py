"""Sandwich: inner products of sinusoids as a bias."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError
from trivium.position.base import Offset

__all__ = ["Sandwich"]


class Sandwich(Offset):
    r"""Inner products of sinusoidal codes, at a scale of each head: nothing to learn.

    $\frac{H}{8h} \sum_{k=0}^{\bar d / 2 - 1} (\cos((i - j)\, 10000^{-2k / \bar d}) - 1)$ for the
    heads h = 1 … H. The 1, which softmax does not see, keeps narrow dtypes exact near the query.

    Args:
        n_heads: Heads H.
        d_code: Dimension $\bar d$ of the codes, even.

    Raises:
        ArgumentError: A size that is not positive, or an odd dimension.

    Cost:
        O((h + d) (n + t)) for consecutive positions and codes of dimension d.

    Example:
        >>> bias = Sandwich(n_heads=8, d_code=2)  # one cosine, scales 1, 1/2, ... 1/8
        >>> bias.curve(torch.tensor([1]))[0, :2].exp()
        tensor([0.6315, 0.7947], dtype=torch.float64)

    Source:
        Chi et al., Dissecting Transformer Length Extrapolation via the Lens of Receptive Field
        Analysis, ACL (2023), eq. 6 and the listing in its appendix.
    """

    def __init__(self, n_heads: int, d_code: int = 128) -> None:
        super().__init__()
        self.n_heads = int(check_number("Sandwich", "n_heads", n_heads, "positive", integer=True))
        self.d_code = int(check_number("Sandwich", "d_code", d_code, "positive", integer=True))
        if self.d_code % 2:
            raise ArgumentError(f"Sandwich: d_code must be even; got {d_code}")

    @classmethod
    def examples(cls) -> Sequence["Sandwich"]:
        """Return a small instance."""
        return (cls(2, 8),)

    def curve(self, r: Int[Tensor, "*r"]) -> Float[Tensor, "*r h"]:
        """Return the bias at each offset, 0 at the query and less elsewhere."""
        r = r.double()
        code = torch.zeros_like(r)
        for k in range(self.d_code // 2):  # one frequency at a time: no vector for each pair
            # cos x − 1 by half the angle, which does not cancel.
            code = code - 2 * (r * (0.5 * 10_000 ** (-2 * k / self.d_code))).sin().square()
        heads = torch.arange(1, self.n_heads + 1, dtype=r.dtype, device=r.device)
        return code[..., None] * (self.n_heads / (8 * heads))

    def extra_repr(self) -> str:
        """Say the sizes."""
        return f"n_heads={self.n_heads}, d_code={self.d_code}"
