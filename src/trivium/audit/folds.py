"""Cross-validation folds that keep identical rows together and classes spread."""

import numpy as np
from jaxtyping import Int64

from trivium._core.random import numpy_generator

__all__ = ["make_folds"]


def make_folds(
    codes: Int64[np.ndarray, " n"], groups: Int64[np.ndarray, " n"], n_folds: int, seed: int
) -> Int64[np.ndarray, " n"]:
    """Return the fold of every row.

    Groups are dealt out class by class in random order, like cards, so each class is spread over
    the folds to within one group, and rows of one group always share a fold.

    Args:
        codes: Class of each row.
        groups: Rows with one number are never split.
        n_folds: Number of folds wanted; fewer come back when there are fewer groups.
        seed: Seed of the order within a class.
    """
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    shuffled = numpy_generator(seed, "folds").permutation(len(first))
    by_class = shuffled[np.argsort(codes[first][shuffled], kind="stable")]
    fold_of_group = np.empty(len(first), dtype=np.int64)
    fold_of_group[by_class] = np.arange(len(first)) % min(n_folds, len(first))
    return fold_of_group[inverse]
