"""HSIC with the distance kernel is distance covariance, by its definition and by dcor."""

import numpy as np
import pytest
import torch

from trivium.dependence import hsic
from trivium.kernel import Distance

SHAPES = [(1, 1), (2, 3), (6, 1)]


def samples(rng, columns, n=50):
    x = rng.standard_normal((n, columns[0]))
    y = np.abs(x[:, :1]) + rng.standard_normal((n, columns[1]))
    return x, y


def definition(x, y, exponent):
    """V-statistic of the squared distance covariance: mean of products of centered distances."""
    centered = []
    for rows in (x, y):
        apart = np.linalg.norm(rows[:, None] - rows[None], axis=-1) ** exponent
        centered.append(apart - apart.mean(0) - apart.mean(1)[:, None] + apart.mean())
    return float((centered[0] * centered[1]).mean())


def ours(x, y, exponent, **options):
    kernel = Distance(exponent)
    return float(hsic(torch.from_numpy(x), torch.from_numpy(y), kernel, kernel, **options))


@pytest.mark.parametrize("columns", SHAPES)
@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.7])
def test_biased_hsic_is_a_quarter_of_its_square(rng, columns, exponent):
    x, y = samples(rng, columns)
    found = 4 * ours(x, y, exponent, estimator="biased")
    assert found == pytest.approx(definition(x, y, exponent), rel=1e-12)


def test_another_exponent_would_be_seen(rng):
    x, y = samples(rng, (2, 3))
    assert 4 * ours(x, y, 1.001, estimator="biased") != pytest.approx(
        definition(x, y, 1.0), rel=1e-4
    )


@pytest.mark.parametrize("columns", SHAPES)
@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.7])
@pytest.mark.filterwarnings("ignore")
def test_all_four_equal_those_of_dcor(rng, columns, exponent):
    dcor = pytest.importorskip("dcor")
    x, y = samples(rng, columns)
    for options, theirs in (
        ({"estimator": "biased"}, dcor.distance_covariance_sqr),
        ({"estimator": "unbiased"}, dcor.u_distance_covariance_sqr),
        ({"estimator": "biased", "normalize": "cka"}, dcor.distance_correlation_sqr),
        ({"estimator": "unbiased", "normalize": "cka"}, dcor.u_distance_correlation_sqr),
    ):
        factor = 1 if "normalize" in options else 4
        expected = float(theirs(x, y, exponent=exponent))
        assert factor * ours(x, y, exponent, **options) == pytest.approx(expected, rel=1e-11)
