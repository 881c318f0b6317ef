"""Texts as rows, at the kernel's door and at the doors of dependence."""

import numpy as np
import pytest
import torch

from trivium._core.errors import ArgumentError, DataError, ShapeError, TriviumError
from trivium.dependence import hsic, independence_test
from trivium.kernel import Delta, Distance, Gaussian, Linear, String

WORDS = ("quick", "brown", "lazy", "fox", "jumps", "over", "dog", "moon")


def texts(rng, n, topic=None):
    """Five words each, those of the first half where `topic` is positive."""
    found = []
    for row in range(n):
        half = WORDS if topic is None else WORDS[:4] if topic[row] > 0 else WORDS[4:]
        found.append(" ".join([*rng.choice(half, 5), str(row)]))
    return found


def test_texts_without_any_n_gram_are_alike():
    gram = String((2, 3)).gram(String.encode(["", "a", "ab", "b"]))
    assert gram.tolist() == [[1, 1, 0, 1], [1, 1, 0, 1], [0, 0, 1, 0], [1, 1, 0, 1]]
    assert String().gram(String.encode(["", ""])).tolist() == [[1, 1], [1, 1]]


def test_encode_pads_and_widens():
    rows = String.encode(["ab", "c"], width=4)
    assert rows.tolist() == [[97, 98, -1, -1], [99, -1, -1, -1]]
    both = String().gram(rows, String.encode(["abc", "c"], width=4))
    assert both.shape == (2, 2)
    assert float(both[1, 1]) == pytest.approx(1)
    assert String.encode([]).shape == (0, 1)
    assert torch.equal(String.encode(np.array(["ab", "c"])), String.encode(["ab", "c"]))


def test_n_grams_are_counted_once_for_all_blocks(rng, monkeypatch):
    calls = []
    count = String._cosines
    monkeypatch.setattr(String, "_cosines", lambda s, c: calls.append(len(c)) or count(s, c))
    rows = String.encode(texts(rng, 60))
    list(String().tiles(rows, budget=60_000))
    String().factor(rows, 20)
    assert calls == [60, 60]


@pytest.mark.parametrize(
    ("kernel", "n"),
    [
        ("auto", 100),
        ("auto", 1100),
        (String((2, 4)), 100),
        (2.0 * String(), 100),
        (String() + Delta(), 100),
    ],
)
def test_dependence_on_texts_is_found_and_chance_is_not(rng, kernel, n):
    topic = rng.standard_normal(n)
    seen = independence_test(texts(rng, n, topic), topic, kernel, n_permutations=99)
    assert seen.p_value <= 0.02
    assert independence_test(texts(rng, n), topic, kernel, n_permutations=99).p_value > 0.05


def test_both_sides_may_be_texts_in_any_container(rng):
    topic = rng.standard_normal(80)
    x, y = texts(rng, 80, topic), texts(rng, 80, topic)
    first = independence_test(x, np.array(y), n_permutations=99)
    second = independence_test(np.array(y, dtype=object), tuple(x), n_permutations=99)
    assert first.kernels == second.kernels == ("String(ngram=(1, 3))",) * 2
    assert first.p_value == second.p_value <= 0.02
    order = rng.permutation(80)
    again = independence_test([x[i] for i in order], [y[i] for i in order], n_permutations=99)
    assert again.p_value == first.p_value


def test_hsic_of_texts_is_that_of_their_gram_matrices(rng):
    x, y = texts(rng, 50), torch.from_numpy(rng.standard_normal(50)).requires_grad_()
    found = hsic(x, y, kernel_y=Gaussian(1.0), estimator="biased")
    centered = torch.eye(50).double() - 1 / 50
    first, second = String().gram(String.encode(x)), Gaussian(1.0).gram(y.detach())
    assert found.item() == pytest.approx(
        float((centered @ first @ centered * second).sum() / 2500), rel=1e-12
    )
    found.backward()
    assert y.grad is not None


def test_texts_that_repeat_are_labels(rng):
    x = rng.choice(["red", "green", "好"], 40)
    found = independence_test(x, rng.standard_normal(40), n_permutations=19)
    assert found.kernels[0] == "Delta()"
    codes = np.unique(x, return_inverse=True)[1]
    y = rng.standard_normal(40)
    assert float(hsic(x, y)) == float(hsic(codes, y))
    assert float(hsic(x, y, String())) != float(hsic(x, y))


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: String(3), ArgumentError, "ngram must be two numbers"),
        (lambda: String((1, 2, 3)), ArgumentError, "ngram must be two numbers"),
        (lambda: String((0, 2)), ArgumentError, "ngram must be an integer, positive"),
        (lambda: String((3, 2)), ArgumentError, r"ngram must be in order; got \(3, 2\)"),
        (lambda: String.encode("abc"), ArgumentError, "several strings; got one, 'abc'"),
        (lambda: String.encode(["a", 1]), DataError, r"must be strings; got 1 \(row 1\)"),
        (lambda: String.encode(["abc"], width=2), ArgumentError, "width must be at least 3"),
        (lambda: String.encode(["abc"], width=0), ArgumentError, "width must be an integer"),
        (lambda: String().gram(torch.ones(3, 2)), ArgumentError, "must be whole numbers, one for"),
        (
            lambda: String().gram(torch.ones(3, 2).int(), torch.ones(3, 4).int()),
            ShapeError,
            "axis d is 2 in x but 4 in y",
        ),
        (lambda: String() + Gaussian(), ArgumentError, "parts must take the same inputs"),
        (lambda: String() * Linear(), ArgumentError, "kernels of their own"),
    ],
)
def test_bad_arguments_are_named(build, error, message):
    with pytest.raises(error, match=message):
        build()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": ["a", None, "b", "c", "d"]}, DataError, r"x must be texts .* got None \(row 1\)"),
        ({"x": ["a", 2, "b", "c", "d"]}, DataError, r"x must be texts throughout.*got 2"),
        ({"x": [["a"], ["b"], ["c"], ["d"], ["e"]]}, ShapeError, r"x must have the axis \(n\)"),
        ({"kernel_x": Gaussian()}, ArgumentError, "kernel_x must serve texts; got Gaussian"),
        ({"kernel_x": Distance()}, ArgumentError, "kernel_x must serve texts; got Distance"),
        ({"kernel_x": "string"}, ArgumentError, "kernel_x must be 'auto' or a kernel"),
        ({"kernel_y": String()}, ArgumentError, "kernel_y cannot serve y: .*whole numbers"),
        ({"x": ["a"] * 3, "y": np.ones(3)}, DataError, "at least 4 rows; got 3"),
    ],
)
def test_bad_texts_are_named(change, error, message):
    arguments = {"x": ["a", "b", "c", "d", "e"], "y": np.arange(5.0)} | change
    with pytest.raises(error, match=message) as caught:
        hsic(**arguments)
    assert isinstance(caught.value, TriviumError)


def test_equal_texts_are_constant():
    with pytest.warns(match="x must vary"):
        assert float(hsic(["same"] * 5, np.arange(5.0), String())) == 0
