r"""Normalization layers: scale and shift, whose per-row gradients are $\sum_t e_t \hat x_t$.

They have a number a channel, less than the activations that they come from, so they are written
out: T multiplications a channel, where a ghost product of two rows would take T².
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trivium.kernel.layer import Call, LayerKind, LayerTangents, gathered, inherits, own
from trivium.kernel.layer_dense import DenseTangents

__all__ = ["NormLayer"]

_BATCH = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class NormLayer(LayerKind):
    """`nn.LayerNorm`, `nn.GroupNorm`, `nn.RMSNorm` and `nn.BatchNorm1d`, `2d` and `3d`.

    A batch norm in training normalizes with its batch's moments; a row's part of the batch's
    gradient is then what passes through that row's own activations.

    Example:
        >>> NormLayer().claims(nn.LayerNorm(4))
        ('weight', 'bias')
    """

    @classmethod
    def examples(cls) -> Sequence["NormLayer"]:
        """Return the one instance."""
        return (cls(),)

    def layers(self) -> Sequence[tuple[nn.Module, Tensor]]:
        """Return small layers with an input of a few rows."""
        draw = torch.Generator().manual_seed(0)
        x = torch.randn(5, 4, 3, 2, generator=draw, dtype=torch.float64)
        images = nn.BatchNorm2d(4).double()
        images.running_mean = torch.linspace(-1, 1, 4, dtype=torch.float64)
        return (
            (nn.LayerNorm(2).double(), x),
            (nn.LayerNorm((3, 2), bias=False).double(), x),
            (nn.GroupNorm(2, 4).double(), x),
            (nn.GroupNorm(1, 4).double(), x[..., 0, 0]),
            (nn.RMSNorm((3, 2)).double(), x),
            (images.eval(), x),
            (nn.BatchNorm1d(4).double().eval(), x[..., 0, 0]),
        )

    def claims(self, module: nn.Module) -> tuple[str, ...]:
        """Return the module's parameters that this kind explains."""
        ours = inherits(module, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, *_BATCH)
        return own(module, "weight", "bias") if ours else ()

    def keep(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Any:
        """Return the input, and the moments that an evaluating batch norm divides by."""
        del output
        x = args[0].detach()
        if isinstance(module, _BATCH) and not module.training and module.running_mean is not None:
            assert module.running_var is not None  # they come together
            return x, (module.running_mean.clone(), module.running_var.clone())
        return x, None

    def factor(
        self, module: nn.Module, names: Sequence[str], calls: Sequence[Call], n_rows: int
    ) -> LayerTangents | None:
        """Return the per-row gradients, summed over the calls."""
        total: Tensor | None = None
        for call in calls:
            if len(call.gradient) % n_rows:
                return None
            parts = _parts(module, names, call, n_rows)
            total = parts if total is None else total + parts
        return None if total is None else DenseTangents(total)


def _parts(module: nn.Module, names: Sequence[str], call: Call, n_rows: int) -> Tensor:
    x, moments = call.kept
    e = call.gradient
    found = {"bias": e}
    if "weight" in names:
        found["weight"] = e * _normalised(module, x, moments).to(e.dtype)
    own_axes = getattr(module, "normalized_shape", None)
    return gathered([_by_channel(found[name], n_rows, own_axes) for name in names])


def _by_channel(value: Tensor, n_rows: int, own_axes: Sequence[int] | None) -> Tensor:
    """Sum over everything but the rows and what has a parameter."""
    if own_axes is not None:
        return value.reshape(n_rows, -1, *own_axes).sum(1)
    channels = value.shape[1]
    return value.reshape(n_rows, len(value) // n_rows, channels, -1).sum((1, 3))


def _normalised(module: nn.Module, x: Tensor, moments: tuple[Tensor, Tensor] | None) -> Tensor:
    if isinstance(module, nn.LayerNorm):
        return functional.layer_norm(x, module.normalized_shape, eps=module.eps)
    if isinstance(module, nn.RMSNorm):
        return functional.rms_norm(x, module.normalized_shape, eps=module.eps)
    if isinstance(module, nn.GroupNorm):
        return functional.group_norm(x, module.num_groups, eps=module.eps)
    assert isinstance(module, _BATCH)  # claimed
    mean, var = moments or (None, None)
    return functional.batch_norm(x, mean, var, training=moments is None, eps=module.eps)
