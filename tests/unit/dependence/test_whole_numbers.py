"""Whole numbers far from zero: times in seconds, serial numbers."""

import numpy as np
import pytest
import torch

from trivium.dependence import hsic, independence_test, joint_test
from trivium.kernel import Gaussian

SINCE_1970 = 1_700_000_000
X, Y = np.arange(40) * 7, np.arange(40) * 13 % 40


@pytest.mark.parametrize("wrap", [np.asarray, torch.as_tensor])
def test_hsic_does_not_move_with_the_origin(wrap):
    expected = float(hsic(X.astype(float), Y.astype(float)))
    found = hsic(wrap(X + SINCE_1970), wrap(Y + SINCE_1970))
    assert float(found) == pytest.approx(expected, rel=1e-9)
    assert found.dtype == torch.float64  # float32 does not hold the numbers
    assert hsic(wrap(X), wrap(Y)).dtype == torch.float32


def test_beside_single_precision_too():
    y = torch.from_numpy(Y).float()
    expected = float(hsic(X.astype(float), y))
    assert float(hsic(X + SINCE_1970, y)) == pytest.approx(expected, rel=1e-9)


def test_tests_see_what_is_near_zero():
    expected = independence_test(X.astype(float), Y.astype(float))
    found = independence_test(X + SINCE_1970, Y + SINCE_1970)
    assert found.p_value == expected.p_value
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-9)
    three = joint_test([X.astype(float), Y.astype(float), X.astype(float)])
    far = joint_test([X + SINCE_1970, Y + SINCE_1970, X + SINCE_1970])
    assert far.statistic == pytest.approx(three.statistic, rel=1e-9)


def test_a_kernel_tells_neighbors_apart():
    near, far = torch.arange(3), torch.arange(3) + SINCE_1970
    kernel = Gaussian(1.0)
    expected = kernel.gram(near.double())
    assert torch.equal(kernel.gram(far), expected)
    assert torch.equal(kernel.gram(far, far[:2]), expected[:, :2])
    assert kernel.gram(near).dtype == torch.float32
    # One side fits float32 and the other does not.
    assert kernel.gram(near, far).eq(0).all()
    assert kernel.gram(far, near).dtype == kernel.gram(near, far).dtype == torch.float64
