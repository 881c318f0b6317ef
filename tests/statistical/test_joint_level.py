"""The level of the joint test on three independent variables of different kinds.

2,000 data sets; at .05 and .01 no more than .0596 and .0144 rejections. The bounds are those of
`test_dependence_level`: a level of .065 (.018) would be seen with probability .83 (.88).
"""

import numpy as np
import pytest

from trivium.dependence import joint_test

SIMULATIONS, ROWS, PERMUTATIONS = 2000, 20, 100
BOUNDS = {0.05: 0.0596, 0.01: 0.0144}


def triples(rng):
    """Normal, Cauchy and with ties, in turn: independent of one another."""
    kinds = (
        lambda: rng.normal(size=ROWS),
        lambda: rng.standard_cauchy(ROWS),
        lambda: rng.poisson(4, ROWS).astype(float),
    )
    for _ in range(SIMULATIONS):
        yield [kind() for kind in kinds]


@pytest.fixture(scope="module")
def results():
    rng = np.random.default_rng(17)
    return [
        joint_test(triple, n_permutations=PERMUTATIONS, random_state=seed)
        for seed, triple in enumerate(triples(rng))
    ]


@pytest.mark.slow
def test_level(results):
    p_values = np.array([result.p_value for result in results])
    for level, bound in BOUNDS.items():
        assert level / 2 < (p_values <= level).mean() <= bound


@pytest.mark.slow
def test_wrong_p_values_are_seen(results):
    """#/B without the one, and the better of two tests taken as one, both fail."""
    share = np.array([(result.null >= result.score).mean() for result in results])
    assert (share <= 0.01).mean() > BOUNDS[0.01]
    p_values = np.array([result.p_value for result in results])
    looked_at = np.minimum(p_values, np.roll(p_values, 1))
    assert (looked_at <= 0.05).mean() > BOUNDS[0.05]
