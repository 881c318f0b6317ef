"""Moments against numpy and scikit-learn in float64, and every guard."""

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import StandardScaler

from trivium._core.errors import (
    ArgumentError,
    DataError,
    NumericalError,
    ShapeError,
    TriviumWarning,
)
from trivium.moment import MergeTree, Moments, merge_tree


def rows(n=300, d=4, k=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d))
    y = rng.integers(0, k, n)
    return x + 3 * y[:, None], y, rng.random(n)


def scatter(x, w):
    return np.cov(x.T, aweights=w, ddof=0) * w.sum()


def off(found, wanted):
    return float(np.abs(np.asarray(found) - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("classwise", [False, True])
def test_weighted_class_scatter_is_numpys(classwise):
    x, y, w = rows()
    m = Moments(4, classwise=classwise).update(x, y, w)
    each = np.stack([scatter(x[y == k], w[y == k]) for k in range(3)])
    assert m.classes.tolist() == [0, 1, 2]
    assert m.counts.tolist() == np.bincount(y).tolist()
    assert off(m.weights, np.bincount(y, w)) < 1e-14
    assert off(m.means, [np.average(x[y == k], 0, w[y == k]) for k in range(3)]) < 1e-13
    assert off(m.mean, np.average(x, 0, w)) < 1e-13
    assert off(m.within, each.sum(0)) < 1e-13
    assert off(m.total, scatter(x, w)) < 1e-13
    onehot = np.eye(3)[y]
    centered = onehot - np.average(onehot, 0, w)
    assert off(m.cross, (centered * w[:, None]).T @ (x - np.average(x, 0, w))) < 1e-12
    if classwise:
        assert off(m.class_scatter, each) < 1e-13


def test_agrees_with_scikit_learn():
    x, y, _ = rows()
    m = Moments(4).update(x, y)
    lda = LinearDiscriminantAnalysis(solver="lsqr", store_covariance=True).fit(x, y)
    assert off(m.within / len(x), lda.covariance_) < 1e-12
    scaler = StandardScaler()
    part = Moments(4)
    for i in range(0, 300, 70):
        scaler.partial_fit(x[i : i + 70])
        part.update(x[i : i + 70])
    assert off(part.mean, scaler.mean_) < 1e-12
    assert off(part.total.diagonal() / 300, scaler.var_) < 1e-12
    assert part.classes is None
    assert part.means.shape == (1, 4)


@pytest.mark.parametrize(
    ("offset", "dtype", "tolerance"),
    [(1e3, "float32", 2e-6), (1e4, "float32", 2e-6), (1e8, "float64", 1e-12), (0, "float32", 1e-6)],
)
def test_offsets_do_not_cancel(offset, dtype, tolerance):
    x, y, w = rows(5000)
    x = ((x - 3 * y[:, None]) + offset * (1 + y[:, None])).astype(dtype)  # far classes, too
    exact = x.astype(np.float64) - offset * (1 + y[:, None])
    wanted = sum(scatter(exact[y == k], w[y == k]) for k in range(3))
    m = Moments(4)
    for i in range(0, 5000, 700):
        m.update(x[i : i + 700], y[i : i + 700], w[i : i + 700])
    assert off(m.within, wanted) < tolerance


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_drift_away_from_the_first_block(dtype):
    x, _, _ = rows(3000)
    x = x.astype(dtype)
    x[1000:] += 1e5
    m = Moments(4)
    for i in range(0, 3000, 500):
        m.update(x[i : i + 500])
    assert off(m.total, np.cov(x.astype(float).T, ddof=0) * 3000) < 1e-7
    m.downdate(x[:1000])
    tolerance = {"float32": 2e-3, "float64": 1e-4}[dtype]  # the shift is 1e5 deviations away
    wanted = np.cov(x[1000:].astype(float).T, ddof=0) * 2000
    assert off(m.total, wanted) < tolerance


def test_condition_1e12_keeps_the_small_directions_of_scaled_columns():
    x, _, _ = rows(2000)
    scale = np.array([1.0, 1e-2, 1e-4, 1e-6])
    m = Moments(4).update((x * scale).astype(np.float32))
    wanted = np.cov((x * scale).astype(np.float32).astype(float).T, ddof=0) * 2000
    assert np.abs(m.total.numpy() / wanted - 1).max() < 1e-4


def test_constant_and_duplicate_columns():
    x = np.random.default_rng(0).normal(size=(50, 1))
    m = Moments(3).update(np.hstack([x, x, np.full((50, 1), 7.5)]))
    assert m.total[2].abs().max() == 0
    assert off(m.total[0], m.total[1].numpy()) < 1e-14
    assert m.condition() == float("inf") or m.condition() > 1e12


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-12)])
def test_any_split_merges_to_the_whole(dtype, tolerance):
    x, y, w = rows(900)
    x = x.astype(dtype)
    whole = Moments(4).update(x, y, w)
    for cut in (0, 1, 450, 899, 900):
        a = Moments(4).update(x[:cut], y[:cut], w[:cut])
        b = Moments(4).update(x[cut:], y[cut:], w[cut:])
        for both in (a + b, b + a):
            assert off(both.within, whole.within.numpy()) < tolerance
            assert off(both.means, whole.means.numpy()) < tolerance
            assert both.counts.tolist() == whole.counts.tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_up_then_down_returns(dtype):
    x, y, w = rows(900)
    x = x.astype(dtype)
    m = Moments(4).update(x[:300], y[:300], w[:300])
    before = m.copy()
    m.update(x[300:], y[300:], w[300:]).downdate(x[300:], y[300:], w[300:])
    assert off(m.within, before.within.numpy()) < 1e-9
    assert off(m.means, before.means.numpy()) < 1e-9
    assert m.counts.tolist() == before.counts.tolist()
    m.downdate(x[:300], y[:300], w[:300])
    assert m.within.abs().max() == 0
    assert m.counts.tolist() == [0, 0, 0]
    assert torch.isnan(m.means).all()


def test_calls_do_not_matter_only_blocks_do():
    x, y, _ = rows(900)
    x = x.astype(np.float32)
    blocks = [(x[i : i + 300], y[i : i + 300]) for i in (0, 300, 600)]
    one = Moments(4).update(iter(blocks))
    many = Moments(4)
    for part in blocks:
        many.update(*part)
    assert torch.equal(one.within, many.within)
    assert torch.equal(one.means, many.means)


def test_the_tree_gives_the_same_bits_for_a_list_and_an_iterator():
    x, y, _ = rows(1000)
    parts = [Moments(4).update(x[i::7], y[i::7]) for i in range(7)]
    assert torch.equal(merge_tree(parts).within, merge_tree(iter(parts)).within)
    assert off(merge_tree(parts).within, Moments(4).update(x, y).within.numpy()) < 1e-12
    assert off(sum(parts).within, Moments(4).update(x, y).within.numpy()) < 1e-12
    with pytest.raises(ArgumentError, match="at least one part"):
        merge_tree([])


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 13])
def test_the_tree_gives_the_same_bits_in_whatever_order_parts_come(n):
    x, y, _ = rows(1000)
    wanted = merge_tree(Moments(4).update(x[i::n], y[i::n]) for i in range(n))
    orders = np.random.default_rng(n)
    for order in [range(n)[::-1], orders.permutation(n), orders.permutation(n)]:
        tree = MergeTree()
        for i in order:
            tree.add(int(i), Moments(4).update(x[i::n], y[i::n]))
        assert len(tree) == n
        total = tree.total()
        assert torch.equal(total.within, wanted.within)
        assert torch.equal(total.means, wanted.means)


def test_a_tree_with_a_gap_is_no_sum():
    tree = MergeTree()
    for i in (0, 1, 3):
        tree.add(i, Moments(1))
    with pytest.raises(ArgumentError, match="3 parts with a gap"):
        tree.total()
    with pytest.raises(ArgumentError, match="got 0 parts"):
        MergeTree().total()


def test_labels_unite_and_may_be_strings():
    a = Moments(1).update([[1.0], [2.0]], ["b", "c"])
    b = Moments(1).update([[3.0], [5.0]], np.array(["a", "c"], dtype=object))
    both = a + b
    assert both.classes.tolist() == ["a", "b", "c"]
    assert both.counts.tolist() == [1, 1, 2]
    assert both.means[:, 0].tolist() == [3.0, 1.0, 3.5]
    assert a.classes.tolist() == ["b", "c"]
    assert Moments(1).update([[1.0]], torch.tensor([True])).classes.tolist() == [True]


def test_fixed_classes_wait_for_their_rows():
    m = Moments(2, classes=["y", "x", "z"]).update([[1.0, 2.0]], ["y"])
    assert m.classes.tolist() == ["x", "y", "z"]
    assert m.counts.tolist() == [0, 1, 0]
    assert torch.isnan(m.means).all(1).tolist() == [True, False, True]
    m.update([[1.0, 2.0]], ["z"])
    assert torch.isfinite(m.total).all()


def test_many_classes_take_the_scattered_path():
    x, _, w = rows(500)
    y = np.arange(500) % 100
    m = Moments(4).update(x, y, w)
    wanted = sum(scatter(x[y == k], w[y == k]) for k in range(100))
    assert off(m.within, wanted) < 1e-12


def test_decay_forgets_and_stays_exact():
    x, y, w = rows(600)
    m = Moments(4).update(x[:300], y[:300], w[:300]).decay(0.25).update(x[300:], y[300:], w[300:])
    faded = np.where(np.arange(600) < 300, 0.25 * w, w)
    same = Moments(4).update(x, y, faded)
    assert off(m.within, same.within.numpy()) < 1e-12
    assert off(m.weights, same.weights.numpy()) < 1e-12
    long = Moments(4).update(x)
    for _ in range(100):
        long.decay(0.5).update(x + 1e6)
    assert off(long.total / long.weights.sum(), np.cov(x.T, ddof=0)) < 1e-6


def test_dtype_is_chosen_and_kept():
    x, _, _ = rows()
    single = x.astype(np.float32)
    exact = np.cov(single.astype(float).T, ddof=0) * len(x)
    assert off(Moments(4, dtype="float64").update(single).total, exact) < 1e-14
    assert off(Moments(4).update(single).total, exact) > 1e-14
    assert Moments(4, accumulate=torch.float32).update(single).total.dtype == torch.float32
    assert Moments(4).update(x.astype(np.int32)).total.dtype == torch.float64


def test_condition_warns_in_float32_only():
    x, _, _ = rows()
    x[:, 3] *= 1e-6
    with pytest.warns(TriviumWarning, match=r"condition number .* dtype='float64'"):
        assert Moments(4).update(x.astype(np.float32)).condition() > 1e8
    assert Moments(4).update(x).condition() > 1e8


def test_nothing_and_empty_batches():
    m = Moments(2)
    assert m.update(np.empty((0, 2)), []).counts.tolist() == []
    assert (m + Moments(2)).counts.tolist() == []
    with pytest.raises(DataError, match="total weight is 0"):
        _ = m.mean
    with pytest.raises(DataError, match="total weight is 0"):
        m.condition()
    assert "2 features" in repr(m)


def good():
    return Moments(2).update([[1.0, 2.0], [3.0, 5.0]], [0, 1])


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (([[1.0, float("nan")]], [0]), DataError, r"finite; got nan.*row 0, column 1"),
        (([[1.0, float("inf")]], [0]), DataError, "finite; got inf"),
        (([[1.0, 2.0]], [0], [0.0]), DataError, "positive sum; got 0"),
        (([[1.0, 2.0]], [0], [-1.0]), DataError, r"non-negative; got -1.*row 0"),
        (([[1.0, 2.0]], [0], [float("nan")]), DataError, "finite and non-negative"),
        (([[1.0, 2.0]], [0], ["a"]), DataError, "sample_weight must be numbers"),
        (([[1.0, 2.0]], [0], [[1.0]]), ShapeError, "axes"),
        (([[1.0, 2.0, 3.0]], [0]), ShapeError, "2 columns"),
        (([1.0, 2.0], [0]), ShapeError, "axes"),
        (([[1.0], [2.0, 3.0]], [0]), ShapeError, "ragged"),
        (([[1.0, 2.0]], [0, 1]), ShapeError, "1 in X but 2 in y"),
        (([[1.0, 2.0]], [0], [1.0, 1.0]), ShapeError, "1 in X but 2 in sample_weight"),
        (([[1.0, 2.0]],), ArgumentError, "y must be given"),
        (([[1.0, 2.0]], ["a"]), DataError, "one kind"),
        (([[1.0, 2.0]], [None]), DataError, "missing"),
        (([[1.0, 2.0]], [float("nan")]), DataError, "missing"),
        (([[1.0, 2.0], [1.0, 2.0]], np.array(["a", 1], object)), DataError, "one kind"),
        (([[1.0, 2.0]], [[0, 1]]), ShapeError, "y must have the axes"),
        (([[1.0, 2.0]], [1j]), DataError, "y must be integers"),
        (([["a", "b"]], [0]), DataError, "numeric"),
        (([[1j, 2.0]], [0]), DataError, "real"),
        ((3.0, [0]), ArgumentError, "matrix or an iterable"),
    ],
)
def test_bad_rows_are_refused_and_nothing_changes(arguments, error, match):
    m = good()
    before = m.within
    with pytest.raises(error, match=match):
        m.update(*arguments)
    assert torch.equal(m.within, before)
    assert m.counts.tolist() == [1, 1]
    assert m.classes.tolist() == [0, 1]


def test_a_bad_block_takes_back_the_good_ones_before_it():
    m = good()
    blocks = [(np.ones((2, 2)), np.array([7, 8])), (np.full((1, 2), np.nan), np.array([7]))]
    with pytest.raises(DataError, match="row 2, column 0"):
        m.update(blocks)
    assert m.classes.tolist() == [0, 1]


def test_overflow_is_named():
    with pytest.raises(NumericalError, match="overflow"):
        Moments(2).update(np.array([[1e30, 1.0], [-1e30, 1.0]], np.float32))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (([[1.0, 2.0], [1.0, 2.0]], [0, 0]), "count would become -1"),
        (([[1.0, 2.0]], [0], [5.0]), "weight would become"),
        (([[1.0, 2.0]], [0], [0.5]), "weight would become"),
        (([[1.0, 2.0]], [9]), "only the classes"),
    ],
)
def test_rows_never_added_are_refused(arguments, match):
    m = good()
    with pytest.raises(DataError, match=match):
        m.downdate(*arguments)
    assert m.counts.tolist() == [1, 1]


def test_negative_scatter_is_refused():
    m = Moments(1).update([[1.0], [2.0], [3.0]])
    with pytest.raises(DataError, match="scatter would become"):
        m.downdate([[9.0]])
    with pytest.raises(DataError, match="count would become"):
        Moments(1).downdate([[9.0]])


def test_unknown_class_when_fixed():
    with pytest.raises(DataError, match=r"only the classes \[0, 1\]; got \[2\]"):
        Moments(1, classes=[0, 1]).update([[1.0]], [2])


@pytest.mark.parametrize(
    ("a", "b", "error", "match"),
    [
        (Moments(2), Moments(3), ShapeError, "2 in self but 3"),
        (Moments(2), Moments(2, classwise=True), ArgumentError, "classwise"),
        (good(), Moments(2).update([[1.0, 1.0]]), ArgumentError, "labels"),
        (good(), Moments(2).update([[1.0, 1.0]], ["a"]), DataError, "one kind"),
        (Moments(2), 3, ArgumentError, "must be Moments"),
    ],
)
def test_bad_merges(a, b, error, match):
    with pytest.raises(error, match=match):
        a.merge(b)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Moments(0),
        lambda: Moments(1.5),
        lambda: Moments(2, dtype="float16"),
        lambda: Moments(2, accumulate="int"),
        lambda: Moments(2, classes=[]),
        lambda: Moments(2, classes=[1, 1]),
        lambda: good().decay(0),
        lambda: good().decay(1.5),
        lambda: good().class_scatter,
    ],
)
def test_bad_options(build):
    with pytest.raises((ArgumentError, DataError)):
        build()


def test_y_after_rows_without_y():
    with pytest.raises(ArgumentError, match="y must be None"):
        Moments(1).update([[1.0]]).update([[1.0]], [0])


def test_a_faded_class_outlives_what_is_taken_from_another():
    """Its weight is 1e-14 of the other's: that is no rounding of its own."""
    m = Moments(1, classwise=True).update([[1.0], [2.0]], ["a", "a"])
    for _ in range(7):
        m.decay(0.01)
    m.update([[5.0], [6.0], [7.0]], ["b"] * 3).downdate([[5.0]], ["b"])
    assert m.weights.tolist() == pytest.approx([2e-14, 2.0], rel=1e-12)
    assert m.means[:, 0].tolist() == pytest.approx([1.5, 6.5], rel=1e-12)
