"""Whether the code runs as it stands, or is being traced or transformed."""

import torch


def eager() -> bool:
    """Return whether neither `torch.compile`, an export nor a transform of `torch.func` works."""
    return not (torch.compiler.is_compiling() or transformed())


def transformed() -> bool:
    """Return whether a transform of `torch.func` works."""
    return torch._C._are_functorch_transforms_active()
