"""Feature maps that act on each coordinate: elu(x) + 1, relu, exp and x itself."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from trivium._core.eager import eager
from trivium.attention.features import AttentionFeatures

__all__ = ["Elu1", "Exp", "Identity", "Relu"]


class _Elementwise(AttentionFeatures):
    """Base of the maps with r = d."""

    pointwise: ClassVar[bool] = True

    def width(self, head_dim: int) -> int:
        """Return d."""
        return head_dim


def _elu1(x: Tensor) -> Tensor:
    return x.clamp_max(0).exp_().add_(x.clamp_min(0))


class _Elu1(torch.autograd.Function):
    """elu(x) + 1 at half the time of `elu`, keeping only the result, which attention keeps too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return exp(min(x, 0)) + max(x, 0)."""
        found = _elu1(x)
        ctx.save_for_backward(found)
        return found

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        """Return the slope times min(φ(x), 1), the derivative on both sides of zero."""
        (found,) = ctx.saved_tensors
        return found.clamp_max(1).mul_(slope)


class Elu1(_Elementwise):
    r"""$\varphi(x) = \mathrm{elu}(x) + 1$: x + 1 above zero, exp(x) below.

    Cost:
        O(s d).

    Example:
        >>> import torch
        >>> Elu1()(torch.tensor([[[-1.0, 0.0, 2.0]]]))
        tensor([[[0.3679, 1.0000, 3.0000]]])

    Source:
        Katharopoulos et al., Transformers are RNNs, ICML (2020), eq. 7.
    """

    name: ClassVar[str] = "elu1"

    @classmethod
    def examples(cls) -> Sequence["Elu1"]:
        """Return a few small instances."""
        return (cls(),)

    def forward(self, x: Float[Tensor, "*b h s d"]) -> Float[Tensor, "*b h s d"]:
        """Return φ(x)."""
        if not eager():
            return functional.elu(x) + 1
        if not torch.is_grad_enabled():
            return _elu1(x)
        return _Elu1.apply(x)  # type: ignore[no-untyped-call]

    def derivative(self, found: Float[Tensor, "*b s r"]) -> Float[Tensor, "*b s r"]:
        """Return φ′(x) from φ(x)."""
        return found.clamp_max(1)


class Relu(_Elementwise):
    r"""$\varphi(x) = \max(x, 0)$.

    A query without a positive coordinate in common with the keys has no weight at all; its
    output is zero.

    Cost:
        O(s d).

    Example:
        >>> import torch
        >>> Relu()(torch.tensor([[[-1.0, 2.0]]])).tolist()
        [[[0.0, 2.0]]]

    Source:
        Kasai et al., Finetuning Pretrained Transformers into RNNs, EMNLP (2021), section 2.2.
    """

    name: ClassVar[str] = "relu"

    @classmethod
    def examples(cls) -> Sequence["Relu"]:
        """Return a few small instances."""
        return (cls(),)

    def forward(self, x: Float[Tensor, "*b h s d"]) -> Float[Tensor, "*b h s d"]:
        """Return φ(x)."""
        return functional.relu(x)

    def derivative(self, found: Float[Tensor, "*b s r"]) -> Float[Tensor, "*b s r"]:
        """Return φ′(x) from φ(x)."""
        return (found > 0).to(found.dtype)


class Exp(_Elementwise):
    r"""$\varphi(x) = \exp(x)$, coordinate by coordinate.

    Keys above 88 overflow float32, which is reported and not passed on. Queries are shifted by
    their largest coordinate where weights are normalized.

    Cost:
        O(s d).

    Example:
        >>> import torch
        >>> Exp()(torch.zeros(1, 1, 2)).tolist()
        [[[1.0, 1.0]]]

    Source:
        Zhang et al., The Hedgehog & the Porcupine, ICLR (2024), section 3.
    """

    name: ClassVar[str] = "exp"

    @classmethod
    def examples(cls) -> Sequence["Exp"]:
        """Return a few small instances."""
        return (cls(),)

    def forward(self, x: Float[Tensor, "*b h s d"]) -> Float[Tensor, "*b h s d"]:
        """Return φ(x)."""
        return x.exp()

    def derivative(self, found: Float[Tensor, "*b s r"]) -> Float[Tensor, "*b s r"]:
        """Return φ′(x) from φ(x)."""
        return found

    def queries(self, x: Float[Tensor, "*b h s d"]) -> Float[Tensor, "*b h s d"]:
        """Return φ(x) over its largest coordinate."""
        return (x - x.detach().amax(-1, keepdim=True)).exp()


class Identity(_Elementwise):
    r"""$\varphi(x) = x$: weights qᵀk, of both signs, so they are not normalized.

    Cost:
        None.

    Example:
        >>> import torch
        >>> Identity()(torch.ones(1, 1, 2)).tolist()
        [[[1.0, 1.0]]]

    Source:
        Sun et al., Retentive Network (2023), eq. 5.
    """

    name: ClassVar[str] = "identity"
    positive = False

    @classmethod
    def examples(cls) -> Sequence["Identity"]:
        """Return a few small instances."""
        return (cls(),)

    def forward(self, x: Float[Tensor, "*b h s d"]) -> Float[Tensor, "*b h s d"]:
        """Return φ(x)."""
        return x

    def derivative(self, found: Float[Tensor, "*b s r"]) -> Float[Tensor, "*b s r"]:
        """Return ones."""
        return torch.ones_like(found)
