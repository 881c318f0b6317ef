"""Laws that every feature map of linear attention keeps, alone and in a layer."""

from collections.abc import Callable

import torch
from torch import Tensor

from trivium.attention.features import AttentionFeatures
from trivium.attention.linear_layer import LinearAttention
from trivium.testing.attention_laws import check_attention

__all__ = ["ATTENTION_FEATURE_LAWS", "check_attention_features"]

Law = Callable[[AttentionFeatures, Tensor], None]
_EXACT = 1e-12


def width_is_declared(phi: AttentionFeatures, x: Tensor) -> None:
    """Features have the axes of the rows, and as many features as `width` says."""
    found, wanted = tuple(phi(x).shape), (*x.shape[:-1], phi.width(x.shape[-1]))
    if found != wanted:
        raise AssertionError(f"features have the shape {found}, not {wanted}")


def rows_alone(phi: AttentionFeatures, x: Tensor) -> None:
    """A row is mapped without looking at the others."""
    gap = float((phi(x[1:2, :, 2:3]) - phi(x)[1:2, :, 2:3]).detach().abs().max())
    if not gap <= _EXACT:
        raise AssertionError(f"a row alone is mapped otherwise, by {gap:.3g}")


def queries_are_scaled(phi: AttentionFeatures, x: Tensor) -> None:
    """`queries` gives the features up to one positive factor for each row."""
    features, found = phi(x).detach(), phi.queries(x).detach()
    known = features != 0
    ratio = torch.where(known, found / features, torch.nan)
    if bool((found[~known] != 0).any()) or bool((ratio[known] <= 0).any()):
        raise AssertionError("queries change a feature by more than a positive factor")
    spread = ratio.nan_to_num(nan=-torch.inf).amax(-1) / ratio.nan_to_num(nan=torch.inf).amin(-1)
    gap = float((spread[known.any(-1)] - 1).abs().max())
    if not gap <= 1e-9:
        raise AssertionError(f"queries scale the features of one row by factors {gap:.3g} apart")


def weights_are_positive(phi: AttentionFeatures, x: Tensor) -> None:
    """Where it is declared, no weight is negative."""
    if phi.positive:
        least = float((phi(x) @ phi(1.5 * x.flip(2)).mT).detach().min())
        if not least >= 0:
            raise AssertionError(f"declared positive, but a weight is {least:.3g}")


def derivative_is_known(phi: AttentionFeatures, x: Tensor) -> None:
    """A pointwise map knows its derivative from its features."""
    if not phi.pointwise:
        return
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(phi(leaf).sum(), leaf)
    gap = float((phi.derivative(phi(x)) - slope).detach().abs().max())
    if not gap <= 1e-9:
        raise AssertionError(f"the derivative is off by {gap:.3g}")


def layer_keeps_the_laws(phi: AttentionFeatures, x: Tensor) -> None:
    """Linear attention with the map is an attention layer, causal and not."""
    n_heads, head_dim = x.shape[1], x.shape[-1]
    for causal in (True, False):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            layer = LinearAttention(n_heads * head_dim, n_heads, feature_map=phi, causal=causal)
        check_attention(layer)


ATTENTION_FEATURE_LAWS: tuple[Law, ...] = (
    width_is_declared,
    rows_alone,
    queries_are_scaled,
    weights_are_positive,
    derivative_is_known,
    layer_keeps_the_laws,
)


def check_attention_features(phi: AttentionFeatures, n_heads: int = 2, head_dim: int = 4) -> None:
    """Hold a feature map of attention to every law in `ATTENTION_FEATURE_LAWS`.

    The map is judged in float64; it is made so, and is so afterwards.

    Args:
        phi: An instance.
        n_heads: Heads that it serves.
        head_dim: Their dimension.

    Raises:
        AssertionError: A law is broken; the message names the law and the figure.

    Example:
        >>> from trivium.attention import Taylor2
        >>> check_attention_features(Taylor2())
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, n_heads, 20, head_dim, generator=generator, dtype=torch.float64)
    phi.double()
    for law in ATTENTION_FEATURE_LAWS:
        try:
            law(phi, x)
        except AssertionError as error:
            raise AssertionError(f"law {law.__name__}: {phi!r}: {error}") from error
