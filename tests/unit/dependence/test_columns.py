"""Features of each kind against the kernel that they stand for."""

import datetime

import numpy as np
import pytest
import torch

from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.dependence import DependenceColumn
from trivium.dependence.columns import feature_blocks
from trivium.dependence.compression import compress
from trivium.dependence.date_features import date_features, periodic_features
from trivium.dependence.number_features import NumberColumns, number_features
from trivium.dependence.text_features import text_features, words_of
from trivium.kernel import Gaussian, median_lengthscale


def gram(features):
    return (features.mT @ features).numpy()


def one(kind, values, **options):
    ((places, block),) = feature_blocks([DependenceColumn("c", kind, values)], **options)
    assert places == [0]
    return gram(block.values[0]), block.kernels[0], block.residuals[0]


def test_number_is_the_gaussian_of_its_own_median(rng):
    x = rng.normal(size=120) * 1e5 + 1e7
    found, words, residual = one("number", x)
    scale = median_lengthscale(torch.from_numpy(x))
    expected = Gaussian(scale).gram(torch.from_numpy(x)).numpy()
    assert residual < 1e-5
    assert np.abs(found - expected).max() < 1e-3
    assert words == f"Gaussian({scale:.3g})"


def test_many_numbers_at_once_equal_one_by_one(rng):
    x = torch.from_numpy(rng.normal(size=(5, 60)))
    x[1] = torch.round(x[1])
    x[2] = x[2] ** 15  # heavy tail: ranks too
    x[3, :7] = torch.nan
    x[4] = 3.0
    many, names, residual = number_features(NumberColumns(x))
    for row in range(5):
        alone, name, left = number_features(NumberColumns(x[row : row + 1]))
        assert np.allclose(gram(many[row]), gram(alone[0]), atol=1e-10)
        assert names[row] == name[0]
        assert float(residual[row]) == pytest.approx(float(left[0]), abs=1e-10)
    assert "ranks" in names[2]
    assert names[3].endswith("+ indicator")


def test_missing_numbers_are_a_level(rng):
    x = rng.normal(size=30)
    x[[2, 5]] = np.nan
    x[7], x[9] = np.inf, -np.inf
    found, *_ = one("number", x)
    seen = np.isfinite(x)
    assert found[2, 5] == pytest.approx(1)
    assert np.allclose(found[np.ix_([2, 7, 9], seen)], 0)
    assert found[7, 9] == found[2, 7] == 0
    assert np.allclose(np.diag(found), 1, atol=1e-3)


def test_heavy_tails_are_compared_by_ranks_too(rng):
    x = np.exp(4 * rng.normal(size=200))
    found, words, _ = one("number", x)
    assert "+ ranks" in words
    ranks = torch.from_numpy(np.argsort(np.argsort(x)) / 200.0)
    parts = [Gaussian(median_lengthscale(v)).gram(v).numpy() for v in (torch.from_numpy(x), ranks)]
    assert np.abs(found - sum(parts) / 2).max() < 2e-2


def test_number_scales_from_tiny_to_huge(rng):
    base, *_ = one("number", rng.normal(size=40))
    rng = np.random.default_rng(20260101)
    for factor in (1e-300, 1e300, -1e290):
        found, words, _ = one("number", rng.normal(size=40) * factor)
        rng = np.random.default_rng(20260101)
        assert np.abs(found - base).max() < 1e-6
        assert "inf" not in words
        assert "nan" not in words


def test_zero_median_is_named():
    x = np.zeros(50)
    x[:10] = np.arange(10)
    _, words, _ = one("number", x)
    assert "of nonzero distances" in words


def test_category_is_delta_with_rare_levels_pooled():
    codes = np.array([0] * 6 + [1] * 7 + [2] * 2 + [3] + [-1] * 5)
    found, words, _ = one("category", codes)
    pooled = np.where((codes == 2) | (codes == 3), 9, codes)
    assert np.array_equal(found, pooled[:, None] == pooled[None])
    assert words == "Delta(4 levels, 2 rare pooled)"
    whole, *_ = one("category", codes, rare=1)
    assert np.array_equal(whole, codes[:, None] == codes[None])


@pytest.mark.parametrize("codes", [np.arange(8), np.array([0] * 9 + [1])])
def test_pooling_never_makes_a_column_constant(codes):
    found, *_ = one("category", codes)
    assert np.array_equal(found, codes[:, None] == codes[None])


def test_category_with_many_levels_keeps_the_largest():
    codes = np.repeat(np.arange(300), 6)
    codes[:6] = 1
    ((_, block),) = feature_blocks([DependenceColumn("c", "category", codes)])
    assert block.values.shape == (1, 256, 1800)


@pytest.mark.parametrize("lengthscale", [0.3, 0.5, 2.0])
def test_periodic_features_are_the_periodic_kernel(rng, lengthscale):
    u = rng.uniform(-3, 3, 40)
    expected = np.exp(-2 * np.sin(np.pi * (u[:, None] - u)) ** 2 / lengthscale**2)
    assert np.allclose(gram(periodic_features(u, lengthscale)), expected, atol=1e-9)


def test_date_parts(rng):
    days = rng.integers(-2000, 20000, 80).astype(float)
    days[3] = np.nan
    features, words, _ = date_features(days)
    found = gram(features)
    for part in ("day Gaussian", "day of year Periodic", "weekday Delta"):
        assert part in words
    assert "time of day" not in words
    assert np.allclose(np.diag(found)[np.arange(80) != 3], 1, atol=1e-3)
    assert np.allclose(np.delete(found[3], 3), 0)
    assert "time of day Periodic" in date_features(days + rng.uniform(size=80))[1]
    assert date_features(np.full(8, np.nan))[1].startswith("day Gaussian")


def test_weekday_is_the_calendar_one():
    start = datetime.date(2026, 3, 2)  # a Monday
    days = np.array([(start - datetime.date(1970, 1, 1)).days + i for i in range(21)], float)
    features, words, _ = date_features(days)
    assert words == "day " + words.split(" + ")[0][4:] + " + weekday Delta"
    found = gram(features)
    line = gram(number_features(NumberColumns(torch.from_numpy(days)[None]))[0][0])
    weekday = (found - line / 2) * 2
    assert np.allclose(weekday, (days[:, None] - days) % 7 == 0, atol=1e-9)


def cosines(texts):
    """The kernel of text by its definition."""
    sets = [words_of(t or "") for t in texts]
    count = {}
    for word in (w for s in sets for w in s):
        count[word] = count.get(word, 0) + 1
    weight = {w: np.log((1 + len(texts)) / (1 + m)) + 1 for w, m in count.items()}
    size = [sum(weight[w] ** 2 for w in s) ** 0.5 for s in sets]
    return np.array(
        [
            [
                sum(weight[w] ** 2 for w in a & b) / (u * v) if u * v > 0 else float(u == v)
                for b, v in zip(sets, size, strict=True)
            ]
            for a, u in zip(sets, size, strict=True)
        ]
    )


def test_text_is_the_cosine_of_sets_of_words():
    texts = ["a b", "B a a", "c", None, "", "a c"]
    features, words, _ = text_features(texts)
    assert np.allclose(gram(features), cosines(texts), atol=1e-12)
    assert words == "Cosine(3 words)"


def test_text_hash_keeps_inner_products(rng):
    """Signed hashing: unbiased, with an error of about sqrt(2 / 256) for each pair."""
    words = np.array([f"w{i}" for i in range(900)])
    texts = [" ".join(rng.choice(words, 30)) for _ in range(60)]
    features, kernel, _ = text_features(texts)
    assert "hashed to 256" in kernel
    apart = (gram(features) - cosines(texts))[np.triu_indices(60, 1)]
    assert abs(apart.mean()) < 0.01
    assert 0.03 < apart.std() < 0.09


def test_words_of_scripts_without_spaces():
    assert words_of("猫が好き 2つ") == {"猫", "が", "好", "き", "2", "つ"}
    assert words_of("Straße_ÉTÉ!") == {"strasse", "été"}
    assert words_of("\x00 -- \n") == set()


def test_no_words_at_all():
    features, words, _ = text_features([None, "", "!!"])
    assert features.shape == (1, 3)
    assert words == "no words"


def test_blocks_name_their_places(rng):
    columns = [
        DependenceColumn("a", "category", rng.integers(0, 2, 20)),
        DependenceColumn("b", "number", rng.normal(size=20)),
        DependenceColumn("c", "text", ["x"] * 20),
        DependenceColumn("d", "number", rng.normal(size=20)),
    ]
    places = [place for place, _ in feature_blocks(columns)]
    assert places == [[1, 3], [0], [2]]
    with pytest.raises(ShapeError, match="axis n is 20 in 'a' but 3 in 'e'"):
        list(feature_blocks([*columns, DependenceColumn("e", "number", np.zeros(3))]))


def test_compress_keeps_the_centered_kernel(rng):
    values = torch.from_numpy(rng.normal(size=(2, 6, 50)))
    values[1] = 2.5
    kept, none = compress(values, 1e-12)
    centered = values[0] - values[0].mean(1, keepdim=True)
    assert np.allclose(gram(kept), gram(centered), atol=1e-9)
    assert none.shape == (0, 50)
    half = compress(values, 0.5, torch.float32)[0]
    assert half.dtype == torch.float32
    share = float(half.double().square().sum() / centered.square().sum())
    assert 0.5 <= share < 0.9


@pytest.mark.parametrize(
    ("kind", "values", "error", "message"),
    [
        ("nominal", [1], ArgumentError, "DependenceColumn 'c': kind must be one of"),
        ("number", [[1.0]], ShapeError, "one axis; got shape \\(1, 1\\)"),
        ("number", ["a"], DataError, "a kernel for kind 'number' needs numbers; got values of"),
        ("category", [0.5], DataError, "kind 'category' needs integer codes"),
        ("category", [-2, 0], DataError, "codes must be at least -1; got -2"),
        ("text", ["a", 3], DataError, "strings or None; got 3 \\(row 1\\)"),
        ("date", np.array(["2020-01-01"], "M8[D]"), DataError, "kind 'date' needs numbers"),
    ],
)
def test_values_that_the_kind_cannot_hold(kind, values, error, message):
    with pytest.raises(error, match=message):
        DependenceColumn("c", kind, values)


def test_missing_and_take():
    text = DependenceColumn("t", "text", ["a", None, "b"])
    assert text.missing.tolist() == [False, True, False]
    assert text.take(np.array([2, 1])).values == ["b", None]
    code = DependenceColumn("k", "category", np.array([1, -1, 0], dtype=np.int8))
    assert code.missing.tolist() == [False, True, False]
    assert DependenceColumn("n", "number", [True, False]).values.dtype == np.float64
