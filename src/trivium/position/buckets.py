"""T5: a learned bias for each bucket of distances, buckets that widen with the distance."""

from bisect import bisect_left
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError
from trivium.position.base import Offset

__all__ = ["Buckets"]


class Buckets(Offset):
    r"""T5's bias: a number for each head and bucket of the offset $\rho = j - i$.

    Bidirectional: $N' = N / 2$ buckets a side, those of $\rho > 0$ begin at $N'$, and
    $m = |\rho|$. Causal: $N' = N$ and $m = \max(-\rho, 0)$. With $E = \lfloor N' / 2 \rfloor$,
    the bucket is m itself below E, and
    $\min(N' - 1, E + \lfloor (N' - E) \ln(m / E) / \ln(M / E) \rfloor)$ from there on, in whole
    numbers: no logarithm is rounded.

    Args:
        n_heads: Heads h.
        n_buckets: Buckets N.
        max_distance: Distance M from which on all share a bucket.
        bidirectional: Whether later keys have buckets of their own; without, the encoding stands
            in causal layers only.
        scaled: Whether queries times keys keep their factor 1/√d. T5 has none, and draws the
            weights of its queries smaller by it.
        d_model: The table is drawn from N(0, 1 / d_model), as T5's.

    Raises:
        ArgumentError: A size that is not positive, too few buckets, or M ≤ E.

    Cost:
        O(h (n + t)) for consecutive positions.

    Example:
        >>> bias = Buckets(n_heads=2, bidirectional=False)
        >>> bias.bucket(torch.tensor([0, 15, 16, 17, 20, 127, 10_000, -3])).tolist()
        [0, 15, 16, 16, 17, 31, 31, 0]

    Source:
        Raffel et al., Exploring the Limits of Transfer Learning with a Unified Text-to-Text
        Transformer, JMLR (2020), section 2.1, and its code for the buckets.
    """

    def __init__(
        self,
        n_heads: int,
        n_buckets: int = 32,
        max_distance: int = 128,
        *,
        bidirectional: bool = True,
        scaled: bool = False,
        d_model: int = 512,
    ) -> None:
        super().__init__()
        sizes = {"n_heads": n_heads, "n_buckets": n_buckets, "max_distance": max_distance}
        h, n, m = (
            int(check_number("Buckets", name, value, "positive", integer=True))
            for name, value in sizes.items()
        )
        width = int(check_number("Buckets", "d_model", d_model, "positive", integer=True))
        self.n_heads, self.n_buckets, self.max_distance = h, n, m
        self.bidirectional, self.scaled = bool(bidirectional), bool(scaled)
        self.causal_only = not self.bidirectional
        self._side = n // 2 if self.bidirectional else n
        self._starts = _starts(self._side, m)
        self.weight = nn.Parameter(torch.randn(n, h) * width**-0.5)

    @classmethod
    def examples(cls) -> Sequence["Buckets"]:
        """Return small instances: both directions, causal, and with their factor kept."""
        return (
            cls(2, 8, 10, d_model=4),
            cls(2, 6, 9, bidirectional=False, d_model=4),
            cls(2, scaled=True, d_model=4),
        )

    def bucket(self, r: Int[Tensor, "*r"]) -> Int[Tensor, "*r"]:
        """Return the bucket of each offset r = i − j."""
        starts = torch.tensor(self._starts, dtype=r.dtype, device=r.device)
        distance = r.abs() if self.bidirectional else r.clamp(min=0)
        found = torch.bucketize(distance, starts, right=True)
        return found + self._side * (r < 0) if self.bidirectional else found

    def curve(self, r: Int[Tensor, "*r"]) -> Float[Tensor, "*r h"]:
        """Return the numbers of the bucket of each offset."""
        return nn.functional.embedding(self.bucket(r), self.weight)

    def scale(self, d: int) -> float:
        """Return 1, or 1/√d where `scaled`."""
        return super().scale(d) if self.scaled else 1.0

    def extra_repr(self) -> str:
        """Say the sizes."""
        sizes = f"n_heads={self.n_heads}, n_buckets={self.n_buckets}"
        return f"{sizes}, max_distance={self.max_distance}, bidirectional={self.bidirectional}"


def _starts(side: int, m: int) -> list[int]:
    """Return the first distance of each bucket of a side but the first, in whole numbers.

    Bucket E + k begins where (N' − E) ln(x / E) ≥ k ln(M / E), that is where
    x^(N' − E) E^k ≥ M^k E^(N' − E).
    """
    e = side // 2
    if e == 0:
        raise ArgumentError(
            "Buckets: n_buckets must be at least 2 a direction, 4 where bidirectional; "
            f"got {side} a direction"
        )
    if m <= e:
        raise ArgumentError(
            f"Buckets: max_distance must be greater than {e}, the distances that have a bucket "
            f"each; got {m}",
            remedy="Or take fewer buckets.",
        )
    starts, wide = list(range(1, e + 1)), side - e
    for k in range(1, wide):
        there = m**k * e**wide
        places = range(starts[-1], m)
        at = bisect_left(places, there, key=lambda x, k=k: x**wide * e**k)  # type: ignore[misc]
        starts.append(starts[-1] + at)
    return starts
