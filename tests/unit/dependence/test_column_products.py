"""Alignments by cross products against dense centered Gram matrices."""

import numpy as np
import pytest
import torch

from trivium._core.errors import ArgumentError, DataError
from trivium.dependence import DependenceColumn, column_products
from trivium.dependence.column_products import ColumnProducts, target_column, target_features


def gaussian(x, lengthscale):
    return np.exp(-((x[:, None] - x[None]) ** 2) / (2 * lengthscale**2))


def center(gram):
    rows = gram - gram.mean(0)
    return rows - rows.mean(1, keepdims=True)


def alignment(a, b):
    return np.sum(a * b) / (np.linalg.norm(a) * np.linalg.norm(b))


def median_distance(x):
    apart = np.abs(np.subtract.outer(x, x))[np.triu_indices(len(x), 1)]
    return np.median(apart) or np.median(apart[apart > 0])


def check(columns, grams, lengthscale, tol, within):
    """Every alignment of the columns with each other is that of the dense Gram matrices."""
    products = ColumnProducts(torch.from_numpy(np.ascontiguousarray(columns.T)), lengthscale, tol)
    found = torch.stack([products.column(k) for k in range(len(products))]).numpy()
    dense = np.array([[alignment(a, b) for b in grams] for a in grams])
    np.testing.assert_allclose(found, dense, atol=within)


@pytest.fixture
def columns(rng):
    x = rng.normal(size=(70, 6))
    x[:, 1] = x[:, 0] ** 2
    x[:, 2] = rng.random(70) < 0.1  # the median distance is 0
    x[:, 3] = 1e6 + 1e-3 * x[:, 4]
    return x


@pytest.mark.parametrize(("tol", "within"), [(1e-13, 1e-10), (1e-8, 1e-8)])
@pytest.mark.parametrize("lengthscale", ["median", 0.7])
def test_alignments_are_those_of_dense_gram_matrices(columns, lengthscale, tol, within):
    grams = []
    for column in columns.T:
        x = (column - column.mean()) / column.std()
        grams.append(gaussian(x, median_distance(x) if lengthscale == "median" else lengthscale))
    check(columns, [center(gram) for gram in grams], lengthscale, tol, within)
    for wrong in (grams, [center(gram**2) for gram in grams]):  # not centered; not the scale
        with pytest.raises(AssertionError):
            check(columns, wrong, lengthscale, tol, within)


def test_missing_values_are_a_level_of_their_own(rng):
    x = rng.normal(size=(60, 2))
    gone = rng.random(60) < 0.3
    x[gone, 0] = np.nan
    grams = []
    for column in x.T:
        seen = ~np.isnan(column)
        gram = np.zeros((60, 60))
        gram[np.ix_(seen, seen)] = gaussian(column[seen], column[seen].std())
        gram[np.ix_(~seen, ~seen)] = 1
        grams.append(center(gram))
    check(x, grams, 1.0, 1e-13, 1e-10)


def test_heavy_tails_are_compared_by_ranks_too(rng):
    x = rng.standard_cauchy(50)
    ranks = x.argsort().argsort() / 50
    gram = gaussian(x, median_distance(x)) + gaussian(ranks, median_distance(ranks))
    plain = rng.normal(size=50)
    both = [center(gram), center(gaussian(plain, median_distance(plain)))]
    check(np.column_stack([x, plain]), both, "median", 1e-13, 1e-10)


def test_blocks_and_a_full_budget_change_nothing(columns, monkeypatch):
    whole = ColumnProducts(torch.from_numpy(columns.T.copy()))
    monkeypatch.setattr(column_products, "_BLOCK_BYTES", 8 * 120 * 70 * 2)
    monkeypatch.setattr(column_products, "_KEPT_BYTES", 8 * 70 * 40)
    parts = ColumnProducts(torch.from_numpy(columns.T.copy()))
    assert parts._step == 2
    assert 0 < len(parts._kept) < 3  # some kept, some made again
    for k in range(6):
        np.testing.assert_allclose(parts.column(k), whole.column(k), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("lengthscale", ["median", 1.0])
def test_columns_that_do_not_vary_align_with_nothing(rng, lengthscale):
    x = np.column_stack([rng.normal(size=30), np.full(30, 7.3), np.full(30, np.nan)])
    products = ColumnProducts(torch.from_numpy(x.T.copy()), lengthscale)
    assert products.constant.tolist() == [False, True, True]
    assert products.column(0)[1:].tolist() == [0, 0]
    assert products.column(1).tolist() == [0, 0, 0]
    assert len(products.features(1)) == 0


def test_levels_of_the_target_weigh_alike(rng):
    codes = rng.choice(3, 80, p=[0.7, 0.2, 0.1])
    psi = target_features(DependenceColumn("y", "category", codes)).numpy()
    counts = np.bincount(codes)[codes]
    gram = center((codes[:, None] == codes) / counts)
    np.testing.assert_allclose(psi.T @ psi, gram, atol=1e-12)
    x = rng.normal(size=80)
    products = ColumnProducts(torch.from_numpy(x[None].copy()), 1.0, 1e-13)
    dense = alignment(center(gaussian(x, x.std())), gram)
    assert float(products.alignment(torch.from_numpy(psi))[0]) == pytest.approx(dense, abs=1e-10)


def test_a_target_of_numbers_has_the_kernel_of_a_column(rng):
    y = rng.normal(size=40)
    psi = target_features(DependenceColumn("y", "number", y), 0.5, 1e-13).numpy()
    np.testing.assert_allclose(psi.T @ psi, center(gaussian(y, 0.5 * y.std())), atol=1e-10)


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (["a", "b", "a", "b"], "category"),
        ([True, False, True, False], "category"),
        ([1, 2, 1, 2], "category"),
        ([1, 2, 3, 4], "number"),  # no level repeats
        ([1.0, 2.0, 1.0, 2.0], "number"),
    ],
)
def test_kind_of_the_target(labels, kind):
    assert target_column("f", np.array(labels), "auto").kind == kind


def test_target_of_a_given_kind():
    assert target_column("f", np.array([1.5, 2.5, 1.5]), "category").values.tolist() == [0, 1, 0]
    assert target_column("f", np.array([1, 2, 1]), "number").values.tolist() == [1, 2, 1]


@pytest.mark.parametrize(
    ("labels", "kind", "error", "words"),
    [
        ([1, 2], "ordinal", ArgumentError, "target must be one of 'auto', 'number', 'category'"),
        (["a", "b"], "number", DataError, "must be numbers for target='number'; got <U1"),
        ([3, 3], "auto", DataError, "at least two values; got only"),
        (np.array(["a", None], dtype=object), "auto", DataError, "labels of one type"),
    ],
)
def test_refused_targets(labels, kind, error, words):
    with pytest.raises(error, match=f"f: .*{words}"):
        target_column("f", np.array(labels), kind)
