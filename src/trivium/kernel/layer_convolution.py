"""Convolutions: linear layers on patches, one token for each place of the output."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from trivium.kernel.layer import Call, LayerKind, LayerTangents, blocks, inherits, own
from trivium.kernel.layer_dense import DenseTangents
from trivium.kernel.layer_linear import OuterTangents

__all__ = ["ConvolutionLayer"]

_KINDS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_PATCHES = 2**24  # bytes of patches that are written out at once


@dataclass(frozen=True)
class ConvolutionLayer(LayerKind):
    """`nn.Conv1d`, `nn.Conv2d` and `nn.Conv3d`, with any stride, padding, dilation and groups.

    Example:
        >>> ConvolutionLayer().claims(nn.Conv2d(3, 8, 5))
        ('weight', 'bias')
    """

    @classmethod
    def examples(cls) -> Sequence["ConvolutionLayer"]:
        """Return the one instance."""
        return (cls(),)

    def layers(self) -> Sequence[tuple[nn.Module, Tensor]]:
        """Return small layers with an input of a few rows."""
        draw = torch.Generator().manual_seed(0)
        x = torch.randn(5, 4, 7, 6, 3, generator=draw, dtype=torch.float64)
        images, series = x[..., 0], x[..., 0, 0]
        return (
            (nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2).double(), series),
            (nn.Conv1d(4, 8, 7, bias=False).double(), series),
            (nn.Conv2d(4, 3, (3, 2), padding="same", dilation=(1, 2)).double(), images),
            (
                nn.Conv2d(4, 6, 3, stride=(2, 1), padding=(2, 1), padding_mode="reflect").double(),
                images,
            ),
            (nn.Conv2d(4, 4, 3, padding=1, groups=4, padding_mode="circular").double(), images),
            (nn.Conv2d(4, 12, (7, 5), padding="valid").double(), images),
            (nn.Conv3d(4, 2, (2, 3, 2), padding=(1, 0, 1), dilation=(2, 1, 1)).double(), x),
        )

    def claims(self, module: nn.Module) -> tuple[str, ...]:
        """Return the module's parameters that this kind explains."""
        return own(module, "weight", "bias") if inherits(module, *_KINDS) else ()

    def factor(
        self, module: nn.Module, names: Sequence[str], calls: Sequence[Call], n_rows: int
    ) -> LayerTangents | None:
        """Return the per-row gradients, summed over the calls.

        They stay factored only where that takes less memory than the gradients themselves.
        """
        assert isinstance(module, _KINDS)  # claimed
        total: Tensor | None = None
        for call in calls:
            if call.gradient.ndim != module.weight.ndim or len(call.gradient) % n_rows:
                return None
            parts = _factored(module, names, call, n_rows)
            if isinstance(parts, OuterTangents) and len(calls) == 1:
                return parts
            dense = parts.dense()
            total = dense if total is None else total + dense
        return None if total is None else DenseTangents(total)


def _factored(module: nn.Module, names: Sequence[str], call: Call, n_rows: int) -> LayerTangents:
    """Return one call's gradients, patches written out for a block of rows at a time."""
    assert isinstance(module, _KINDS)
    e = call.gradient.flatten(2)  # (n k, d_out, places)
    groups, places = module.groups, e.shape[2]
    n_calls = len(e) // n_rows
    e = e.reshape(n_rows, n_calls, groups, -1, places).permute(0, 2, 1, 4, 3).flatten(2, 3)
    x = call.kept.to(e.dtype).reshape(n_rows, n_calls, *call.kept.shape[1:])
    d_in = module.weight[0].numel()
    one = e.element_size() * groups * n_calls * places * d_in
    size = max(1, _PATCHES // max(1, one))

    def part(b: slice) -> OuterTangents:
        patches = _patches(module, x[b].flatten(0, 1))
        patches = patches.unflatten(0, (-1, n_calls)).movedim(2, 1).flatten(2, 3)
        return OuterTangents(patches, e[b], tuple(names))

    if module.weight.numel() > groups * n_calls * places * (d_in + e.shape[3]):
        return part(slice(None))
    return DenseTangents(torch.cat([part(b).dense() for b in blocks(n_rows, size)]))


def _patches(module: nn.Module, x: Tensor) -> Tensor:
    """Return `(n, groups, places, d_in)`, in the order of the weight's axes."""
    assert isinstance(module, _KINDS)
    axes = len(module.kernel_size)
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    padding = _padding(module)
    if any(padding):
        x = functional.pad(x, padding, mode=mode)
    for axis in range(axes):
        reach = module.dilation[axis] * (module.kernel_size[axis] - 1) + 1
        x = x.unfold(2 + axis, reach, module.stride[axis])[..., :: module.dilation[axis]]
    x = x.unflatten(1, (module.groups, -1))  # (n, groups, d, places..., kernel...)
    order = (0, 1, *range(3, 3 + axes), 2, *range(3 + axes, 3 + 2 * axes))
    return x.permute(order).flatten(2, 1 + axes).flatten(3)


def _padding(module: nn.Module) -> list[int]:
    """Return the padding of each side, the last axis first, as `functional.pad` wants it."""
    assert isinstance(module, _KINDS)
    sides: list[tuple[int, int]] = []
    for axis, size in enumerate(module.kernel_size):
        if module.padding == "same":
            total = module.dilation[axis] * (size - 1)
            sides.append((total // 2, total - total // 2))
        elif module.padding == "valid":
            sides.append((0, 0))
        else:
            sides.append((int(module.padding[axis]), int(module.padding[axis])))
    return [one for side in reversed(sides) for one in side]
