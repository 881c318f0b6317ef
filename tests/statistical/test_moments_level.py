"""The level of the saddlepoint from moments, which is asymptotic, at 200 rows.

300 data sets of two kinds, each merged from three parts. A test of exact level is accused with
probability 1e-4 a level by the upper bound; levels of .15 at .05 and .06 at .01 would be seen
with probability .95. The benchmark `dependence_moments.py` has 2,000 of each of more kinds.
"""

import numpy as np
import pytest
import torch

from trivium.dependence import HSICMoments
from trivium.dependence.tail import gamma_tail
from trivium.testing.dependence_laws import rejection_bound

SIMULATIONS, ROWS = 300, 200


def moments(seed):
    rng = np.random.default_rng([seed, ROWS])
    if seed % 2:
        x, y = rng.normal(size=ROWS), rng.poisson(0.7, ROWS).astype(float)
    else:
        x, y = rng.standard_cauchy(ROWS), rng.integers(0, 4, ROWS)
    made = HSICMoments.like(x, y, n_features=40)
    return sum(made.copy().update(x[i : i + 70], y[i : i + 70]) for i in (0, 70, 140))


@pytest.fixture(scope="module")
def results():
    return [moments(seed) for seed in range(SIMULATIONS)]


@pytest.mark.slow
def test_level(results):
    p_values = np.array([each.test().p_value for each in results])
    for level in (0.05, 0.01):
        assert (p_values <= level).sum() <= rejection_bound(SIMULATIONS, level)
    assert (p_values <= 0.05).mean() > 0.01
    assert abs(p_values.mean() - 0.5) < 4 / np.sqrt(12 * SIMULATIONS)


@pytest.mark.slow
def test_a_wrong_null_is_seen(results):
    """Eigenvalues of half their size reject too often, and the same bound says so."""
    found = []
    for each in results:
        held = each._held
        values = [torch.linalg.eigvalsh(held.second[s, s]) for s in (held.x, held.y)]
        weights = torch.outer(*values).flatten().clamp_min(0) / held.count / 2
        found.append(float(gamma_tail(held.inner(held.x, held.y), weights)))
    assert (np.array(found) <= 0.05).sum() > rejection_bound(SIMULATIONS, 0.05)
