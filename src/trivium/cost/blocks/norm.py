"""Normalization, and the sum with what went around a sublayer."""

from dataclasses import dataclass, replace
from typing import Literal

from trivium.cost.blocks.base import Tokens
from trivium.cost.component import Component, elementwise
from trivium.cost.design import Design
from trivium.cost.run import Run
from trivium.cost.size import Kept

__all__ = ["Dropout", "Memory", "Norm", "Residual"]


@dataclass(frozen=True, slots=True)
class Norm:
    """LayerNorm in one kernel, or RMSNorm operator by operator in float32, as transformers has it.

    Args:
        kind: "layer", "rms", or with a weight that is one plus a parameter "layer1p" or "gemma";
            "apart" for a LayerNorm operator by operator in float32.
        width: Numbers of a vector.
        tokens: Which tokens.
        per: Vectors of a token: the heads, where queries and keys are normalized.
        fresh: Whether its input is a tensor that nothing else keeps.
        name: Its name.
    """

    kind: Literal["layer", "layer1p", "apart", "rms", "gemma"]
    width: int
    tokens: Tokens = "n"
    per: int = 1
    fresh: bool = True
    name: str = "norm"

    def components(self, design: Design) -> tuple[Component, ...]:
        """Return the one pass of the norm."""
        vectors = ("b", self.tokens, self.per)
        whole = (*vectors, self.width)
        if self.kind in ("layer", "layer1p"):
            kept = [Kept(whole)] if self.fresh else []
            kept += [Kept(vectors, "float32")] * 2
            kept += [Kept((self.width,))] * (self.kind == "layer1p")
            one = (Run("norm", whole, whole),)
            return (elementwise(self.name, "norm", whole, kept=tuple(kept), runs=one),)
        kept = [Kept(whole, "float32")] if self.fresh else []
        kept += [Kept(vectors, "float32"), Kept(whole)]
        if self.kind == "apart":
            # The distance from the mean, once for its square and once for the result.
            kept = [Kept(whole, "float32")] * 3 + [Kept(vectors, "float32")]
        if self.kind == "gemma":
            kept.append(Kept((self.width,), "float32"))
        # The square, its mean, the root of the mean, two products; twice a distance from a mean.
        means, full = (2, 5) if self.kind == "apart" else (1, 3)
        runs = (
            Run("pass", (*whole, full), (*whole, full), full),
            Run("pass", (*whole, means), (*vectors, means), means),
            Run("pass", vectors, vectors, 2),
        )
        passes = full + 1
        return (elementwise(self.name, "norm", whole, passes=passes, kept=tuple(kept), runs=runs),)


@dataclass(frozen=True, slots=True)
class Residual:
    """The sum of a sublayer's result with its input, after dropout where there is one.

    Args:
        width: Numbers of a vector.
        dropout: Whether the result passes a dropout, which keeps its factors.
        tokens: Which tokens.
    """

    width: int
    dropout: bool = False
    tokens: Tokens = "n"

    def components(self, design: Design) -> tuple[Component, ...]:
        """Return the pass of the sum."""
        whole = ("b", self.tokens, self.width)
        kept = (Kept(whole),) if self.dropout else ()
        runs = (Run("pass", (*whole, 2), whole),)
        passes = 1 + self.dropout
        return (elementwise("residual", "norm", whole, passes=passes, kept=kept, runs=runs),)


@dataclass(frozen=True, slots=True)
class Dropout:
    """A dropout of its own.

    Args:
        width: Numbers of a vector.
        tokens: Which tokens.
    """

    width: int
    tokens: Tokens = "n"

    def components(self, design: Design) -> tuple[Component, ...]:
        """Return the pass, which keeps its factors."""
        whole = ("b", self.tokens, self.width)
        return (elementwise("dropout", "norm", whole, kept=(Kept(whole),), runs=()),)


@dataclass(frozen=True, slots=True)
class Memory:
    """The encoder's output, kept once for all layers that attend to it.

    Args:
        width: Numbers of a vector.
    """

    width: int

    def components(self, design: Design) -> tuple[Component, ...]:
        """Return the tensor, for which nothing is computed."""
        kept = (Kept(("b", "e", self.width)),)
        made = elementwise("encoder output", "norm", (0,), kept=kept, runs=())
        return (replace(made, stays=kept),)
