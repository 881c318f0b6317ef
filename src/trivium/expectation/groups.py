"""Which samples were drawn together, and what stands at the middle: asked by the baselines."""

from typing import Any

from torch.distributions import Bernoulli, Distribution, Independent

from trivium._core.by_type import ByType

__all__ = ["group_size", "middle"]


@ByType
def group_size(distribution: Distribution) -> int:
    """Return how many consecutive samples are drawn together; a baseline leaves all of them out."""
    return 1


@ByType
def middle(distribution: Distribution, name: str) -> Any:
    """Return one sample at the `"mode"` or the `"mean"`, without a gradient.

    Raises:
        NotImplementedError: The distribution has none.
    """
    return getattr(distribution, name).detach()[None]


@middle.register(Bernoulli)
def _(distribution: Bernoulli, name: str) -> Any:
    # torch has no mode where both values are as likely.
    probs = distribution.probs.detach()
    return ((probs >= 0.5).to(probs) if name == "mode" else probs)[None]


@middle.register(Independent)
def _(distribution: Independent, name: str) -> Any:
    return middle(distribution.base_dist, name)
