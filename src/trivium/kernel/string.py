"""The n-gram kernel: how alike texts are by what stands side by side in them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from torch import Tensor

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError, DataError
from trivium.kernel.base import Block, Kernel

__all__ = ["String"]

Integers = NDArray[np.int64]
_HEAVY = 0.1  # share of rows from which on an n-gram is cheaper in a dense product
_TABLE = 2**16
_STRIP = 256


@dataclass(frozen=True)
class String(Kernel):
    r"""Spectrum kernel on texts: the cosine between counts of n-grams.

    $k(x, x') = c(x)^\top c(x') / (\lVert c(x) \rVert \, \lVert c(x') \rVert)$, where c counts every
    run of n characters, for each n of `ngram`. Rows are code points with −1 after the end of a
    text, as `encode` gives them; other whole numbers, like tokens, serve as well. Counts are exact:
    n-grams are numbered, not hashed. Texts without any n-gram (empty, or shorter than the shortest)
    are alike, k = 1, and k = 0 with all others, so the matrix stays positive semi-definite.

    Characters are compared as they are: for one form of accents and letters, use
    `unicodedata.normalize` and `str.casefold` first. Not characteristic: HSIC with it sees how
    often n-grams occur, not what stands further apart.

    Args:
        ngram: Least and largest n, inclusive.

    Raises:
        ArgumentError: Not two whole numbers in order, from 1.

    Cost:
        O(c) time and memory for c n-grams in all, beside any budget of tiles. Then a Gram matrix
        takes O(Σ_g m_g m'_g + n m h) time, over n-grams g that m_g and m'_g rows have and h that
        at least 10 % of the rows have. In float64.

    Example:
        >>> String(ngram=(1, 2)).gram(String.encode(["ab", "abab", "b"]))[:, 0]
        tensor([1.0000, 0.9608, 0.5774], dtype=torch.float64)

    Source:
        Leslie, Eskin and Noble, The spectrum kernel, Pacific Symposium on Biocomputing (2002);
        Lodhi et al., Text classification using string kernels, JMLR 2 (2002).
    """

    ngram: tuple[int, int] = (1, 3)

    inputs = "texts"
    differentiable = False
    buffers = 5

    def __post_init__(self) -> None:
        try:
            low, high = self.ngram
        except (TypeError, ValueError) as error:
            raise ArgumentError(
                f"String: ngram must be two numbers, least and largest; got {self.ngram!r}"
            ) from error
        low = int(check_number("String", "ngram", low, "positive", integer=True))
        high = int(check_number("String", "ngram", high, "positive", integer=True))
        if low > high:
            raise ArgumentError(f"String: ngram must be in order; got {self.ngram!r}")
        object.__setattr__(self, "ngram", (low, high))

    @classmethod
    def examples(cls) -> Sequence["String"]:
        """Return a few small instances."""
        return (cls(), cls((1, 1)), cls((2, 4)))

    @staticmethod
    def encode(texts: Iterable[str], width: int | None = None) -> Shaped[Tensor, "n s"]:
        """Return texts as rows: the code points of each, then −1.

        Args:
            texts: Strings.
            width: Columns; those of the longest text when left out. Rows that meet in one Gram
                matrix must have as many.

        Raises:
            ArgumentError: One string in place of several, or `width` is too small.
            DataError: Something that is not a string.

        Cost: O(n s) time and memory, s characters in the longest text.

        Example:
            >>> String.encode(["ab", "", "é文"]).tolist()
            [[97, 98], [-1, -1], [233, 25991]]
        """
        if isinstance(texts, str):
            raise ArgumentError(
                f"String.encode: texts must be several strings; got one, {texts!r:.40}",
                remedy="Wrap it in a list.",
            )
        listed = list(texts)
        for row, text in enumerate(listed):
            if not isinstance(text, str):
                raise DataError(
                    f"String.encode: texts must be strings; got {text!r:.40}",
                    where=f"row {row}",
                    remedy="Use '' for a missing text if it may count as empty.",
                )
        lengths = np.fromiter(map(len, listed), np.int64, len(listed))
        longest = max(1, int(lengths.max(initial=0)))
        columns = longest
        if width is not None:
            columns = int(check_number("String.encode", "width", width, "positive", integer=True))
        if columns < longest:
            raise ArgumentError(
                f"String.encode: width must be at least {longest}, the longest text; got {width}"
            )
        points = np.frombuffer("".join(listed).encode("utf-32-le", "surrogatepass"), np.int32)
        codes = np.full((len(listed), columns), -1, dtype=np.int32)
        codes[np.arange(columns) < lengths[:, None]] = points
        return torch.from_numpy(codes)

    def _gram(self, x: Tensor, y: Tensor | None) -> Float[Tensor, "n m"]:
        return self._blocks(x, y)(slice(None), slice(None))

    def _diagonal(self, x: Tensor) -> Float[Tensor, " n"]:
        return torch.ones(len(x), dtype=torch.float64, device=x.device)

    def _blocks(self, x: Tensor, y: Tensor | None) -> Block:
        n = len(x)
        both = (x if y is None else torch.cat([x, y])).cpu().numpy().astype(np.int64)
        dense, sparse = _split(self._cosines(both))
        others = slice(0 if y is None else n, None)
        dense_y, sparse_y = dense[others], sparse[others]
        dense_x, sparse_x = dense[:n], sparse[:n]

        def block(rows: slice, columns: slice) -> Tensor:
            values = dense_x[rows] @ dense_y[columns].T
            left = sparse_x if rows == slice(None) else sparse_x[rows]
            right = sparse_y[columns].T.tocsr()
            if right.shape[1] == 1:  # a pivot's column
                values += left @ right.toarray()
            else:
                for top in range(0, len(values), _STRIP):
                    strip = slice(top, top + _STRIP)
                    values[strip] += (left[strip] @ right).toarray()
            if y is None and rows == columns:
                np.fill_diagonal(values, 1.0)
            return torch.from_numpy(values).to(x.device)

        return block

    def _cosines(self, codes: Integers) -> csr_matrix:
        """Return counts of n-grams, each row of length one, one column for each n-gram."""
        low, high = self.ngram
        known = codes >= 0
        letters, n_letters = _numbered(codes, known)
        runs, n_runs = letters, n_letters
        rows, columns, n_columns = [], [], 0
        for size in range(1, high + 1):
            if size > 1:
                if size > codes.shape[1]:
                    break
                # A run of `size` is a numbered run one shorter and the letter after it.
                after = letters[:, size - 1 :]
                runs = runs[:, : after.shape[1]]
                known = (runs >= 0) & (after >= 0)
                runs, n_runs = _numbered(runs * n_letters + after, known)
            if size >= low:
                rows.append(np.nonzero(known)[0])
                columns.append(runs[known] + n_columns)
                n_columns += n_runs
        return _unit_rows(rows, columns, (len(codes), n_columns))


def _numbered(keys: Integers, known: NDArray[np.bool_]) -> tuple[Integers, int]:
    """Number the distinct keys in their order, −1 where a key is not known."""
    found = np.full(keys.shape, -1, dtype=np.int64)
    values = keys[known]
    largest = int(values.max(initial=-1)) + 1
    if largest <= max(_TABLE, 4 * len(values)):
        seen = np.zeros(largest, dtype=bool)
        seen[values] = True
        found[known] = (np.cumsum(seen) - 1)[values]
        return found, int(seen.sum())
    distinct, found[known] = np.unique(values, return_inverse=True)
    return found, len(distinct)


def _unit_rows(rows: Sequence[Any], columns: Sequence[Any], shape: tuple[int, int]) -> csr_matrix:
    row = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)
    column = np.concatenate(columns) if columns else np.zeros(0, dtype=np.int64)
    empty = np.flatnonzero(np.bincount(row, minlength=shape[0]) == 0)
    row = np.concatenate([row, empty])
    column = np.concatenate([column, np.full(len(empty), shape[1])])
    ones = np.ones(len(row))
    counts = coo_matrix((ones, (row, column)), shape=(shape[0], shape[1] + 1)).tocsr()
    owner = np.repeat(np.arange(shape[0]), np.diff(counts.indptr))
    squares = np.bincount(owner, counts.data**2, minlength=shape[0])
    counts.data /= np.sqrt(squares)[owner]
    return counts


def _split(matrix: csr_matrix) -> tuple[Float[np.ndarray, "n h"], csr_matrix]:
    """Take the columns that many rows have out of a sparse matrix, as a dense one."""
    n_rows, n_columns = matrix.shape
    heavy = np.bincount(matrix.indices, minlength=n_columns) > _HEAVY * n_rows
    place = np.cumsum(heavy) - 1
    owner = np.repeat(np.arange(n_rows), np.diff(matrix.indptr))
    out = heavy[matrix.indices]
    dense = np.zeros((n_rows, int(heavy.sum())))
    dense[owner[out], place[matrix.indices[out]]] = matrix.data[out]
    rest = (matrix.data[~out], (owner[~out], matrix.indices[~out]))
    return dense, coo_matrix(rest, shape=matrix.shape).tocsr()
