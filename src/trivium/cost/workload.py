"""A pass through a model: its mode, its lengths, and what each symbol is worth in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from trivium._core.errors import ArgumentError
from trivium.cost.mask import Mask

__all__ = ["LONGEST", "Count", "Mode", "Workload", "check_length"]

Mode = Literal["forward", "train", "prefill", "decode"]
Count = Literal["executed", "needed"]
LONGEST = 2**31 - 1


def check_length(caller: str, name: str, value: Any, least: int = 1) -> int:
    """Return a count of tokens or rows as an integer.

    Raises:
        ArgumentError: It is no integer, or below `least`, or beyond 2³¹ − 1.
    """
    try:
        number = value.__index__() if not isinstance(value, bool) else None
    except AttributeError:
        number = None
    if number is None or not least <= number <= LONGEST:
        raise ArgumentError(
            f"{caller}: {name} must be an integer from {least} to {LONGEST:,}; got {value!r}"
        )
    return number


@dataclass(frozen=True, slots=True)
class Workload:
    """What passes through the model.

    Args:
        n: Tokens of each row.
        batch: Rows.
        mode: "forward"; "train", with the backward pass; "prefill", with the head on the last
            token only; "decode", n new tokens in one pass on top of a context.
        context: Tokens of each row that a cache holds already.
        source: Tokens of each row in the encoder of an encoder-decoder.
        count: "executed", what a dense kernel does; "needed", without what the mask throws away.
        itemsize: Bytes of a number.

    Raises:
        ArgumentError: A length is no integer in its range, a choice is unknown, or a context comes
            without mode "decode" or "prefill".
    """

    n: int
    batch: int = 1
    mode: Mode = "forward"
    context: int | None = None
    source: int | None = None
    count: Count = "executed"
    itemsize: int = 4

    def __post_init__(self) -> None:
        for name in ("n", "batch"):
            object.__setattr__(self, name, check_length("table", name, getattr(self, name)))
        for name, choices in (("mode", get_args(Mode)), ("count", get_args(Count))):
            if getattr(self, name) not in choices:
                raise ArgumentError(
                    f"table: {name} must be one of {', '.join(choices)}; "
                    f"got {getattr(self, name)!r}"
                )
        if self.itemsize not in (1, 2, 4, 8):
            raise ArgumentError(f"table: itemsize must be 1, 2, 4 or 8; got {self.itemsize!r}")
        if self.context is not None:
            if self.mode in ("forward", "train"):
                raise ArgumentError(
                    f"table: context must come with mode prefill or decode; got mode {self.mode!r}"
                )
            check_length("table", "context", self.context, 0)
        elif self.mode == "decode":
            raise ArgumentError(
                "table: context must be given in mode decode; got None",
                remedy="It is the number of tokens that the cache holds already.",
            )
        if self.source is not None:
            check_length("table", "source", self.source)

    @property
    def past(self) -> int:
        """Tokens of each row before the first of this pass."""
        return self.context or 0

    def lengths(self, prefix: int, source: int | None) -> dict[str, int]:
        """Return the worth of each symbol but s, which differs from layer to layer.

        Args:
            prefix: Tokens that the model adds in front of each row.
            source: Tokens of the encoder, where the model fixes them.
        """
        encoder = source or self.source or self.past + self.n
        tokens = self.n + prefix
        return {
            "b": self.batch,
            "n": tokens,
            "p": self.n,
            "e": encoder,
            "f": 2 * encoder,
            "r": 1 if self.mode in ("prefill", "decode") else tokens,
            "s": tokens,
            "a": 0,
            "c": tokens,
            "l": tokens,
        }

    def under(
        self, mask: Mask, stream: tuple[str, str], lengths: Mapping[str, int]
    ) -> dict[str, int]:
        """Return the lengths with the keys s and the pairs a of one layer's mask."""
        queries = lengths[stream[0]]
        own = stream[1] == "s"
        past = self.past if own else 0
        keys = mask.held(past) + queries if own else lengths[stream[1]]
        if mask.kernel == "chunked" and self.mode == "decode":
            # A step reads the running state: there is no chunk to work within.
            return {**lengths, "s": 0, "a": 0}
        count = mask.executed if self.count == "executed" else mask.needed
        chunk = mask.window or queries
        first, last = min(queries, chunk), (queries - 1) % chunk + 1
        return {**lengths, "s": keys, "a": count(queries, past, keys), "c": first, "l": last}
