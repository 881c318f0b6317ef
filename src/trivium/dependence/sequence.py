r"""Texts in three questions, each beyond the last: which words, in which order, how far apart.

| aspect | compared | null |
|---|---|---|
| presence | the sets of words | the target moved over the rows: exact |
| order | of two words that share a row, which comes first | signs of whole rows: asymptotic |
| distance | of two words in one order, the logarithm of the gap | signs of whole rows: asymptotic |

What is compared in the last two is what is left beyond the question before: which word comes first
minus how often it does among the rows that have both words; the gap minus its mean among the rows
that have both in that order. The target is what is left of it after the leading directions of the
words. Under independence given the words, the covariance of the two has mean zero, and giving each
row a random sign keeps its spread (a wild bootstrap). Which words stand together is a matter of
grammar, so shuffling words within a text would test whether the text is grammatical.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from trivium._core.checks import check_number
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium._core.random import RandomState, check_seed, numpy_generator
from trivium.dependence.aggregate import aggregate_null
from trivium.dependence.column_grid import ColumnGrid
from trivium.dependence.columns import DependenceColumn, check_columns, feature_blocks
from trivium.dependence.compression import compress
from trivium.dependence.grid_null import GridTarget
from trivium.dependence.permutation import exceedances, permutation_p_value
from trivium.dependence.sequence_pairs import WordPairs
from trivium.dependence.sequence_tokens import Tokens, as_tokens
from trivium.dependence.stages import Rank, members_of, members_words
from trivium.dependence.text_features import text_features
from trivium.parallel import Executor, given_executor

__all__ = ["AspectTest", "SequenceTests", "sequence_tests"]

MOST_ROWS = 2000
_MOST_DIRECTIONS = 20
_EVIDENCE = 3
_FEWEST = 4
_POWERS = 12
_LEAST = 1e-9  # sum of squares below which a pair does not vary
_TINY = 1e-300
_BEFORE = {"order": "which words occur", "distance": "their order"}


@dataclass(frozen=True)
class AspectTest:
    """One question about texts.

    Args:
        aspect: `"presence"`, `"order"` or `"distance"`.
        p_value: In (0, 1].
        method: The null, in words.
        evidence: Pairs of words that show it most; none where there is nothing to compare.
        n_features: Words, or pairs of words, that were compared.
    """

    aspect: str
    p_value: float
    method: str
    evidence: tuple[str, ...] = ()
    n_features: int = 0


@dataclass(frozen=True)
class SequenceTests:
    """The three questions about one column of texts."""

    presence: AspectTest
    order: AspectTest
    distance: AspectTest

    def __iter__(self) -> Any:
        return iter((self.presence, self.order, self.distance))


def sequence_tests(
    texts: Sequence[Any],
    target: DependenceColumn,
    *,
    n_permutations: int = 1000,
    max_rows: int = MOST_ROWS,
    random_state: RandomState = 0,
    executor: Executor | None = None,
) -> SequenceTests:
    """Test whether words, their order and their distance matter for a target.

    Args:
        texts: A string, a sequence of whole numbers or `None` for each row.
        target: What they are tested against.
        n_permutations: Reorderings, and draws of signs; at least 1.
        max_rows: Above this many rows a random sample of that size is tested.
        random_state: Seed.
        executor: Where the three questions are asked, with one thread each: in this process by
            default. The same bits on all.

    Returns:
        The three tests; a question with nothing to compare has p = 1.

    Raises:
        ArgumentError: An argument breaks its rule.
        ShapeError: Not as many texts as targets.
        DataError: Fewer than 4 rows with a text and a target, or rows of another kind.
        ResourceError: The executor lost its workers again and again.

    Cost: O(total pairs of words in a row + n² b) time for b draws, n at most `max_rows`.

    Example:
        >>> texts = ["not good but cheap", "good but not cheap"] * 40
        >>> target = DependenceColumn("y", "category", [0, 1] * 40)
        >>> tests = sequence_tests(texts, target)
        >>> tests.presence.p_value, tests.order.p_value < 0.01
        (1.0, True)

    Source: ours; the residuals are Shah and Peters, The hardness of conditional independence
    testing (2020); the signs Wu, Jackknife, bootstrap and other resampling methods (1986).
    """
    seed, runner = check_seed(random_state), given_executor("sequence_tests", executor)
    count = int(
        check_number("sequence_tests", "n_permutations", n_permutations, "positive", integer=True)
    )
    if max_rows < _FEWEST:
        raise ArgumentError(f"sequence_tests: max_rows must be at least 4; got {max_rows}")
    check_columns("sequence_tests", "target", [target])
    if len(texts) != len(target):
        raise ShapeError(
            f"sequence_tests: axis n is {len(target)} in the target but {len(texts)} in texts"
        )
    rows = _rows(texts, target, max_rows, seed)
    kept = [texts[int(i)] for i in rows]
    tokens = as_tokens(kept)
    psi = next(feature_blocks([target.take(rows)], rare=1))[1].values[0]
    words = _word_features(kept, tokens)
    goal = (psi - psi.mean(1, keepdim=True)).numpy()
    beyond_words = _beyond(goal, (words.mT @ words).numpy(), seed)
    pairs = WordPairs.of(tokens)
    beyond_order = _beyond(beyond_words, pairs.gram(pairs.order()), seed)
    questions = [
        partial(_presence, words, psi, len(tokens.words), count, seed),
        partial(_signed, "order", pairs, pairs.order(), beyond_words, count, seed),
        partial(_signed, "distance", pairs, pairs.distance(), beyond_order, count, seed),
    ]
    return SequenceTests(*runner.map(_answer, questions))


def _answer(question: Callable[[], AspectTest]) -> AspectTest:
    return question()


def _rows(
    texts: Sequence[Any], target: DependenceColumn, limit: int, seed: int
) -> NDArray[np.int64]:
    there = np.array([text is not None for text in texts]) & ~target.missing
    rows = np.flatnonzero(there)
    if len(rows) < _FEWEST:
        raise DataError(
            "sequence_tests: there must be at least 4 rows with a text and a target; "
            f"got {len(rows)}"
        )
    if len(rows) > limit:
        draw = numpy_generator(seed, "dependence", "sequence", "rows")
        rows = np.sort(draw.choice(rows, limit, replace=False))
    return rows


def _word_features(texts: list[Any], tokens: Tokens) -> Float[Tensor, "r n"]:
    """Sets of words as directions of unit length; of numbers, the indicators."""
    if all(isinstance(text, str) for text in texts):
        return text_features(texts)[0]
    width = max(1, len(tokens.words))
    features = torch.zeros(width, len(texts), dtype=torch.float64)
    features[torch.from_numpy(tokens.code), torch.from_numpy(tokens.row)] = 1.0
    return features


def _presence(words: Tensor, psi: Tensor, n_words: int, count: int, seed: int) -> AspectTest:
    n = words.shape[1]
    small = compress(words[None], 1e-2 / n, torch.float32)[0]
    goal = compress(psi[None], 1e-2 / n, torch.float32)[0]
    members = members_of(n, count, seed)
    rank = Rank.of(GridTarget(ColumnGrid(goal), members).null(ColumnGrid(small))[0])
    how = f"{members_words(members, rank.members)} of the target"
    return AspectTest("presence", rank.p_value, how, (), n_words)


def _beyond(goal: NDArray[np.float64], gram: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """What is left of the target's features after the leading directions of a Gram matrix."""
    n = len(gram)
    kept = min(_MOST_DIRECTIONS, n // 20)
    middle = gram - gram.mean(0) - gram.mean(0)[:, None] + gram.mean()
    basis = numpy_generator(seed, "dependence", "sequence").normal(size=(n, kept))
    for _ in range(_POWERS):
        basis = np.linalg.qr(middle @ basis)[0]
    strength = np.einsum("ij,ij->j", basis, middle @ basis)
    basis = basis[:, strength > 1e-9 * max(float(np.trace(middle)), _TINY)]
    left: NDArray[np.float64] = goal - (goal @ basis) @ basis.T
    return left


def _signed(
    aspect: str,
    pairs: WordPairs,
    values: NDArray[np.float64],
    goal: NDArray[np.float64],
    count: int,
    seed: int,
) -> AspectTest:
    """Compare the covariance with those of rows that have random signs."""
    how = f"{counted(count, 'draw')} of a sign for each row, beyond {_BEFORE[aspect]} (asymptotic)"
    size = np.bincount(pairs.pair, values**2, minlength=len(pairs.names))
    if not (size > _LEAST).any():
        return AspectTest(aspect, 1.0, f"nothing to compare; {how}", (), 0)
    even: NDArray[np.float64] = np.where(size > _LEAST, 1 / np.maximum(size, _LEAST), 0.0)
    close = goal.T @ goal
    draw = numpy_generator(seed, "dependence", "sequence", aspect)
    signs = draw.integers(0, 2, size=(count + 1, pairs.n_rows)) * 2.0 - 1.0
    signs[0] = 1.0
    null = []
    for weight in (None, even):
        both = pairs.gram(values, weight) * close
        null.append(((signs @ both) * signs).sum(1))
    scores = aggregate_null(torch.from_numpy(np.stack(null)), torch.zeros(2))
    reached = int(exceedances(scores[1:], scores[0], 1e-9))
    return AspectTest(
        aspect,
        permutation_p_value(reached, count),
        how,
        _evidence(aspect, pairs, values, goal),
        int((size > _LEAST).sum()),
    )


def _evidence(
    aspect: str, pairs: WordPairs, values: NDArray[np.float64], goal: NDArray[np.float64]
) -> tuple[str, ...]:
    """The pairs with the largest share of the covariance."""
    strength = ((pairs.matrix(values).T @ goal.T) ** 2).sum(1)
    join = " … " if aspect == "distance" else " / "
    best = np.argsort(-strength, kind="stable")[:_EVIDENCE]
    return tuple(join.join(pairs.names[i]) for i in best if strength[i] > 0)
