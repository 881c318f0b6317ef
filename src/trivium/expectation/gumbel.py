"""Gumbel noise: exact draws of a categorical as an argmax, and the noise behind a given draw."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Size, Tensor
from torch.nn.functional import logsigmoid

from trivium._core.checks import looks_finite
from trivium._core.errors import ArgumentError, ShapeError

__all__ = ["check_logits", "gumbel_given", "gumbel_keys", "gumbel_max", "gumbel_noise"]


def gumbel_noise(shape: Size | tuple[int, ...], like: Tensor) -> Tensor:
    r"""Draw $-\log E$, E exponential: finite, and fine where the maximum is decided.

    Args:
        shape: Shape of the noise.
        like: Gives the device, and float64 where it has it; else the noise is float32, as in half
            precision ties would be common (one in nine among 1,000 equal logits in bfloat16).

    Returns:
        Values between -2.9 and 34 (-3.7 and 38 in float64).

    Cost: O(numel), two uniform draws each in float32.
    """
    if like.dtype == torch.float64:
        u, least, bits = torch.rand(shape, dtype=torch.float64, device=like.device), 54, 53
    else:
        u = torch.rand(shape, dtype=torch.float32, device=like.device)
        # A large value is a small u, where the steps of one uniform draw, 2⁻²⁴, would show.
        u = u + torch.rand(shape, dtype=torch.float32, device=like.device) * 2.0**-24
        least, bits = 49, 24
    return -torch.log(-torch.log1p(-u.clamp(2.0**-least, 1 - 2.0**-bits)))


def gumbel_keys(
    logits: Float[Tensor, "*batch n"], sample_shape: tuple[int, ...] = ()
) -> Float[Tensor, "*drawn n"]:
    r"""Return $o_i + g_i$: sorted downwards, a draw without replacement.

    The largest is a draw from softmax(o), the k largest are k draws without replacement. The noise
    is in double precision whatever the logits are: in single precision two of 100,000 keys tie at
    the top with a probability of about half a percent.

    Args:
        logits: o; -inf is never drawn.
        sample_shape: Shape of independent draws.

    Returns:
        Keys in double precision, `(*sample_shape, *batch, n)`.

    Cost: O(n) time a draw.

    Source: Yellott, J. Math. Psychology 15 (1977); Kool, van Hoof and Welling, Stochastic beams and
        where to find them (2019).
    """
    raised = logits.double()
    return raised + gumbel_noise((*sample_shape, *raised.shape), raised)


def gumbel_max(
    logits: Float[Tensor, "*batch k"], shape: Size | tuple[int, ...] = ()
) -> Int[Tensor, "*draws"]:
    r"""Draw $\arg\max_i(o_i + g_i)$, exactly a draw from softmax(o).

    Args:
        logits: o, normalized or not; -inf is never drawn.
        shape: Shape of the draws in front of the batch.

    Returns:
        Indices, `(*shape, *batch)`.

    Raises:
        ArgumentError: A row is fully masked (all -inf), or has NaN or +inf (not seen inside
            `torch.func.vmap` and `torch.compile`, where values cannot be read).
        ShapeError: No axis of categories.

    Cost: O(k) for each draw.

    Example:
        >>> import torch
        >>> gumbel_max(torch.tensor([-torch.inf, 3.0]), (4,))
        tensor([1, 1, 1, 1])

    Source: Gumbel (1954); Maddison, Tarlow and Minka, A* sampling (2014).
    """
    check_logits("gumbel_max", logits, values=False)
    with torch.no_grad():
        perturbed = logits + gumbel_noise((*shape, *logits.shape), logits)
    if not looks_finite(perturbed.amax(-1)):
        check_logits("gumbel_max", logits)
    return perturbed.argmax(-1)


def gumbel_given(
    logits: Float[Tensor, "*batch k"],
    drawn: Int[Tensor, "*draws"],
    shape: Size | tuple[int, ...] = (),
) -> Float[Tensor, "*draws_k"]:
    r"""Draw the perturbed logits $o + g$ given their argmax, reparameterized in o.

    With E exponential and $Z = \sum_j e^{o_j}$ the maximum is $-\log E_d + \log Z$ and each other
    one $-\log(E_j e^{-o_j} + E_d / Z)$. Drawn after `gumbel_max`, they are distributed as fresh
    perturbed logits.

    Args:
        logits: o.
        drawn: The argmax of each draw, `(*s, *batch)`.
        shape: Shape in front of it: several for each.

    Returns:
        `(*shape, *drawn.shape, k)`; -inf where o is.

    Raises:
        ArgumentError: As `gumbel_max`.
        ShapeError: As `gumbel_max`.

    Cost: O(k) for each draw.

    Example:
        >>> import torch
        >>> perturbed = gumbel_given(torch.zeros(3), torch.tensor(2), (5,))
        >>> perturbed.argmax(-1)
        tensor([2, 2, 2, 2, 2])

    Source: Maddison, Tarlow and Minka (2014); in this form Paulus, Maddison and Krause (2021),
        equation 8; Tucker et al., REBAR (2017), appendix C.
    """
    check_logits("gumbel_given", logits)
    noise = gumbel_noise((*shape, *drawn.shape, logits.shape[-1]), logits)
    raised = logits.to(noise.dtype)
    masked = raised == -torch.inf
    place = drawn.expand(noise.shape[:-1])[..., None]
    top = noise.gather(-1, place) + raised.logsumexp(-1, keepdim=True)
    # Any number will do where it is masked again below: the gradient there must not be NaN.
    others = _least_of_two(raised.masked_fill(masked, 0.0) + noise, top)
    # Rounding may lift another to the maximum, never above it.
    found = others.scatter(-1, place, top)
    return found.masked_fill(masked, -torch.inf)


def _least_of_two(a: Tensor, b: Tensor) -> Tensor:
    r"""Return $-\log(e^{-a} + e^{-b})$, with a second derivative where they are far apart.

    That of `torch.logaddexp` is NaN from a difference of 89 on in single precision.
    """
    gap = a - b
    return torch.where(gap < 0, a + logsigmoid(-gap), b + logsigmoid(gap))


def check_logits(caller: str, logits: Any, least: int = 1, *, values: bool = True) -> None:
    """Refuse logits that no draw can be made from, naming the first row.

    Args:
        caller: Name for the error.
        logits: Of the categories, `(*batch, k)`.
        least: Fewest that must be above -inf in each row.
        values: Whether to look at the values too; they are not seen inside `torch.func.vmap` and
            `torch.compile`.

    Raises:
        ArgumentError: No tensor of real numbers; or a row with NaN or +inf, or with fewer than
            `least` above -inf.
        ShapeError: No axis of categories.
    """
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        got = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
        raise ArgumentError(f"{caller}: logits must be a tensor of real numbers; got {got}")
    if not logits.ndim or not logits.shape[-1]:
        raise ShapeError(
            f"{caller}: logits must have shape (*batch, n) with n at least 1; "
            f"got {tuple(logits.shape)}"
        )
    if not values or (least == 1 and looks_finite(logits.amax(-1))):
        return
    known = logits.detach()
    top, count = known.amax(-1), known.isfinite().sum(-1)
    short = torch.where((top < torch.inf) & (count >= least), 0.0, torch.nan)
    if looks_finite(short):
        return
    row = tuple(int(i) for i in short.isnan().nonzero()[0])
    found = f"{int(count[row])} above it"
    if not float(top[row]) < torch.inf:
        # A fully masked row is NaN once it is normalized.
        found = "+inf" if float(top[row]) == torch.inf else "NaN (also: masked, then normalized)"
    raise ArgumentError(
        f"{caller}: logits must have at least {least} of {logits.shape[-1]} entries above -inf, "
        f"and no NaN or +inf, in each row; row {row} has {found}",
        remedy="Drop such rows, or unmask more entries in each.",
    )
