"""Texts in three questions: each planted effect is found where it is, and nowhere else."""

from typing import Any

import numpy as np
import pytest

from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.dependence import DependenceColumn, SequenceTests, sequence_tests
from trivium.dependence.sequence_pairs import WordPairs

FILLERS = ["tea", "cup", "sea", "sun", "map", "key", "hat", "oak"]
N = 240


def target(values: Any) -> DependenceColumn:
    return DependenceColumn("y", "category", np.asarray(values).astype(int))


def p_values(tests: SequenceTests) -> list[float]:
    return [tests.presence.p_value, tests.order.p_value, tests.distance.p_value]


def words(rng: np.random.Generator, count: int) -> list[str]:
    return [str(word) for word in rng.choice(FILLERS, count, replace=False)]


def planted(aspect: str) -> tuple[list[str], DependenceColumn]:
    """Texts with "not" and "good" whose label acts by one aspect alone, four times in five."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, N)
    seen = np.where(rng.random(N) < 0.8, label, 1 - label)
    texts = []
    for act in seen:
        # Words that no other text has: only the two marks are pairs.
        rest = [f"w{rng.integers(10**9)}" for _ in range(5)]
        first, second, gap = "not", "good", int(rng.integers(0, 5))
        if (aspect == "order" and act) or (aspect == "nothing" and rng.random() < 0.5):
            first, second = second, first
        if aspect == "distance":
            gap = 0 if act else 4
        marks = {"presence": ["fine"] if act else []}.get(aspect, [])
        texts.append(" ".join([*marks, first, *rest[:gap], second, *rest[gap:]]))
    return texts, target(label)


@pytest.mark.parametrize(
    ("aspect", "place"), [("presence", 0), ("order", 1), ("distance", 2)], ids=str
)
def test_an_aspect_is_found_alone(aspect: str, place: int) -> None:
    found = p_values(sequence_tests(*planted(aspect), n_permutations=499))
    assert found.pop(place) <= 0.01
    assert min(found) > 0.01


def test_nothing_is_found_where_nothing_is() -> None:
    assert min(p_values(sequence_tests(*planted("nothing"), n_permutations=499))) > 0.02


def test_the_words_that_show_it_are_named() -> None:
    order = sequence_tests(*planted("order")).order
    assert set(order.evidence[0].split(" / ")) == {"not", "good"}
    assert "beyond which words occur" in order.method
    assert order.n_features == 1


def grammar_hits(draws: int = 120) -> list[float]:
    """Share of p <= .05 where word pairs come and go with the label, in their usual order."""
    rng = np.random.default_rng(1)
    hits = np.zeros(2)
    for seed in range(draws):
        label = rng.integers(0, 2, 150)
        texts = []
        for y in label:
            rest = words(rng, 4)
            if rng.random() < 0.2 + 0.6 * y:
                marks = ["not", "good"] if rng.random() < 0.9 else ["good", "not"]
                place = int(rng.integers(0, 4))
                rest[place:place] = marks
            texts.append(" ".join(rest))
        tests = sequence_tests(texts, target(label), n_permutations=99, random_state=seed)
        hits += [tests.order.p_value <= 0.05, tests.distance.p_value <= 0.05]
    return (hits / draws).tolist()


@pytest.mark.slow
def test_grammar_is_not_taken_for_order(monkeypatch: pytest.MonkeyPatch) -> None:
    # 120 draws at .05: 14 hits or fewer but for a chance of 0.002 each; seeds are fixed.
    assert max(grammar_hits()) <= 14 / 120
    # A statistic that keeps how often a pair is in its usual order reports presence as order.
    monkeypatch.setattr(WordPairs, "_centered", lambda _, values, __: values)
    monkeypatch.setattr("trivium.dependence.sequence._beyond", lambda goal, *_: goal)
    assert grammar_hits(40)[0] > 0.5


def test_pairs_are_those_of_the_texts() -> None:
    from trivium.dependence.sequence_tokens import as_tokens

    texts = ["a b c", "c b a", "b x c", "a c", None] * 5
    pairs = WordPairs.of(as_tokens(texts))
    seen: dict[frozenset[str], list[float]] = {}
    for pair, gap in zip(pairs.pair, pairs.gap, strict=True):
        first, second = pairs.names[pair]
        sign = 1 if first < second else -1
        seen.setdefault(frozenset((first, second)), []).append(sign * gap)
    assert sorted(seen[frozenset("ab")]) == [-1.0] * 5 + [1.0] * 5
    assert sorted(seen[frozenset("ac")]) == [-2.0] * 5 + [1.0] * 5 + [2.0] * 5
    assert sorted(seen[frozenset("bc")]) == [-1.0] * 5 + [1.0] * 5 + [2.0] * 5
    for values, group in (
        (pairs.order(), pairs.pair),
        (pairs.distance(), 2 * pairs.pair + (pairs.gap > 0)),
    ):
        np.testing.assert_allclose(np.bincount(group, values), 0, atol=1e-12)


def test_chinese_and_numbers_are_sequences_too() -> None:
    rng = np.random.default_rng(2)
    label = rng.integers(0, 2, N)
    texts = [("不很好" if y else "很不好") + "天地人和水"[int(rng.integers(5)) :] for y in label]
    assert sequence_tests(texts, target(label)).order.p_value <= 0.01
    codes = [[*([1, 2] if y else [2, 1]), *rng.permutation(9)[:3] + 5] for y in label]
    assert sequence_tests(codes, target(label)).order.p_value <= 0.01


def test_targets_that_are_numbers() -> None:
    rng = np.random.default_rng(3)
    value = rng.normal(size=N)
    texts = [" ".join(["up", "down"] if v > 0 else ["down", "up"]) for v in value]
    tests = sequence_tests(texts, DependenceColumn("y", "number", value))
    assert tests.presence.p_value == 1.0
    assert tests.order.p_value <= 0.01


def test_same_seed_same_bits_and_nothing_to_compare() -> None:
    texts, label = planted("order")
    first, second = (sequence_tests(texts, label, random_state=7) for _ in range(2))
    assert first == second
    alone = sequence_tests(["one", None, "two", ""] * 10, target(np.arange(40) % 3 % 2))
    assert alone.order.p_value == alone.distance.p_value == 1.0
    assert alone.order.method.startswith("nothing to compare")
    assert [test.aspect for test in alone] == ["presence", "order", "distance"]


def test_more_rows_than_wanted_are_sampled() -> None:
    texts, label = planted("order")
    assert sequence_tests(texts, label, max_rows=150).order.p_value <= 0.01


def test_what_is_refused() -> None:
    texts, label = planted("order")
    with pytest.raises(ShapeError, match="axis n is 240 in the target but 3 in texts"):
        sequence_tests(texts[:3], label)
    with pytest.raises(DataError, match="at least 4 rows with a text and a target; got 0"):
        sequence_tests([None] * N, label)
    with pytest.raises(ArgumentError, match="max_rows"):
        sequence_tests(texts, label, max_rows=3)
    with pytest.raises(ArgumentError, match="n_permutations"):
        sequence_tests(texts, label, n_permutations=0)
    with pytest.raises(DataError, match="row 0"):
        sequence_tests([1.5] * N, label)
