"""Sizes of attention layers and the rows that they take, checked in the same words."""

from typing import Any

from torch import Tensor

from trivium._core.checks import check_number, check_shapes
from trivium._core.errors import ArgumentError
from trivium.attention.doors import FLOATS


def positive(caller: str, name: str, value: Any) -> int:
    """Return a size.

    Raises:
        ArgumentError: It is not a positive whole number.
    """
    return int(check_number(caller, name, value, "positive", integer=True))


def head_sizes(
    caller: str, d_model: Any, n_heads: Any, head_dim: Any, value_dim: Any
) -> tuple[int, int, int, int]:
    """Return width, heads, and the dimensions of keys and values; m / h and d where not given.

    Raises:
        ArgumentError: A size that is not positive, or heads that do not divide the width.
    """
    m, h = positive(caller, "d_model", d_model), positive(caller, "n_heads", n_heads)
    if head_dim is None and m % h:
        raise ArgumentError(
            f"{caller}: n_heads must divide d_model, {m}; got {h}", remedy="Or give head_dim."
        )
    d = m // h if head_dim is None else positive(caller, "head_dim", head_dim)
    return m, h, d, d if value_dim is None else positive(caller, "value_dim", value_dim)


def start_sizes(batch_size: Any, position: Any) -> tuple[int, int]:
    """Return the rows of a state of no tokens, and where the first one will stand.

    Raises:
        ArgumentError: A size that is not positive, or a negative position.
    """
    n = positive("start", "batch_size", batch_size)
    return n, int(check_number("start", "position", position, "non-negative", integer=True))


def check_rows(caller: str, x: Any, axes: str, d_model: int) -> None:
    """Refuse what is not rows of tokens of this width.

    Raises:
        ArgumentError: Not a floating tensor.
        ShapeError: Other axes.
    """
    if not isinstance(x, Tensor) or x.dtype not in FLOATS:
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise ArgumentError(f"{caller}: x must be a floating tensor; got {got}")
    check_shapes(caller, {"x": (x, axes.replace("m", str(d_model)))})
