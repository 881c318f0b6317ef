"""Whether the leading axis is the rows, found out on the first row."""

import torch
from torch import Tensor

from trivium._core.errors import ArgumentError, NumericalError
from trivium.kernel.layer_free import OwnerCall
from trivium.kernel.tangents import Tangents

__all__ = ["check_first_row", "check_quantity"]

_CLOSE = 1e-3  # rounding differs by far less, another row by far more


def check_quantity(value: Tensor, call: OwnerCall) -> None:
    """Refuse a quantity whose first number depends on other rows of the model's output.

    Args:
        value: One number a row.
        call: The model's only call.

    Raises:
        ArgumentError: It does.
    """
    outputs = [out for out in call.outputs if out.requires_grad]
    slopes = torch.autograd.grad(value[0], outputs, retain_graph=True, allow_unused=True)
    for out, slope in zip(outputs, slopes, strict=True):
        own = len(out) // len(value) if out.ndim else 0
        if slope is not None and (own == 0 or bool(slope[own:].any())):
            raise ArgumentError(
                "TangentTape: number i of a quantity must depend on row i of the model's output "
                f"only, its leading axis; got one that does not, on {tuple(out.shape)}"
            )


def check_first_row(found: Tangents, call: OwnerCall) -> None:
    """Refuse gradients whose first row is not that of the row alone.

    Args:
        found: The gradients.
        call: The model's only call.

    Raises:
        ArgumentError: They differ; the message names the parameter that differs most.
        NumericalError: One is not finite.
    """
    alone = call.first_row(found.layout.names, found.n_rows)
    if alone is None:
        return
    gap = (found.rows(slice(0, 1)).dense()[0] - alone).abs()
    scale = float(alone.abs().max()) + torch.finfo(alone.dtype).tiny
    if not bool(torch.isfinite(gap).all()):
        raise NumericalError(
            "TangentTape: gradients of the model must be finite; got one that is not"
        )
    if not float(gap.max()) <= _CLOSE * scale:
        worst = max(
            range(len(found.layout.names)), key=lambda i: float(gap[found.layout.slices[i]].max())
        )
        raise ArgumentError(
            "TangentTape: the leading axis of what each layer takes in must be the rows; the "
            f"gradient of {found.layout.names[worst]!r} is not that of the first row alone, by "
            f"{float(gap.max()) / scale:.1e} of the largest"
        )
