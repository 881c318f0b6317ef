"""Every test of independence keeps the laws; three planted wrong ones are caught."""

import numpy as np
import pytest

from trivium.dependence import independence_test
from trivium.testing.dependence_laws import INDEPENDENCE_LAWS, check_independence_test


def ours(x, y, seed):
    return independence_test(x, y, n_permutations=49, random_state=seed).p_value


@pytest.mark.slow
@pytest.mark.parametrize("law", INDEPENDENCE_LAWS, ids=lambda law: law.__name__)
def test_permutation_test_keeps_the_law(law):
    law(ours)


def correlations(x, y, seed, count=49):
    """Absolute covariances, of the data and of permutations: enough for a test."""
    rng = np.random.default_rng(seed)
    moved = rng.permuted(np.tile(y, (count, 1)), axis=1)
    x = x - x.mean()
    return abs(x @ y), abs(moved @ x)


def without_the_one(x, y, seed):
    """The classic mistake: p = # / B, which can be 0."""
    observed, null = correlations(x, y, seed)
    return float((null >= observed).mean())


def looked_at(x, y, seed):
    """The better of two statistics, each with its own p-value."""
    signal, null = correlations(x, y, seed)
    other, other_null = correlations(x**2, y**2, seed)
    return min((1 + (a >= b).sum()) / 50 for a, b in ((null, signal), (other_null, other)))


def unseeded(x, y, seed):
    return ours(x, y, int(np.random.default_rng().integers(2**31)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (without_the_one, r"p must be in \(0, 1\]"),
        (looked_at, "independent data sets"),
        (unseeded, "one seed gave"),
        (lambda x, y, seed: 1.0, "clear dependence"),
    ],
)
def test_a_wrong_test_is_caught(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_independence_test(wrong)
