"""Which samples were drawn together, and what stands at the middle: asked by the baselines."""

from functools import singledispatch
from typing import Any

from torch.distributions import Distribution

__all__ = ["group_size", "middle"]


@singledispatch
def group_size(distribution: Distribution) -> int:
    """Return how many consecutive samples are drawn together; a baseline leaves all of them out."""
    return 1


@singledispatch
def middle(distribution: Distribution, name: str) -> Any:
    """Return one sample at the `"mode"` or the `"mean"`, without a gradient.

    Raises:
        NotImplementedError: The distribution has none.
    """
    return getattr(distribution, name).detach()[None]
