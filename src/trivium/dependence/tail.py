r"""The far tail of HSIC under independence: a weighted sum of chi-squares, by saddlepoint.

Under independence $n \, \mathrm{HSIC}_b$ tends to $\sum_{ij} \lambda_i \mu_j z_{ij}^2$ with the
eigenvalues of the two centered kernels. Permutations see that tail only as far as 1 / (1 + B);
the saddlepoint follows it to any depth. It is asymptotic in n: for a p-value that is valid at
every n use the shifts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Spectrum", "chi2_mixture_tail", "gamma_tail", "hsic_tails", "permutation_moments"]

_STEPS = 60
_NEAR = 1e-4
_TINY = 1e-300
_FLOOR = 1e-10  # share of the trace below which an eigenvalue is rounding


def chi2_mixture_tail(
    value: Float[Tensor, "..."], weights: Float[Tensor, "... w"], *, log: bool = False
) -> Float[Tensor, "..."]:
    r"""Return $P(\sum_i w_i z_i^2 \ge v)$ for independent standard normal z, by saddlepoint.

    With $K(s) = -\frac12 \sum \log(1 - 2 s w_i)$ and $K'(s) = v$, $r = \mathrm{sign}(s)
    \sqrt{2 (s v - K)}$, $u = s \sqrt{K''}$: $P = \bar\Phi(r) + \phi(r) (1/u - 1/r)$.

    Args:
        value: v; many problems at once along the leading axes.
        weights: Non-negative weights of each problem, padded with zeros.
        log: Return the logarithm, exact far below the smallest float.

    Returns:
        Probabilities in (0, 1], float64; 1 where v ≤ 0 or no weight is positive.

    Cost:
        O(w) for each of about 60 steps.

    Example:
        >>> import torch
        >>> p = chi2_mixture_tail(torch.tensor(3.84), torch.tensor([1.0]))
        >>> round(float(p), 3)
        0.05

    Source:
        Lugannani and Rice (1980); Kuonen, Saddlepoint approximations for distributions of quadratic
        forms in normal variables, Biometrika 86 (1999).
    """
    weights = weights.double().clamp_min(0)
    value = value.double()
    largest = weights.amax(-1).clamp_min(_TINY)
    scaled, target = weights / largest[..., None], value / largest
    point = _saddlepoint(target.clamp_min(_TINY), scaled)
    gaps = 1 - 2 * point[..., None] * scaled
    cumulant = -0.5 * torch.log(gaps).sum(-1)
    ratio = scaled / gaps
    second = 2 * ratio.square().sum(-1)
    distance = torch.sign(point) * (2 * (point * target - cumulant)).clamp_min(0).sqrt()
    speed = point * second.sqrt()
    skew = 8 * ratio.pow(3).sum(-1) / second.clamp_min(_TINY).pow(1.5)
    tail = _lugannani_rice(distance, speed, skew)
    tail = torch.where((value <= 0) | (weights.amax(-1) <= 0), 0.0, tail).clamp_max(0.0)
    return tail if log else tail.exp().clamp_min(_TINY)


def _saddlepoint(target: Tensor, weights: Tensor) -> Tensor:
    """Solve K'(s) = target for weights of at most 1, by bisection in 1 - 2 s."""
    total = weights.sum(-1)
    # With g = 1 - 2 s: K' lies between 1 / g and total / g for g <= 1, so g is bracketed.
    low = torch.minimum(1 / target, torch.ones_like(target)) * 0.5
    high = torch.maximum(total / target, torch.ones_like(target)) * 2
    high = torch.maximum(high, (2 * (weights > 0).sum(-1) / target))
    low, high = low.log(), high.log()
    for _ in range(_STEPS):
        middle = (low + high) / 2
        slope = (weights / (1 - weights + weights * middle.exp()[..., None])).sum(-1)
        low = torch.where(slope > target, middle, low)
        high = torch.where(slope > target, high, middle)
    return (1 - ((low + high) / 2).exp()) / 2


def _lugannani_rice(distance: Tensor, speed: Tensor, skew: Tensor) -> Tensor:
    """Logarithm of the tail; near the mean, where 1/u - 1/r cancels, its limit."""
    near = distance.abs() < _NEAR
    safe_r, safe_u = torch.where(near, 1.0, distance), torch.where(near, 1.0, speed)
    correction = torch.where(near, -skew / 6, 1 / safe_u - 1 / safe_r)
    mills = math.sqrt(math.pi / 2) * torch.special.erfcx(distance.clamp_min(0) / math.sqrt(2))
    density = -0.5 * distance.square() - 0.5 * math.log(2 * math.pi)
    upper = density + (mills + correction).clamp_min(_TINY).log()
    lower = torch.special.ndtr(distance)
    body = 1 - (lower - density.exp() * correction)
    return torch.where(distance > 0, upper, body.clamp_min(_TINY).log())


def gamma_tail(
    value: Float[Tensor, "..."], weights: Float[Tensor, "... w"]
) -> Float[Tensor, "..."]:
    """Return the same tail by a gamma distribution with its mean and variance.

    It is what most packages use, and in the tail it is too small by 3 to 30 times: for comparison.

    Args:
        value: v.
        weights: Non-negative weights.

    Example:
        >>> import torch
        >>> round(float(gamma_tail(torch.tensor(3.84), torch.tensor([1.0]))), 3)
        0.05
    """
    mean, variance = weights.double().sum(-1), 2 * weights.double().square().sum(-1)
    shape = (mean.square() / variance.clamp_min(_TINY)).clamp_min(_TINY)
    scale = (variance / mean.clamp_min(_TINY)).clamp_min(_TINY)
    tail = torch.special.gammaincc(shape, value.double().clamp_min(0) / scale)
    return torch.where((mean <= 0) | (value <= 0), 1.0, tail.clamp_min(_TINY))


@dataclass(frozen=True)
class Spectrum:
    """What the null of HSIC needs to know of one variable's centered Gram matrix A.

    Args:
        values: Its eigenvalues, positive ones.
        rows: Number of rows.
        squares: Sum of the squares of its diagonal.
    """

    values: Float[Tensor, " r"]
    rows: int
    squares: float

    @classmethod
    def of(cls, features: Float[Tensor, "r n"]) -> "Spectrum":
        """Take the spectrum of the Gram matrix that features give, in O(n r²)."""
        wide = features.double()
        centered = wide - wide.mean(1, keepdim=True)
        squares = float(centered.square().sum(0).square().sum())
        return cls.of_scatter(centered @ centered.mT, features.shape[1], squares)

    @classmethod
    def of_scatter(cls, scatter: Float[Tensor, "r r"], rows: int, squares: float) -> "Spectrum":
        """Take it from the scatter of features, which has the same eigenvalues."""
        values = torch.linalg.eigvalsh(scatter)
        floor = _FLOOR * float(values.sum()) if len(values) else 0.0
        return cls(values[values > max(floor, 0.0)], rows, squares)


def permutation_moments(x: Spectrum, y: Spectrum) -> tuple[float, float]:
    """Return the exact mean and variance of tr(A P B P') over all permutations P.

    Source: Kazi-Aoual, Hitier, Sabatier and Lebreton, Refined approximations to permutation tests
    for multivariate inference, Computational Statistics and Data Analysis 20 (1995).
    """
    n = x.rows
    one, two = ((float(s.values.sum()), float(s.values.square().sum())) for s in (x, y))
    mean = one[0] * two[0] / (n - 1)
    spread = [(n - 1) * t2 - t1**2 for t1, t2 in (one, two)]
    peaks = [
        n * (n + 1) * s.squares - (n - 1) * (t1**2 + 2 * t2) for s, (t1, t2) in ((x, one), (y, two))
    ]
    first = 2 * spread[0] * spread[1] / ((n - 1) ** 2 * (n + 1) * (n - 2))
    second = peaks[0] * peaks[1] / ((n + 1) * n * (n - 1) * (n - 2) * (n - 3))
    return mean, max(first + second, 0.0)


def hsic_tails(
    statistics: Float[Tensor, " k"],
    columns: Sequence[Spectrum],
    target: Spectrum,
    *,
    log: bool = False,
    gamma: bool = False,
) -> Float[Tensor, " k"]:
    r"""Return P(HSIC ≥ statistic) under independence for several columns and one target.

    The statistic is first moved and scaled so that the exact mean and variance over all
    permutations are those of the weighted chi-square, which takes most of the error at small n
    away.

    Args:
        statistics: Biased HSIC, $\mathrm{tr}(A B) / n^2$ of the centered Gram matrices.
        columns: Spectrum of each column.
        target: Spectrum of the target.
        log: Return logarithms.
        gamma: Use `gamma_tail` without the correction, as most packages do.

    Returns:
        Probabilities; 1 for a column or a target that does not vary.

    Cost: O(k r s) for each of about 60 steps.

    Example:
        >>> import torch
        >>> x = torch.linspace(-1, 1, 40, dtype=torch.float64)
        >>> side = Spectrum.of(torch.stack([x, x**2]))
        >>> bool(hsic_tails(torch.tensor([0.5]), [side], side) < 1e-6)
        True
    """
    n = target.rows
    width = max([len(each.values) for each in columns], default=0)
    padded = torch.zeros(len(columns), max(width, 1), dtype=torch.float64)
    adjusted = torch.zeros(len(columns), dtype=torch.float64)
    for place, (each, statistic) in enumerate(zip(columns, statistics.tolist(), strict=True)):
        padded[place, : len(each.values)] = each.values.cpu()
        adjusted[place] = (
            statistic * n**2 if gamma else _standardized(statistic * n**2, each, target)
        )
    weights = (padded[:, :, None] * target.values.cpu() / n).flatten(1)
    if not weights.shape[1]:
        weights = torch.zeros(len(columns), 1, dtype=torch.float64)
    if gamma:
        tail = gamma_tail(adjusted, weights)
        return tail.log() if log else tail
    return chi2_mixture_tail(adjusted, weights, log=log)


def _standardized(trace: float, x: Spectrum, y: Spectrum) -> float:
    """Map tr(AB) to the weighted chi-square's scale by mean and standard deviation."""
    n = x.rows
    mean, variance = permutation_moments(x, y)
    sums = float(x.values.sum() * y.values.sum())
    squares = float(x.values.square().sum() * y.values.square().sum())
    if variance <= 0 or squares <= 0:
        return 0.0
    return sums / n + (trace - mean) * math.sqrt(2 * squares / variance) / n
