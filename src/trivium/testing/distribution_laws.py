"""Laws that every distribution over sets, orders and sequences keeps; yours is held to the same."""

import copy
import itertools
from collections.abc import Callable

import torch
from scipy.stats import chi2
from torch import Tensor

from trivium.expectation import Exact, Listed, Score, releafed, slopes_of, with_parameters
from trivium.expectation.expect import expect

__all__ = ["DISTRIBUTION_LAWS", "check_distribution"]

ALARM = 1e-6  # probability that right frequencies are accused, for each row of the batch
_CLOSE = 1e-12
_DRAWS = 4000
_PAIRS = 400

Law = Callable[[Listed], None]


def check_distribution(distribution: Listed) -> None:
    """Hold a distribution with a small support to every law.

    Args:
        distribution: An instance in double precision, with at most a few dozen values.

    Raises:
        AssertionError: A law is broken; the message says which and by how much.

    Cost: 4,000 draws, and two calls of `log_prob` for each pair of values.
    """
    for law in DISTRIBUTION_LAWS:
        law(distribution)


def _support_is_listed_once(distribution: Listed) -> None:
    support = distribution.enumerate_support(expand=False)
    ones = (1,) * len(distribution.batch_shape)
    wanted = (distribution.support_size, *ones, *distribution.event_shape)
    _holds(
        tuple(support.shape) == wanted,
        f"the support must have shape {wanted}; got {tuple(support.shape)}",
    )
    different = len(support.flatten(1).unique(dim=0))
    _holds(
        different == len(support),
        f"the support has {len(support)} values, of which {different} differ",
    )
    good = distribution.support.check(support)
    _holds(bool(good.all()), "a listed value is outside the support")


def _probabilities_sum_to_one(distribution: Listed) -> None:
    total = _probabilities(distribution).sum(0)
    off = float((total - 1).abs().max())
    _holds(off < _CLOSE, f"probabilities must sum to 1; they are off by {off:.2g}")


def _samples_have_the_frequencies(distribution: Listed) -> None:
    torch.manual_seed(0)
    drawn = distribution.sample((_DRAWS,))
    shape = (_DRAWS, *distribution.batch_shape, *distribution.event_shape)
    _holds(
        tuple(drawn.shape) == shape,
        f"samples must have shape {shape}; got {tuple(drawn.shape)}",
    )
    support = distribution.enumerate_support(expand=True)
    equal = (drawn[:, None] == support[None]).flatten(2 + len(distribution.batch_shape)).all(-1)
    _holds(bool((equal.sum(1) == 1).all()), "a sample is not in the support")
    counts = equal.sum(0).double().reshape(len(support), -1)
    expected = _DRAWS * _probabilities(distribution).reshape(len(support), -1)
    for row in range(distribution.batch_shape.numel()):
        _check_counts(counts[:, row], expected[:, row])


def _check_counts(counts: Tensor, expected: Tensor) -> None:
    """Pearson's test, with the values of small probability pooled."""
    rare = expected < 5
    never = expected == 0
    _holds(not bool(counts[never].any()), "a value of probability 0 was drawn")
    seen = torch.cat([counts[~rare], counts[rare].sum()[None]])
    wanted = torch.cat([expected[~rare], expected[rare].sum()[None]])
    seen, wanted = seen[wanted > 0], wanted[wanted > 0]
    if len(seen) < 2:
        return
    statistic = float(((seen - wanted).square() / wanted).sum())
    p = float(chi2.sf(statistic, len(seen) - 1))
    _holds(p >= ALARM, f"frequencies differ from probabilities (chi-square, p = {p:.2g})")


def _rows_are_independent_of_the_batch(distribution: Listed) -> None:
    torch.manual_seed(1)
    drawn = distribution.sample((3, 2))
    whole = distribution.log_prob(drawn)
    wanted = (3, 2, *distribution.batch_shape)
    _holds(
        tuple(whole.shape) == wanted,
        f"log_prob must have shape {wanted}; got {tuple(whole.shape)}",
    )
    parts = torch.stack([distribution.log_prob(z) for z in drawn.flatten(0, 1)])
    off = float((whole.flatten(0, 1) - parts).detach().abs().max())
    _holds(off < _CLOSE, f"log_prob of a stack differs from that of its parts by {off:.2g}")


def _mode_is_the_likeliest(distribution: Listed) -> None:
    try:
        mode = distribution.mode
    except NotImplementedError:
        return
    best = _probabilities(distribution).max(0).values
    off = float((best - distribution.log_prob(mode).exp()).detach().abs().max())
    _holds(off < _CLOSE, f"the mode is less likely than another value, by {off:.2g}")


def _slopes_are_right(distribution: Listed) -> None:
    """Against central differences; and the score has mean zero."""
    here, leaves = releafed(distribution)
    support = here.enumerate_support()
    logs = here.log_prob(support)
    possible = logs.detach().isfinite()
    slope = slopes_of(logs[possible].sum(), leaves)
    mean = slopes_of((logs.exp().detach() * logs)[possible].sum(), leaves)
    off = max(float(part.abs().max()) for part in mean)
    _holds(off < _CLOSE, f"the mean of the score must be 0; it is {off:.2g}")
    for (name, leaf), own in zip(leaves.items(), slope, strict=True):
        _holds(bool(own.isfinite().all()), f"the gradient in {name} is not finite")
        for place in torch.isfinite(leaf.detach()).nonzero().tolist():
            ends = []
            for sign in (1, -1):
                moved = leaf.detach().clone()
                moved[tuple(place)] += sign * 1e-5
                there = with_parameters(distribution, {name: moved})
                ends.append(there.log_prob(support)[possible].sum().detach())
            found, wanted = float(own[tuple(place)]), float(ends[0] - ends[1]) / 2e-5
            _holds(
                abs(found - wanted) < 1e-7 * (1 + abs(wanted)),
                f"the gradient in {name}{place} is {found:.8g}; by differences {wanted:.8g}",
            )


def _expectations_are_sums(distribution: Listed) -> None:
    """Value and gradient of `expect` with Exact, against the sum by hand."""
    here, leaves = releafed(distribution)
    probabilities = here.log_prob(here.enumerate_support()).exp()
    by_hand = (probabilities * _reward(here.enumerate_support())).sum()
    ours = expect(_reward, here, Exact()).sum()
    off = float((by_hand - ours).detach().abs())
    _holds(off < 1e-11, f"the expectation is off by {off:.2g}")
    _same_slopes("Exact", slopes_of(ours, leaves), slopes_of(by_hand, leaves))


def _score_has_no_bias(distribution: Listed) -> None:
    """All outcomes of one draw, and of two where they are few, weighted by their probabilities."""
    here, leaves = releafed(distribution)
    wanted = slopes_of(expect(_reward, here, Exact()).sum(), leaves)
    support = here.enumerate_support(expand=True)
    batch = len(here.batch_shape)
    # One outcome is a value for every row.
    cells = (
        _outcomes(support.flatten(1, batch)).unflatten(1, here.batch_shape) if batch else support
    )
    draws = 1 if len(cells) ** 2 > _PAIRS else 2
    for baseline in ("none", "optimal"):
        mean = _mean_slope(here, leaves, cells, Score(baseline), draws)
        _same_slopes(f"Score({baseline!r})", mean, wanted)


def _mean_slope(
    here: Listed, leaves: dict[str, Tensor], cells: Tensor, score: Score, draws: int
) -> list[Tensor]:
    """The gradient estimate of every outcome of some draws, weighted by its probability."""
    total = [torch.zeros_like(leaf) for leaf in leaves.values()]
    for picked in itertools.product(range(len(cells)), repeat=draws):
        z = cells[list(picked)]
        weight = float(here.log_prob(z).sum().exp().detach())
        if weight == 0:
            continue
        given = copy.copy(here)
        given.sample = lambda _, z=z: z
        slopes = slopes_of(expect(_reward, given, score, samples=draws).sum(), leaves)
        total = [part + weight * slope for part, slope in zip(total, slopes, strict=True)]
    return total


def _outcomes(support: Tensor) -> Tensor:
    """All combinations of the values of the rows: `(k ** rows, rows, *event)`."""
    count, rows = support.shape[:2]
    places = torch.cartesian_prod(*[torch.arange(count)] * rows).reshape(-1, rows)
    return support[places, torch.arange(rows)]


def _same_slopes(name: str, ours: list[Tensor], wanted: list[Tensor]) -> None:
    off = max(float((a - b).abs().max()) for a, b in zip(ours, wanted, strict=True))
    _holds(off < 1e-10, f"the gradient of expect with {name} is off by {off:.2g}")


def _reward(z: Tensor) -> Tensor:
    """Something uneven in every place of a value."""
    places = torch.arange(1, z.shape[-1] + 1, dtype=torch.float64)
    return (z.double() * places.sin()).sum(-1).square() + 0.3 * z[..., 0].double()


def _probabilities(distribution: Listed) -> Tensor:
    return distribution.log_prob(distribution.enumerate_support(expand=True)).exp().detach()


def _holds(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(f"distribution: {message}")


DISTRIBUTION_LAWS: tuple[Law, ...] = (
    _support_is_listed_once,
    _probabilities_sum_to_one,
    _samples_have_the_frequencies,
    _rows_are_independent_of_the_batch,
    _mode_is_the_likeliest,
    _slopes_are_right,
    _expectations_are_sums,
    _score_has_no_bias,
)
