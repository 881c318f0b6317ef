"""Positions from the zeros at the ends of a convolution."""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

from trivium._core.eager import eager
from trivium._core.errors import ArgumentError
from trivium.position.base import Position
from trivium.position.offsets import is_run
from trivium.position.tabulated import positive_sizes

__all__ = ["ZeroPadding"]

_NOWHERE = -(1 << 40)  # farther from every position than any tap reaches


class ZeroPadding(Position):
    r"""Convolutions of the tokens, whose zeros beyond the ends tell where the ends are.

    $x + C_L(\dots \mathrm{gelu}(C_1 x))$. After L convolutions of width k the outputs of a constant
    input differ from the middle at $2 L \lfloor k/2 \rfloor$ places, and with circular padding at
    none: what is farther from both ends is not told apart. A neighbor counts only where its
    position differs by exactly its offset, so that packed documents do not see each other, and
    padding is no token. A layer with a state sees the neighbors of its own call only.

    Args:
        d_model: Width of the tokens.
        width: Tokens k that a convolution sees, odd.
        layers: Convolutions L.
        depthwise: Whether each channel has a filter of its own; else all see all.

    Raises:
        ArgumentError: A size that is not positive, or an even width.

    Cost:
        O(L n m k) time, or O(L n m² k) where not `depthwise`.

    Example:
        >>> import torch
        >>> from trivium.attention import Attention
        >>> layer = Attention(8, 2, position=ZeroPadding(8), causal=False)
        >>> layer(torch.randn(1, 5, 8)).shape
        torch.Size([1, 5, 8])

    Source:
        Islam et al., How Much Position Information Do Convolutional Neural Networks Encode?, ICLR
        (2020); Chu et al., Conditional Positional Encodings for Vision Transformers, ICLR (2023),
        section 3.2, for x plus a convolution by channels.
    """

    bidirectional_only = True
    mixing = True

    def __init__(
        self, d_model: int, width: int = 3, layers: int = 1, *, depthwise: bool = True
    ) -> None:
        super().__init__()
        d, k, n = positive_sizes("ZeroPadding", d_model=d_model, width=width, layers=layers)
        if k % 2 == 0:
            raise ArgumentError(
                f"ZeroPadding: width must be odd, as many neighbors on both sides; got {width}"
            )
        self.d_model, self.reach = d, k // 2
        groups = d if depthwise else 1
        self.convolutions = nn.ModuleList(
            nn.Conv1d(d, d, k, padding=self.reach, groups=groups) for _ in range(n)
        )

    @classmethod
    def examples(cls) -> Sequence["ZeroPadding"]:
        """Return small instances: one convolution by channels, two full ones."""
        return (cls(8), cls(8, 5, 2, depthwise=False))

    def embed(self, x: Float[Tensor, "b n m"], i: Int[Tensor, "*b n"]) -> Float[Tensor, "b n m"]:
        """Return the tokens and what their neighbors say; negative positions are padding."""
        if is_run(i) and not _may_be_padding(i):
            return x + self._stack(x, None)
        i = i.expand(x.shape[:2])
        if not _may_be_padding(i):
            return x + self._stack(x, i)
        # Padding goes to the end, so that tokens on both sides of it are neighbors.
        order = (i < 0).int().argsort(stable=True, dim=-1)
        back = order.argsort(-1)[..., None].expand_as(x)
        found = self._stack(x.take_along_dim(order[..., None], 1), i.take_along_dim(order, 1))
        return x + found.gather(1, back)

    def _stack(self, x: Tensor, i: Tensor | None) -> Tensor:
        for layer, convolution in enumerate(self._convolutions()):
            x = gelu(x) if layer else x
            x = convolution(x.mT).mT if i is None else self._by_position(convolution, x, i)
        return x

    def _convolutions(self) -> list[nn.Conv1d]:
        return [layer for layer in self.convolutions if isinstance(layer, nn.Conv1d)]

    def _by_position(self, convolution: nn.Conv1d, x: Tensor, i: Tensor) -> Tensor:
        """Return a convolution that sees only what stands at the right distance."""
        bias: Tensor | None = convolution.bias
        weight, reach, n = convolution.weight, self.reach, x.shape[1]
        around, places = pad(x, (0, 0, reach, reach)), pad(i, (reach, reach), value=_NOWHERE)
        out = x.new_zeros(()) if bias is None else bias
        for tap in range(2 * reach + 1):
            near = places[:, tap : tap + n] - i == tap - reach
            seen = around[:, tap : tap + n].masked_fill(~near[..., None], 0)
            by_channel = weight.shape[1] == 1
            out = out + (seen * weight[:, 0, tap] if by_channel else seen @ weight[..., tap].mT)
        return out


def _may_be_padding(i: Tensor) -> bool:
    """Return whether a position is negative, or may be: a run of a traced graph is not."""
    if eager() and not i.is_meta:
        return bool((i < 0).any())
    return i.ndim == 2
