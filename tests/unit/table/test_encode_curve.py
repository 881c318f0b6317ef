"""A number's basis against scipy and scikit-learn, and at the ends of float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm, rankdata
from sklearn.preprocessing import StandardScaler

from trivium.table.encode_curve import Curve


def test_value_is_standardised_as_scikit_learn_does():
    values = np.random.default_rng(0).normal(5, 3, size=400)
    wanted = StandardScaler().fit_transform(values[:, None])[:, 0]
    np.testing.assert_allclose(Curve.fit(values).features(values)[:, 0], wanted, atol=1e-12)


def test_curves_are_cosines_of_the_mid_rank():
    values = np.random.default_rng(1).integers(0, 40, size=500).astype(float)
    ranks = (rankdata(values) - 0.5) / len(values)
    block = Curve.fit(values).features(values)
    for place, order in enumerate((2, 3, 4), start=1):
        wanted = np.cos(np.pi * order * ranks) * np.sqrt(2) / order
        np.testing.assert_allclose(block[:, place], wanted - wanted.mean(), atol=1e-12)


def test_many_values_have_nearly_their_rank():
    values = np.random.default_rng(2).normal(size=5000)
    ranks = (rankdata(values) - 0.5) / len(values)
    assert np.abs(Curve.fit(values)._rank(values / np.abs(values).max()) - ranks).max() < 0.01


def test_heavy_tails_become_normal_scores():
    values = np.random.default_rng(3).standard_cauchy(size=100)
    curve = Curve.fit(values)
    assert curve.heavy
    scores = norm.ppf((rankdata(values) - 0.5) / len(values))
    np.testing.assert_allclose(curve.features(values)[:, 0], scores / scores.std(), atol=1e-9)
    assert not Curve.fit(np.random.default_rng(3).normal(size=1000)).heavy


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1.0, 1e160, 1e300, 5e-324])
def test_scale_does_not_matter(scale):
    values = np.random.default_rng(4).integers(-8, 9, size=300).astype(float)
    block = Curve.fit(values * scale).features(values * scale)
    np.testing.assert_allclose(block, Curve.fit(values).features(values), atol=1e-9)


@given(arrays(np.float64, st.integers(1, 40), elements=st.floats(allow_nan=True)), st.floats())
@settings(max_examples=150, deadline=None)
def test_always_finite(values, new):
    curve = Curve.fit(values)
    assert np.isfinite(curve.features(values)).all()
    assert np.isfinite(curve.features(np.array([new, np.inf, -np.inf, np.nan]))).all()


def test_missing_is_zero_and_does_not_count():
    values = np.array([1.0, np.nan, 3.0, 7.0, np.nan])
    block = Curve.fit(values).features(values)
    assert (block[[1, 4]] == 0).all()
    np.testing.assert_array_equal(
        block[[0, 2, 3]], Curve.fit(values[[0, 2, 3]]).features(values[[0, 2, 3]])
    )


def test_new_values_are_held_near_the_ends():
    values = np.linspace(0, 1, 50)
    curve = Curve.fit(values)
    ends = curve.features(values[[0, -1]])[:, 0]
    beyond = curve.features(np.array([-1e300, 1e300, -np.inf, np.inf]))
    np.testing.assert_allclose(beyond[:, 0], [ends[0] - 1, ends[1] + 1] * 2)
    np.testing.assert_array_equal(beyond[[0, 1], 1:], beyond[[2, 3], 1:])


@pytest.mark.parametrize(("distinct", "curves"), [(1, 0), (2, 0), (3, 1), (4, 2), (5, 3), (90, 3)])
def test_few_values_have_few_curves(distinct, curves):
    values = np.arange(180.0) % distinct
    assert Curve.fit(values).features(values).shape == (180, 1 + curves)


def test_constant_and_empty_are_zeros():
    for values in (np.full(5, 3.0), np.full(3, np.nan), np.array([np.inf, -np.inf]), np.zeros(0)):
        assert (Curve.fit(values).features(values) == 0).all()
