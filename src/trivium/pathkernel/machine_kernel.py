"""The kernel that a network, a recording or a kernel stands for."""

from typing import Any

from torch import nn

from trivium._core.errors import ArgumentError
from trivium.pathkernel.machine_gram import RowKernel
from trivium.pathkernel.path_kernel import PathKernel
from trivium.pathkernel.recording import Recording

__all__ = ["as_row_kernel"]


def as_row_kernel(kernel: Any) -> RowKernel:
    """Return the kernel that a network, a recording or a kernel stands for.

    Raises:
        ArgumentError: None of them.
    """
    if isinstance(kernel, nn.Module):
        return PathKernel.at(kernel)
    if isinstance(kernel, Recording):
        return PathKernel.along(kernel)
    if not (
        callable(getattr(kernel, "gram", None)) and callable(getattr(kernel, "diagonal", None))
    ):
        raise ArgumentError(
            "KernelMachine: kernel must be a PathKernel, a kernel, a network or a recording; "
            f"got {type(kernel).__name__}"
        )
    return kernel
