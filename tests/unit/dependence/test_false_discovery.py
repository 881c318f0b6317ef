"""q-values against scipy, and their input."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from trivium._core.errors import ArgumentError, DataError
from trivium.dependence import benjamini_hochberg, benjamini_yekutieli


@pytest.mark.parametrize(
    ("ours", "method"), [(benjamini_hochberg, "bh"), (benjamini_yekutieli, "by")]
)
@pytest.mark.parametrize("size", [1, 2, 50])
def test_equal_to_scipy(rng, ours, method, size):
    p = rng.uniform(1e-4, 1, size)
    p[: size // 3] = 0.01  # ties
    found = ours(p)
    assert np.allclose(found, false_discovery_control(p, method=method), rtol=1e-12)
    assert (found >= p).all()


def test_none():
    assert benjamini_hochberg([]).shape == (0,)


@pytest.mark.parametrize("bad", [0.0, 1.1, -0.1, np.nan])
def test_values_outside_are_named(bad):
    with pytest.raises(DataError, match=r"p_values must be in \(0, 1\].*place 1"):
        benjamini_hochberg([0.5, bad])


def test_axes():
    with pytest.raises(ArgumentError, match="one axis"):
        benjamini_yekutieli([[0.5]])
