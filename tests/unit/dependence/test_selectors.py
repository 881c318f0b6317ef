"""The column selectors: scikit-learn's conventions, what is chosen, what changes nothing."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from trivium._core.errors import ArgumentError, DataError, TriviumWarning
from trivium.closedform import ClosedFormClassifier
from trivium.dependence import HSICLasso, HSICmRMR, HSICScreen

CHOOSERS = [HSICLasso, HSICmRMR]
ALL = [lambda k: HSICScreen(k, n_permutations=199), HSICLasso, HSICmRMR]
NAMES = ["screen", "lasso", "mrmr"]
every = pytest.mark.parametrize("make", ALL, ids=NAMES)


@pytest.mark.filterwarnings("ignore::trivium._core.errors.TriviumWarning")
@pytest.mark.filterwarnings("ignore:No features were selected")
@parametrize_with_checks([HSICScreen(), HSICLasso(), HSICLasso(1, lengthscale=1.0), HSICmRMR()])
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


def planted(rng, n=200, d=12):
    """y depends on columns 1, 4 and 7, each in a way that no correlation shows or not."""
    x = rng.normal(size=(n, d))
    return x, np.sin(2 * x[:, 1]) + np.abs(x[:, 4]) + 0.8 * x[:, 7] + 0.1 * rng.normal(size=n)


def chosen(selector, x, y):
    return selector.fit(x, y).get_support(indices=True).tolist()


@every
@pytest.mark.parametrize("kind", ["regression", "classification", "text"])
def test_planted_columns_are_chosen(make, kind, rng):
    x, y = planted(rng)
    if kind != "regression":
        y = np.digitize(y, np.quantile(y, [1 / 3, 2 / 3]))
    if kind == "text":
        y = np.array(["low", "mid", "top"])[y]
    assert chosen(make(3), x, y) == [1, 4, 7]


def test_the_screen_selects_by_false_discovery_rate(rng):
    x, y = planted(rng)
    fitted = HSICScreen(fdr=0.1).fit(x, y)
    assert {1, 4, 7} <= set(fitted.get_support(indices=True))
    np.testing.assert_array_equal(fitted.support_, fitted.q_values_ <= 0.1)
    assert fitted.support_.sum() <= 5
    cautious = HSICScreen(fdr=0.1, correction="by").fit(x, y)
    assert (cautious.q_values_ >= fitted.q_values_).all()
    with pytest.warns(UserWarning, match="No features were selected"):
        assert HSICScreen().fit(x, rng.normal(size=200)).transform(x).shape == (200, 0)


@every
def test_any_units_give_the_same_choice(make, rng):
    x, y = planted(rng)
    scale = np.exp(rng.uniform(-30, 30, 12))
    shift = scale * rng.normal(size=12)
    plain, scaled = make(5).fit(x, y), make(5).fit(x * scale + shift, 1e9 * y + 7)
    np.testing.assert_array_equal(scaled.support_, plain.support_)
    np.testing.assert_allclose(scaled.scores_, plain.scores_, atol=1e-6)


@pytest.mark.parametrize("lengthscale", ["median", 0.6])
@pytest.mark.parametrize("make", CHOOSERS)
def test_order_of_rows_and_columns_changes_nothing(make, lengthscale, rng):
    x, y = planted(rng)
    rows, columns = rng.permutation(200), rng.permutation(12)
    plain = make(6, lengthscale=lengthscale).fit(x, y)
    moved = make(6, lengthscale=lengthscale).fit(x[rows][:, columns], y[rows])
    assert columns[moved.order_].tolist() == plain.order_.tolist()
    np.testing.assert_allclose(moved.scores_, plain.scores_[columns], atol=1e-7)


@pytest.mark.parametrize("make", CHOOSERS)
def test_repeats_are_left_out(make, rng):
    x, y = planted(rng)
    x = np.column_stack([x, x[:, 1], -2.54 * x[:, 4] + 100, x[:, 7] / 1e9])
    assert chosen(make(3), x, y) == [1, 4, 7]


def test_repeats_are_as_good_to_the_screen(rng):
    x, y = planted(rng)
    x = np.column_stack([x, x[:, 7]])
    fitted = HSICScreen(4).fit(x, y)
    assert fitted.p_values_[12] == fitted.p_values_[7]
    assert {7, 12} <= set(fitted.get_support(indices=True))


@every
def test_missing_values_are_a_level(make, rng):
    x = rng.normal(size=(200, 6))
    y = rng.normal(size=200)
    x[y > 0.5, 3] = np.nan  # that a value is missing is what tells of y
    x[rng.random(200) < 0.2, 1] = np.nan
    x[:, 5] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TriviumWarning)
        fitted = make(1).fit(x, y)
    assert fitted.get_support(indices=True).tolist() == [3]
    assert np.isnan(fitted.transform(x)).any()


@every
@pytest.mark.filterwarnings("ignore:screen. 2 of 9 columns are constant")
def test_constant_columns_are_never_selected(make, rng):
    x, y = planted(rng, d=9)
    x[:, [0, 2]] = 5.0, np.nan
    with pytest.warns(TriviumWarning, match="is 9, but only 7 columns vary"):
        fitted = make(9).fit(x, y)
    assert fitted.get_support(indices=True).tolist() == [1, 3, 4, 5, 6, 7, 8]


@every
def test_more_than_there_are_selects_all_and_says_so(make, rng):
    x, y = planted(rng, d=9)
    with pytest.warns(
        TriviumWarning, match=r"fit: (k|n_features) is 12, but only 9 columns"
    ) as told:
        assert make(12).fit(x, y).support_.all()
    assert told[-1].filename == __file__


@every
def test_wide_tables(make, rng):
    x = rng.normal(size=(60, 400))
    y = x[:, 17] + 0.1 * rng.normal(size=60)
    fitted = make(5).fit(x, y)
    assert fitted.support_.sum() == 5
    assert fitted.support_[17]


@every
@pytest.mark.parametrize("k", [1, 2, 5, 12])
def test_exactly_as_many_as_asked_for(make, k, rng):
    x, y = planted(rng)
    assert make(k).fit(x, y).support_.sum() == k


@pytest.mark.parametrize("make", CHOOSERS)
def test_what_is_published(make, rng):
    x, y = planted(rng)
    fitted = make(4).fit(x, y)
    assert sorted(fitted.order_) == fitted.get_support(indices=True).tolist()
    assert fitted.order_[0] == fitted.relevance_.argmax()
    assert ((fitted.relevance_ >= 0) & (fitted.relevance_ <= 1)).all()
    out = fitted.scores_[~fitted.support_]
    assert (out == (0 if make is HSICLasso else -np.inf)).all()
    if make is HSICmRMR:
        gains = fitted.scores_[fitted.order_]
        assert gains[0] == pytest.approx(fitted.relevance_.max())
    else:
        np.testing.assert_array_equal(fitted.scores_, fitted.path_.coefficients[-1])
        assert fitted.path_.filled == 0


def test_mrmr_is_the_rule_on_dense_alignments(rng):
    x, y = planted(rng, n=60)

    def gram(v):
        k = np.exp(-((v[:, None] - v) ** 2) / (2 * v.var()))
        k = k - k.mean(0)
        k = k - k.mean(1, keepdims=True)
        return k / np.linalg.norm(k)

    grams = [gram(v) for v in x.T]
    relevance = np.array([np.sum(k * gram(y)) for k in grams])
    a = np.array([[np.sum(k * other) for other in grams] for k in grams])
    order = [int(relevance.argmax())]
    while len(order) < 8:
        score = relevance - a[order].mean(0)
        score[order] = -np.inf
        order.append(int(score.argmax()))
    fitted = HSICmRMR(8, lengthscale=1.0).fit(x, y)
    assert fitted.order_.tolist() == order
    np.testing.assert_allclose(fitted.relevance_, relevance, atol=1e-8)


def test_rare_levels_weigh_as_much_as_frequent_ones(rng):
    y = np.repeat([0, 1, 2], [180, 180, 20])
    x = rng.normal(size=(380, 3))
    x[:, 0] += 1.2 * (y == 1)
    x[:, 1] += 3 * (y == 2)
    fitted = HSICLasso(2, lengthscale=1.0).fit(x, y)
    gram = np.exp(-((x[:, 1, None] - x[:, 1]) ** 2) / (2 * x[:, 1].var()))
    gram = gram - gram.mean(0)
    gram = gram - gram.mean(1, keepdims=True)
    weights = [[1 / 180], [1 / 180], [1 / 20]]
    label = sum(w[0] * np.outer(y == c, y == c) for c, w in enumerate(weights))
    label = label - label.mean(0)
    label = label - label.mean(1, keepdims=True)
    dense = np.sum(gram * label) / np.linalg.norm(gram) / np.linalg.norm(label)
    assert fitted.relevance_[1] == pytest.approx(dense, abs=1e-8)
    assert fitted.get_support(indices=True).tolist() == [0, 1]


@every
def test_before_the_classifier_in_a_pipeline(make):
    x, y = load_digits(return_X_y=True)
    x, y = x[:400], y[:400]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TriviumWarning)
        scores = cross_val_score(make_pipeline(make(16), ClosedFormClassifier()), x, y, cv=3)
        few = cross_val_score(make_pipeline(make(1), ClosedFormClassifier()), x, y, cv=3)
    assert scores.mean() > 0.75
    assert few.mean() < 0.5  # one pixel is not enough: the selector is in the pipeline's way


@every
def test_names_of_a_data_frame(make, rng):
    x, y = planted(rng)
    frame = pd.DataFrame(x, columns=[f"c{k}" for k in range(12)])
    fitted = make(3).set_output(transform="pandas").fit(frame, y)
    assert fitted.get_feature_names_out().tolist() == ["c1", "c4", "c7"]
    assert fitted.transform(frame).columns.tolist() == ["c1", "c4", "c7"]
    if isinstance(fitted, HSICScreen):
        assert [row.name for row in fitted.table_.rows] == frame.columns.tolist()


def test_places_name_columns_without_names(rng):
    x, y = planted(rng, d=8)
    fitted = HSICScreen(1, n_permutations=199).fit(x, y)
    assert [row.name for row in fitted.table_.rows] == list("01234567")


@every
def test_same_seed_same_bits(make, rng):
    x, y = planted(rng, n=80)
    selector = make(3)
    first, again = selector.fit(x, y).scores_, clone(selector).fit(x, y).scores_
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("make", CHOOSERS)
def test_target_of_a_given_kind(make, rng):
    x = rng.normal(size=(200, 3))
    y = rng.permutation(np.repeat([0, 1, 2, 3], 50))
    x[:, 0] += 0.8 * y
    auto, codes, numbers = (
        make(1, target=kind).fit(x, y).relevance_ for kind in ("auto", "category", "number")
    )
    np.testing.assert_array_equal(auto, codes)
    assert abs(numbers[0] - codes[0]) > 0.01


GOOD = np.arange(24.0).reshape(8, 3) ** 1.1, np.arange(8.0)


@every
@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (GOOD[0], GOOD[1][:5], "inconsistent numbers of samples"),
        (GOOD[0][:3], GOOD[1][:3], "minimum of 4 is required"),
        (np.where(GOOD[0] > 20, np.inf, GOOD[0]), GOOD[1], "contains infinity"),
        (GOOD[0], np.where(GOOD[1] > 5, np.nan, GOOD[1]), "y contains NaN"),
        (GOOD[0], np.ones(8), "y must have at least two values"),
        (np.full((8, 3), "a"), GOOD[1], "could not convert string to float"),
        (GOOD[0], None, "requires y to be passed"),
    ],
)
def test_refused_data(make, x, y, words):
    with pytest.raises(DataError, match=rf"HSIC\w+\.fit: .*{words}"):
        make(1).fit(x, y)


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        (HSICScreen(0), "HSICScreen.fit: k must be an integer, positive; got 0"),
        (HSICScreen(-2), "HSICScreen.fit: k must be an integer, positive; got -2"),
        (HSICScreen(fdr=1.0), r"HSICScreen.fit: fdr must be a number, in \(0, 1\); got 1.0"),
        (HSICScreen(n_permutations=0), "n_permutations must be"),
        (HSICScreen(correction="none"), "correction must be one of"),
        (HSICScreen(target="text"), "HSICScreen.fit: target must be one of"),
        (HSICLasso(0), "HSICLasso.fit: n_features must be an integer, positive; got 0"),
        (HSICmRMR(-1), "HSICmRMR.fit: n_features must be an integer, positive; got -1"),
        (HSICLasso(1, lengthscale="mean"), "HSICLasso.fit: lengthscale must be one of 'median'"),
        (HSICmRMR(1, lengthscale=0.0), "HSICmRMR.fit: lengthscale must be a number, positive"),
        (HSICLasso(1, target="text"), "HSICLasso.fit: target must be one of"),
    ],
)
def test_refused_arguments(selector, words):
    with pytest.raises(ArgumentError, match=words):
        selector.fit(*GOOD)


def test_text_for_a_target_of_numbers_is_refused():
    with pytest.raises(DataError, match=r"HSICLasso.fit: y must be numbers for target='number'"):
        HSICLasso(1, target="number").fit(GOOD[0], list("abababab"))


def test_no_gram_matrix_is_made(rng, monkeypatch):
    """No product of the selector has as many rows and columns as the table has rows."""
    x, y = planted(rng, n=300)
    seen = []
    plain = torch.Tensor.__matmul__

    def spy(a, b):
        seen.append(tuple(a.shape[-2:-1]) + tuple(b.shape[-1:]))
        return plain(a, b)

    monkeypatch.setattr(torch.Tensor, "__matmul__", spy)
    HSICLasso(4).fit(x, y)
    assert seen
    assert all(shape.count(300) < 2 for shape in seen)
