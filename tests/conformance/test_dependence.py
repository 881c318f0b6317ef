"""Every test of independence keeps the laws; planted wrong ones are caught."""

from itertools import count

import numpy as np
import pytest

from trivium.dependence import conditional_test, independence_test, joint_test
from trivium.testing.dependence_laws import INDEPENDENCE_LAWS, check_independence_test


def ours(x, y, seed):
    return independence_test(x, y, n_permutations=49, random_state=seed).p_value


def joint(x, y, seed):
    return joint_test([x, y], n_permutations=49, random_state=seed).p_value


def conditional(x, y, seed):
    """A third variable that has nothing to do with either, given."""
    z = np.random.default_rng([seed, 3]).normal(size=len(x))
    return conditional_test(x, y, z, random_state=seed).p_value


TESTS = (ours, joint, conditional)


@pytest.mark.slow
@pytest.mark.parametrize("law", INDEPENDENCE_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.__name__)
def test_every_test_keeps_the_law(test, law):
    law(test)


def correlations(x, y, seed, draws=49):
    """Absolute covariances, of the data and of permutations: enough for a test."""
    rng = np.random.default_rng(seed)
    moved = rng.permuted(np.tile(y, (draws, 1)), axis=1)
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


CALLS = count()


def unseeded(x, y, seed):
    return ours(x, y, next(CALLS))


def wrong_statistic(x, y, seed):
    """Covariance instead of HSIC: a valid test that is blind to a full wave."""
    observed, null = correlations(x, y, seed)
    return float((1 + (null >= observed).sum()) / (1 + len(null)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (without_the_one, r"p must be in \(0, 1\]"),
        (looked_at, "independent data sets"),
        (unseeded, "one seed gave"),
        (lambda x, y, seed: 1.0, "clear dependence"),
        (wrong_statistic, "clear dependence, a wave"),
    ],
)
def test_a_wrong_test_is_caught(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_independence_test(wrong)
