"""Complex words: amplitudes, and phases that turn with the position."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from trivium._core.errors import ArgumentError, ShapeError
from trivium.kernel.spectral import Geometric, Trained, cos_sin
from trivium.position.base import Position
from trivium.position.tabulated import positive_sizes

__all__ = ["ComplexEmbedding", "ComplexOrder"]


class ComplexOrder(Position):
    r"""Tokens as complex amplitudes, turned by their position: $r_j\,e^{i(\omega_j k + \phi_j)}$.

    The first half of a token are real parts and the second imaginary parts, before and after. The
    frequencies ω are learned for each dimension, from $10000^{-2t/D}$, and the phases φ, from
    U(0, 2π). For frequencies and phases of each word's own take a `ComplexEmbedding`, which needs
    the words' numbers.

    Args:
        d_model: Width D of the tokens, even: D/2 complex numbers.

    Raises:
        ArgumentError: A width that is not positive and even.

    Cost:
        O(n D) time.

    Example:
        >>> x = torch.randn(1, 5, 8)
        >>> turned = ComplexOrder(8).embed(x, torch.arange(5))
        >>> torch.allclose(turned.norm(dim=-1), x.norm(dim=-1))
        True

    Source:
        Wang et al., Encoding Word Order in Complex Embeddings, ICLR (2020), eq. 4, with
        frequencies and phases shared by words.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = _even("ComplexOrder", d_model)
        half = self.d_model // 2
        self.frequencies = Trained(Geometric().frequencies(half))
        self.phases = nn.Parameter(2 * torch.pi * torch.rand(half))

    @classmethod
    def examples(cls) -> Sequence["ComplexOrder"]:
        """Return a small instance."""
        return (cls(8),)

    def embed(self, x: Float[Tensor, "b n m"], i: Int[Tensor, "*b n"]) -> Float[Tensor, "b n m"]:
        """Return the tokens turned by ω k + φ."""
        cos, sin = cos_sin(i, self.frequencies(), x.dtype)
        c, s = self.phases.to(x.dtype).cos(), self.phases.to(x.dtype).sin()
        cos, sin = cos * c - sin * s, sin * c + cos * s
        real, imaginary = x.chunk(2, -1)
        return torch.cat((real * cos - imaginary * sin, real * sin + imaginary * cos), -1)


class ComplexEmbedding(nn.Module):
    r"""An embedding of words that knows their order: $r_j\,e^{i(\omega_j k + \phi_j)}$ of each.

    Every word and dimension has an amplitude, a frequency and a phase; the output is
    $[r \cos, r \sin]$. $\omega = \theta_t\,(1 + \delta)$ with $\theta_t = 10000^{-2t/D}$ and a
    learned δ from 0, so that offsets mean the same for all words at first. The published table
    starts from θ times the number of the word: beyond a few words a position then turns by many
    whole circles, and neighbors are as far apart as strangers (aliasing).

    Args:
        n_words: Words.
        d_model: Width D of the output, even.

    Raises:
        ArgumentError: A size that is not positive, or an odd width.

    Cost:
        O(b n D) time; 3 · n_words · D/2 parameters.

    Example:
        >>> words = ComplexEmbedding(100, 8)
        >>> words(torch.tensor([[5, 7, 5]])).shape
        torch.Size([1, 3, 8])

    Source:
        Wang et al., Encoding Word Order in Complex Embeddings, ICLR (2020), eq. 4.
    """

    theta: Tensor

    def __init__(self, n_words: int, d_model: int) -> None:
        super().__init__()
        (self.n_words,) = positive_sizes("ComplexEmbedding", n_words=n_words)
        self.d_model = _even("ComplexEmbedding", d_model)
        size = (self.n_words, self.d_model // 2)
        # A plain tensor: a buffer would be rounded with the layer.
        self.theta = Geometric().frequencies(size[1])
        self.amplitudes = nn.Parameter(torch.randn(size))
        self.shifts = nn.Parameter(torch.zeros(size))
        self.phases = nn.Parameter(2 * torch.pi * torch.rand(size))

    def forward(
        self, words: Int[Tensor, "b n"], positions: Int[Tensor, "*b n"] | None = None
    ) -> Float[Tensor, "b n m"]:
        """Return the words at their positions.

        Args:
            words: Their numbers.
            positions: `(n)` or `(b, n)`; from 0 by default.

        Raises:
            ArgumentError: Words that are no whole numbers.
            ShapeError: Positions of another shape.
        """
        given: Any = words
        if not isinstance(given, Tensor) or given.dtype not in (torch.int32, torch.int64):
            got = given.dtype if isinstance(given, Tensor) else repr(given)
            raise ArgumentError(f"ComplexEmbedding: words must be whole numbers; got {got}")
        n = words.shape[-1]
        at = torch.arange(n, device=words.device) if positions is None else positions
        if at.shape not in ((n,), words.shape):
            raise ShapeError(
                f"ComplexEmbedding: positions must have the shape {(n,)} or {tuple(words.shape)}; "
                f"got {tuple(at.shape)}"
            )
        r, shift, phase = (
            nn.functional.embedding(words, table)
            for table in (self.amplitudes, self.shifts, self.phases)
        )
        omega = self.theta.to(words.device) * (1 + shift.double())
        angle = omega * at[..., None] + phase
        return torch.cat((r * angle.cos().to(r.dtype), r * angle.sin().to(r.dtype)), -1)


def _even(caller: str, d_model: int) -> int:
    (d,) = positive_sizes(caller, d_model=d_model)
    if d % 2:
        raise ArgumentError(f"{caller}: d_model must be even, two for a complex number; got {d}")
    return d
