"""Fitting laws: planted coefficients, no negative ones, intervals that hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from trivium._core.errors import DataError
from trivium.cost import Law, Operation
from trivium.cost.fit import Measured, coverage_error, fit_law, fit_laws, non_negative

CACHE, FRESH = 2.0**20, 2.0**25
PLANTED = Law(7e-12, 1e-11, 5e-11, 3e-6, 4e-10, 0.0)


def operations(count=40, seed=0, kind="pass"):
    """Calls of many sizes: in the cache and beyond, of fresh memory and not."""
    random = np.random.default_rng(seed)
    found = []
    for size in np.exp(random.uniform(np.log(1e4), np.log(3e8), count)):
        flops = float(size * random.uniform(1, 300))
        found.append(Operation(kind, flops, float(size), 1, float(size / 2)))
    return found


def calls(law, noise=0.0, count=40, seed=0, kind="pass"):
    random = np.random.default_rng(seed + 1)
    return [
        Measured(each, law.seconds(each, CACHE, FRESH) * np.exp(noise * random.normal()), i)
        for i, each in enumerate(operations(count, seed, kind))
    ]


def test_planted_coefficients_are_found():
    found = fit_law(calls(PLANTED), CACHE, FRESH)
    for name in ("flops", "near", "far", "calls", "fresh"):
        assert getattr(found, name) == pytest.approx(getattr(PLANTED, name), rel=1e-6)
    assert found.error == 0.03
    assert found.sizes == 40


def test_the_cache_and_the_allocator_are_found():
    laws, cache, fresh_above = fit_laws(calls(PLANTED, count=120))
    assert (cache, fresh_above) == (CACHE, FRESH)
    assert laws["pass"].far == pytest.approx(PLANTED.far, rel=1e-6)


def test_without_large_results_the_usual_threshold_stands():
    small = [each for each in calls(PLANTED, 0.3, 80) if each.operation.fresh < 2**24]
    assert fit_laws(small)[2] == FRESH


def test_what_a_call_holds_besides_is_not_counted_twice():
    softmax = Law(0.0, 1e-11, 9e-11, 2e-6, 0.0, 0.0)
    alone = calls(softmax, kind="softmax", seed=5)
    inside = Operation("softmax", 0, 3e6, 1)
    fused = [
        Measured(
            each.operation,
            each.seconds + softmax.seconds(inside, CACHE, FRESH),
            each.size,
            (inside,),
        )
        for each in calls(PLANTED, kind="attention", seed=9)
        if each.seconds > 1e-3
    ]
    laws, *_ = fit_laws([*fused, *alone])
    assert laws["softmax"].far == pytest.approx(softmax.far, rel=1e-3)
    assert laws["attention"].flops == pytest.approx(PLANTED.flops, rel=1e-2)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(5, 12))
def test_the_minimum_is_that_of_lawson_and_hanson(seed, columns, rows):
    random = np.random.default_rng(seed)
    matrix, target = random.normal(size=(rows, columns)), random.normal(size=rows)
    found = non_negative(matrix, target)
    assert (found >= 0).all()
    best = nnls(matrix, target)[1]
    assert np.linalg.norm(matrix @ found - target) == pytest.approx(best, rel=1e-7, abs=1e-9)


def test_a_column_of_zeros_has_no_coefficient():
    matrix = np.array([[1.0, 0.0], [2.0, 0.0]])
    assert non_negative(matrix, np.array([3.0, 6.0])).tolist() == pytest.approx([3.0, 0.0])


@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_nine_in_ten_new_sizes_are_inside_the_interval(noise):
    """over 25 fits of 30 sizes, 20 new sizes each: 500 trials, of which 84 to 97 % inside."""
    inside = total = 0
    for seed in range(25):
        law = fit_law(calls(PLANTED, noise, 30, 10 * seed), CACHE, FRESH)
        for each in calls(PLANTED, noise, 20, 10 * seed + 5):
            guess, spread = (
                law.seconds(each.operation, CACHE, FRESH),
                law.spread(each.operation),
            )
            inside += guess / spread <= each.seconds <= guess * spread
            total += 1
    assert 0.84 <= inside / total <= 0.97


def test_an_interval_without_its_error_does_not_hold():
    """What the test above would see if the error were left out."""
    inside = 0
    law = fit_law(calls(PLANTED, 0.2, 30), CACHE, FRESH)
    for each in calls(PLANTED, 0.2, 100, 5):
        guess = law.seconds(each.operation, CACHE, FRESH)
        inside += guess / 1.03 <= each.seconds <= guess * 1.03
    assert inside < 50


def test_the_rank_of_the_error():
    ratios = [1 + i / 100 for i in range(1, 20)]
    assert coverage_error(ratios) == pytest.approx(0.18)  # the 18th of 19
    assert coverage_error([1.5, 1.0]) == pytest.approx(0.5)  # few: the largest
    assert coverage_error([0.5]) == pytest.approx(1.0)  # twice too small is as far as too large
    assert coverage_error([]) == 1.0
    assert coverage_error([1.0]) == 0.03
    assert coverage_error([0.0]) == 9.0


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("inf")])
def test_no_time_is_refused(seconds):
    with pytest.raises(DataError, match="seconds must be positive and finite"):
        fit_law([Measured(Operation("pass", 0, 10), seconds, 0)], CACHE, FRESH)


def test_nothing_is_refused():
    with pytest.raises(DataError, match="at least one call"):
        fit_laws([])
    with pytest.raises(DataError, match="at least one call"):
        fit_law([], CACHE, FRESH)
