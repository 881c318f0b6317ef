"""Whether the code runs as it stands, or is being traced or transformed."""

import torch


def eager() -> bool:
    """Return whether neither `torch.compile` nor a transform of `torch.func` is at work."""
    return not (torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active())
