"""Designs of attention: what stands in each layer where the model has softmax attention."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from trivium._core.errors import ArgumentError

__all__ = ["Design", "Eager", "Fused", "Hybrid", "Linear", "Window", "design_of"]

_FORMS = "eager, sdpa, linear, linear:4d, linear:h/4, window:512, hybrid:LLLF"


def _positive(caller: str, name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ArgumentError(f"{caller}: {name} must be a positive integer; got {value!r}")


@dataclass(frozen=True, slots=True)
class Eager:
    """Softmax attention, operator by operator: the scores are written out."""

    def __str__(self) -> str:
        return "eager"


@dataclass(frozen=True, slots=True)
class Fused:
    """Softmax attention in one kernel (torch's `scaled_dot_product_attention`, flash attention).

    The same GEMMs forward; the backward pass computes the scores again; no n² tensor is kept.
    """

    def __str__(self) -> str:
        return "sdpa"


@dataclass(frozen=True, slots=True)
class Window:
    """Softmax attention whose kernel works on a window only.

    Args:
        window: w: a causal query sees itself and w − 1 keys before it; otherwise w on each side.

    Raises:
        ArgumentError: w is no positive integer.
    """

    window: int

    def __post_init__(self) -> None:
        _positive("Window", "window", self.window)

    def __str__(self) -> str:
        return f"window:{self.window}"


@dataclass(frozen=True, slots=True)
class Linear:
    """Linear attention φ(q)ᵀ Σ φ(k)vᵀ: 2nhd² multiply-adds at h heads of d.

    Args:
        heads: Heads, in those of the model: 1/4 is h/4.
        head_dim: Size of a head, in that of the model: 4 is 4d; keys and values alike.
        features: Features of φ, in the size of a head.
        chunk: Tokens of a chunk of the causal form, which adds the pairs within each chunk;
            `None` for the running state alone.

    Raises:
        ArgumentError: A multiple is not positive, or the chunk no positive integer.

    Example:
        >>> str(Linear(heads=Fraction(1, 4), head_dim=4))
        'linear:h/4'
    """

    heads: Fraction | int = 1
    head_dim: Fraction | int = 1
    features: int = 1
    chunk: int | None = None

    def __post_init__(self) -> None:
        for name in ("heads", "head_dim"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Fraction | int) or value <= 0:
                raise ArgumentError(
                    f"Linear: {name} must be a positive integer or Fraction; got {value!r}"
                )
            object.__setattr__(self, name, Fraction(value))
        _positive("Linear", "features", self.features)
        if self.chunk is not None:
            _positive("Linear", "chunk", self.chunk)

    def __str__(self) -> str:
        heads, width = Fraction(self.heads), Fraction(self.head_dim)
        parts = ["linear"]
        if heads != 1:
            top = "" if heads.numerator == 1 else str(heads.numerator)
            parts.append(f"{top}h" + (f"/{heads.denominator}" if heads.denominator > 1 else ""))
        if width != 1 / heads:
            top = "" if width.numerator == 1 else str(width.numerator)
            parts.append(f"{top}d" + (f"/{width.denominator}" if width.denominator > 1 else ""))
        if self.features != 1:
            parts.append(f"{self.features}r")
        if self.chunk is not None:
            parts.append(f"c{self.chunk}")
        return ":".join(parts)


@dataclass(frozen=True, slots=True)
class Hybrid:
    """A pattern of designs, repeated over the layers: "LLLF" is three linear, then one full.

    Args:
        pattern: L for linear, F for full (softmax in one kernel), E for full (eager).
        linear: The design of L.

    Raises:
        ArgumentError: The pattern is empty or has another letter.
    """

    pattern: str
    linear: Linear = Linear()

    def __post_init__(self) -> None:
        if not isinstance(self.pattern, str) or not re.fullmatch("[LFE]+", self.pattern):
            raise ArgumentError(
                f"Hybrid: pattern must be letters L, F and E such as LLLF; got {self.pattern!r}"
            )

    def at(self, layer: int) -> "Eager | Fused | Linear":
        """Return the design of a layer."""
        letter = self.pattern[layer % len(self.pattern)]
        return {"L": self.linear, "F": Fused(), "E": Eager()}[letter]  # type: ignore[return-value]

    def __str__(self) -> str:
        return f"hybrid:{self.pattern}{str(self.linear).removeprefix('linear')}"


Design = Eager | Fused | Window | Linear | Hybrid


def design_of(given: Any) -> Design:
    """Return a design, read from text where it is text.

    Args:
        given: A design; or "eager", "sdpa", "window:W", "linear" and "hybrid:PATTERN". After
            `linear`, or after the pattern, come in any order `h/4` or `2h` (heads), `4d` or `d/2`
            (size of a head; by default what keeps heads × size), `2r` (features of φ in the size
            of a head) and `c64` (chunk), each behind a colon. Parentheses do as well as the colon.

    Raises:
        ArgumentError: The text is none of these; the message lists the forms.

    Example:
        >>> design_of("linear:h/4").head_dim, design_of("hybrid(LLLF)").at(3)
        (Fraction(4, 1), Fused())
    """
    if isinstance(given, Design):
        return given
    if not isinstance(given, str):
        raise ArgumentError(f"attention must be a design or one of {_FORMS}; got {given!r}")
    name, *parts = re.sub(r"[('\")]+", ":", given.strip()).rstrip(":").split(":")
    if name in ("eager", "sdpa") and not parts:
        return Eager() if name == "eager" else Fused()
    if name == "window" and len(parts) == 1 and parts[0].isdecimal():
        return Window(int(parts[0]))
    if name == "linear":
        return _linear(parts, given)
    if name == "hybrid" and parts:
        return Hybrid(parts[0], _linear(parts[1:], given))
    raise ArgumentError(f"attention must be a design or one of {_FORMS}; got {given!r}")


def _linear(parts: list[str], given: str) -> Linear:
    found: dict[str, Fraction] = {}
    for part in parts:
        match = re.fullmatch(r"(\d*)([hdr])(?:/(\d+))?|c(\d+)", part)
        if match is None or (match[3] and int(match[3]) == 0):
            raise ArgumentError(f"attention must be a design or one of {_FORMS}; got {given!r}")
        key = match[2] or "c"
        if key in found:
            raise ArgumentError(f"attention must say {key} once; got {given!r}")
        found[key] = Fraction(int(match[4] or match[1] or 1), int(match[3] or 1))
    heads = found.get("h", Fraction(1))
    features = found.get("r", Fraction(1))
    if features.denominator != 1:
        raise ArgumentError(f"Linear: features must be a positive integer; got {features}")
    return Linear(
        heads,
        found.get("d", 1 / heads if heads else Fraction(1)),
        features.numerator,
        int(found["c"]) if "c" in found else None,
    )
