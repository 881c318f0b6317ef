"""Several documents in one row: positions that begin again, and who sees whom."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError

__all__ = ["packed"]


def packed(
    lengths: Sequence[int] | Sequence[Sequence[int]],
    device: torch.device | str | None = None,
) -> tuple[Bool[Tensor, "b s s"], Int[Tensor, "b s"]]:
    """Return what `Attention` needs to know of documents packed into rows.

    Args:
        lengths: Tokens of each document of a row, in order; or such a list for each row. What is
            left of a shorter row is padding: it sees nothing, and nothing sees it.
        device: Where to make them.

    Returns:
        `keep`, `(b, s, s)`: a query attends to keys of its own document; and `positions`,
        `(b, s)`: they begin at 0 in each document.

    Raises:
        ArgumentError: No document, or a length that is not a positive whole number.

    Cost:
        O(b s²).

    Example:
        >>> from trivium.attention import Attention
        >>> keep, positions = packed([3, 2])
        >>> positions.tolist()
        [[0, 1, 2, 0, 1]]
        >>> layer, x = Attention(8, 2), torch.randn(1, 5, 8)
        >>> both = layer(x, keep=keep, positions=positions)
        >>> torch.allclose(both[:, 3:], layer(x[:, 3:]), atol=1e-6)
        True
    """
    rows = [_document_lengths(row) for row in _as_rows(lengths)]
    s = max(sum(row) for row in rows)
    which = torch.full((len(rows), s), -1, device=device)
    positions = torch.zeros((len(rows), s), dtype=torch.int64, device=device)
    for b, row in enumerate(rows):
        at = 0
        for document, n in enumerate(row):
            which[b, at : at + n] = document
            positions[b, at : at + n] = torch.arange(n, device=device)
            at += n
    keep = (which[:, :, None] == which[:, None]) & (which[:, None] >= 0)
    return keep, positions


def _as_rows(lengths: Any) -> list[Any]:
    found = lengths.tolist() if isinstance(lengths, Tensor) else lengths
    try:
        rows = list(found)
    except TypeError as error:
        raise ArgumentError(f"packed: lengths must be a list; got {lengths!r}") from error
    nested = bool(rows) and all(isinstance(row, list | tuple | Tensor) for row in rows)
    return rows if nested else [rows]


def _document_lengths(row: Any) -> list[int]:
    found = [int(check_number("packed", "lengths", n, "positive", integer=True)) for n in row]
    if not found:
        raise ArgumentError("packed: lengths must name a document in each row; got none")
    return found
