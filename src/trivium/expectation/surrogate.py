"""The value whose derivatives are those of the expectation, of every order."""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["surrogate"]


def surrogate(
    values: Float[Tensor, "s *lead"],
    logs: Float[Tensor, "s *lead"],
    base: Float[Tensor, "#s *lead"],
) -> Float[Tensor, "*lead"]:
    r"""Return $\frac1s \sum w f + (1 - w) b$ with $w = \exp(l - \mathrm{stop}(l))$.

    w is 1 and its derivatives are those of $p_\theta(z) / p_{\theta_0}(z)$ at $\theta_0$. A
    baseline that learns is fitted along: the squared error is added, less itself.

    Args:
        values: f of each sample.
        logs: Logarithm of what each sample weighs, up to a constant.
        base: b, which may not depend on the sample that it is for.

    Source: Foerster et al., DiCE (2018); Mao et al. (2019).
    """
    # As f + (w - 1) (f - b): the value is f to the last bit, in fewer passes.
    change = torch.expm1(logs - logs.detach())
    found = torch.addcmul(values, change, values - base.detach()).mean(0)
    if not base.requires_grad:
        return found
    error = (base - values.detach()).square().mean(0)
    return found + error - error.detach()
