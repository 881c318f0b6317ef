"""What holds for any data: ranges, symmetry, invariance, agreement of the routes."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trivium._core.errors import TriviumWarning
from trivium.dependence import (
    DependenceColumn,
    benjamini_hochberg,
    hsic,
    independence_test,
    screen,
)

N = 9
VALUES = st.floats(-1e3, 1e3, allow_subnormal=False).map(lambda v: round(v, 3))
COLUMN = arrays(np.float64, N, elements=VALUES)
CODES = arrays(np.int64, N, elements=st.integers(-1, 3))
QUICK = settings(max_examples=40, deadline=None, derandomize=True)


@pytest.fixture(autouse=True)
def _told():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TriviumWarning)
        yield


@QUICK
@given(COLUMN, COLUMN, st.permutations(range(N)))
def test_hsic_is_symmetric_bounded_and_blind_to_order(x, y, order):
    biased, cka = (
        float(hsic(x, y, estimator="biased", normalize=normalize)) for normalize in (None, "cka")
    )
    assert -1e-12 <= biased <= 1
    assert -1e-6 <= cka <= 1 + 1e-6
    assert float(hsic(y, x, estimator="biased")) == pytest.approx(biased, abs=1e-12)
    moved = float(hsic(x[order], y[order], estimator="biased"))
    assert moved == pytest.approx(biased, abs=1e-12)


@QUICK
@given(COLUMN, COLUMN, st.permutations(range(N)), st.integers(0, 5))
def test_p_value_is_a_probability_and_blind_to_order(x, y, order, seed):
    options = {"n_permutations": 19, "random_state": seed}
    result = independence_test(x, y, **options)
    members = 1 + result.n_permutations
    assert members >= 19 or result.method == "constant"
    assert 1 / members <= result.p_value <= 1
    assert np.isfinite([result.statistic, result.cka, result.null_band, *result.null]).all()
    assert independence_test(x[order], y[order], **options).p_value == result.p_value


@QUICK
@given(COLUMN, CODES, st.lists(st.sampled_from(["", "a b", "b", None]), min_size=N, max_size=N))
def test_screen_is_finite_whatever_the_column(x, codes, texts):
    columns = [
        DependenceColumn("number", "number", np.where(codes == 0, np.nan, x)),
        DependenceColumn("wild", "number", np.where(codes == 1, np.inf, x * 1e300)),
        DependenceColumn("category", "category", codes),
        DependenceColumn("date", "date", x),
        DependenceColumn("text", "text", texts),
    ]
    target = DependenceColumn("y", "category", np.arange(N) % 2)
    for row in screen(columns, target, n_permutations=19).rows:
        numbers = [row.statistic, row.cka, row.null_band, row.residual]
        assert np.isfinite(numbers).all()
        assert row.cka <= 1 + 1e-6
        assert 0 < row.p_value <= row.q_value <= 1
        assert 0 < row.p_adjusted <= 1


@QUICK
@given(arrays(np.float32, (N, 2), elements=st.floats(-10, 10, width=32)))
def test_dtype_is_kept(x):
    value = hsic(torch.from_numpy(x), torch.arange(N))
    assert value.dtype == torch.float32
    assert torch.isfinite(value)


@QUICK
@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=30), st.randoms())
def test_q_values_follow_their_p_values(p_values, random):
    q_values = benjamini_hochberg(p_values)
    order = list(range(len(p_values)))
    random.shuffle(order)
    assert np.allclose(benjamini_hochberg([p_values[i] for i in order]), q_values[order])
    ranked = q_values[np.argsort(p_values)]
    assert (np.diff(ranked) >= 0).all()
