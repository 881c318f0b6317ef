"""Everything mergeable of ours keeps the laws; sums that break them are caught."""

import numpy as np
import pytest

from trivium.dependence import HSICMoments
from trivium.moment import CrossMoments, Moments
from trivium.testing import LawBrokenError, check_mergeable

X = np.random.default_rng(0).normal(size=(5, 8, 3)) + 50
Y = [np.resize(labels, 8) for labels in (list("ab"), ["c"], ["a"], list("bcd"), ["d"])]


def read(m):
    return {
        "counts": m.counts,
        "mean": m.mean,
        "means": m.means,
        "within": m.within,
        "total": m.total,
        "cross": m.cross,
    }


@pytest.mark.parametrize("options", [{}, {"classwise": True}, {"classes": list("abcd")}])
def test_moments(options):
    check_mergeable(
        lambda: Moments(3, **options),
        lambda m, part: m.update(*part),
        read,
        list(zip(X, Y, strict=True)),
        tolerance=1e-11,
    )


def test_moments_return():
    check_mergeable(
        lambda: Moments(3),
        lambda m, x: m.update(x),
        read,
        list(X),
        tolerance=1e-11,
        downdate=lambda m, x: m.downdate(x),
    )


def test_cross_moments():
    check_mergeable(
        lambda: CrossMoments(2, 1),
        lambda m, x: m.update(x[:, :2], x[:, 2:]),
        lambda m: {"cross": m.cross, "x": m.scatter_x, "mean": m.mean_y, "n": m.count},
        list(X),
        tolerance=1e-11,
        downdate=lambda m, x: m.downdate(x[:, :2], x[:, 2:]),
    )


@pytest.mark.parametrize("features", ["nystroem", "fourier"])
def test_hsic_moments(features):
    rows = X.reshape(-1, 3)
    made = HSICMoments.like(rows[:, :2], rows[:, 2], features=features, n_features=20)

    def read_hsic(m):
        held = m._held
        return {"mean": held.origin + held.offset, "scatter": held.second, "n": held.count}

    check_mergeable(
        made.copy,
        lambda m, x: m.update(x[:, :2], x[:, 2]),
        read_hsic,
        list(X),
        tolerance=1e-11,
        downdate=lambda m, x: m.downdate(x[:, :2], x[:, 2]),
    )


class MeanOfMeans:
    """Wrong on purpose: forgets how many rows stand behind a mean."""

    def __init__(self, keep=False):
        self.mean, self.n, self.keep = 0.0, 0, keep

    def update(self, x):
        self.mean = (self.mean * self.n + x.sum()) / (self.n + x.size)
        self.n += x.size

    def merge(self, other):
        self.mean, self.n = (self.mean + other.mean) / 2, self.n + other.n
        return self

    def __add__(self, other):
        new = MeanOfMeans()
        new.mean, new.n = self.mean, self.n
        return new.merge(other)


class Greedy(Moments):
    """Wrong on purpose: `a + b` shares what a holds."""

    def __add__(self, other):
        return self.merge(other)


def test_wrong_sums_are_caught():
    with pytest.raises(LawBrokenError, match="mean is off by"):
        check_mergeable(MeanOfMeans, lambda m, x: m.update(x), lambda m: {"mean": m.mean}, list(X))
    with pytest.raises(LawBrokenError, match=r"is off by"):
        check_mergeable(lambda: Greedy(3), lambda m, x: m.update(x), read, list(X), tolerance=1e-9)
    with pytest.raises(LawBrokenError, match="returns"):
        check_mergeable(
            lambda: Moments(3),
            lambda m, x: m.update(x),
            read,
            list(X),
            tolerance=1e-9,
            downdate=lambda m, x: m.downdate(x * 0.999),
        )
