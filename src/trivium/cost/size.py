"""Sizes as products of numbers and named lengths: the symbols in which a shape is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["SYMBOLS", "Kept", "Size", "evaluate", "spell"]

Size = tuple[int | str, ...]

SYMBOLS = {
    "b": "rows in the batch",
    "n": "tokens of a row that pass through the model",
    "s": "keys that a query of this layer meets",
    "e": "tokens of a row in the encoder of an encoder-decoder",
    "f": "frames of a row before the encoder's strided convolution",
    "p": "patches of an image",
    "r": "tokens of a row that reach the head",
    "a": "pairs of query and key of a row that the kernel works on",
    "c": "tokens in the first chunk of a row",
    "l": "tokens in the last chunk of a row",
}


@dataclass(frozen=True, slots=True)
class Kept:
    """A tensor that autograd keeps from the forward pass for the backward pass.

    Args:
        size: Its number of elements.
        kind: "activation" in the dtype of the computation, "float32", "int64", or "cast": a copy
            in the dtype of the computation that exists only where that is not float32.
    """

    size: Size
    kind: Literal["activation", "float32", "int64", "cast"] = "activation"

    def nbytes(self, lengths: Mapping[str, int], itemsize: int) -> int:
        """Return its bytes under these lengths."""
        each = {"activation": itemsize, "float32": 4, "int64": 8}.get(
            self.kind, itemsize if itemsize != 4 else 0
        )
        return each * evaluate(self.size, lengths)


def evaluate(size: Size, lengths: Mapping[str, int]) -> int:
    """Return the product with the lengths put in: an exact integer.

    Example:
        >>> evaluate(("b", "n", 768), {"b": 2, "n": 128})
        196608
    """
    product = 1
    for factor in size:
        product *= lengths[factor] if isinstance(factor, str) else factor
    return product


def spell(size: Size) -> str:
    """Return the product as text, numbers gathered in front.

    Example:
        >>> spell(("b", "n", 2, 3)), spell(())
        ('6·b·n', '1')
    """
    number = 1
    names = []
    for factor in size:
        if isinstance(factor, str):
            names.append(factor)
        else:
            number *= factor
    return "·".join([*([str(number)] if number != 1 or not names else []), *names])
