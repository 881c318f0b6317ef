"""Designs side by side over the lengths that a user has, padding included."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from trivium._core.errors import ArgumentError
from trivium.cost.design import Design, design_of
from trivium.cost.lengths import Lengths, Padding
from trivium.cost.measure import Clock, measure_of
from trivium.cost.shape import TransformerShape
from trivium.cost.text import columns, count_text, seconds_text
from trivium.cost.workload import Mode

__all__ = ["Comparison", "Entry", "compare"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One design over all rows.

    Args:
        name: Its name.
        attention: Its attention.
        flops: FLOPs executed, padding included.
        needed: FLOPs without padding and without the pairs that masks throw away.
        bytes: Bytes read and written.
        saved: Bytes kept for the backward pass by the largest batch, in mode "train".
        seconds: Lower end, estimate and upper end, where there is a clock.
        quality: What the user measured; larger is better.
        best: Whether no other design has at most its FLOPs and at least its quality, one of them
            strictly; `None` without qualities.
    """

    name: str
    attention: str
    flops: int
    needed: int
    bytes: int
    saved: int
    seconds: tuple[float, float, float] | None
    quality: float | None
    best: bool | None

    @property
    def wasted(self) -> Fraction:
        """The share of the executed FLOPs that padding and masks throw away."""
        return 1 - Fraction(self.needed, self.flops)


@dataclass(frozen=True)
class Comparison:
    """Designs over the same rows.

    Args:
        entries: One for each design, in the order given.
        rows: How many rows there are.
        tokens: How many tokens they have.
        padded: How many places the batches have for them.
        batch: Rows of a batch.
        padding: How rows were put into batches.
        mode: The pass.
    """

    entries: tuple[Entry, ...]
    rows: int
    tokens: int
    padded: int
    batch: int
    padding: str
    mode: str

    def __getitem__(self, name: str) -> Entry:
        """Return the entry of a name.

        Raises:
            ArgumentError: There is none of this name.
        """
        for entry in self.entries:
            if entry.name == name:
                return entry
        names = ", ".join(entry.name for entry in self.entries)
        raise ArgumentError(f"Comparison: name must be one of {names}; got {name!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as a JSON object."""
        entries = [asdict(entry) | {"wasted": float(entry.wasted)} for entry in self.entries]
        about = {
            name: getattr(self, name)
            for name in ("rows", "tokens", "padded", "batch", "padding", "mode")
        }
        return about | {"designs": entries}

    def __str__(self) -> str:
        first = self.entries[0]
        timed = first.seconds is not None
        rows = [["design", "FLOPs", "relative", "wasted", "bytes", *["seconds"] * timed, "quality"]]
        for entry in self.entries:
            quality = "" if entry.quality is None else f"{entry.quality:g}"
            row = [
                entry.name,
                count_text(entry.flops),
                f"{entry.flops / first.flops:.3f}x",
                f"{100 * float(entry.wasted):.1f} %",
                count_text(entry.bytes),
            ]
            if entry.seconds is not None:
                low, middle, high = map(seconds_text, entry.seconds)
                row.append(f"{middle} ({low} to {high})")
            rows.append([*row, quality + " *" * bool(entry.best)])
        return columns(rows, left=(0,))


def compare(
    designs: Mapping[str, Any] | tuple[TransformerShape, Iterable[Design | str]],
    lengths: Lengths | Iterable[int],
    batch: int = 1,
    quality: Mapping[str, float] | None = None,
    *,
    padding: Padding = "batch",
    mode: Mode = "forward",
    itemsize: int = 4,
    clock: Clock | None = None,
) -> Comparison:
    """Return what designs cost over the rows that there are.

    Equal quality is nowhere assumed: a design that is cheaper may be worse, and how much is what
    `quality` says, from the user's own measurement.

    Args:
        designs: Names with what each stands for: a shape, or a shape and an attention; or one
            shape with several attentions.
        lengths: Tokens of each row.
        batch: Rows of a batch.
        quality: A number for some or all of the names; larger is better.
        padding: How rows get into batches: "none", "batch", "sorted" or "longest", as in
            `Lengths.batches`.
        mode: "forward", "train" or "prefill".
        itemsize: Bytes of a number.
        clock: What tells the time.

    Returns:
        The comparison; `str` of it is a table.

    Raises:
        ArgumentError: There is no design, a name has a quality but no design, a quality is no
            finite number, the mode is "decode", or a length or size breaks its rule.

    Cost:
        A table for each design and each different batch.

    Example:
        >>> bert = TransformerShape.from_config("bert-base-uncased")
        >>> found = compare((bert, ["sdpa", "linear:h/4"]), [90, 200, 512], batch=2)
        >>> [entry.name for entry in found.entries], found.padded
        (['sdpa', 'linear:h/4'], 912)
    """
    if mode == "decode":
        raise ArgumentError("compare: mode must be forward, train or prefill; got 'decode'")
    lengths = lengths if isinstance(lengths, Lengths) else Lengths(tuple(lengths))
    named = _named(designs)
    scores = _scores(quality, named)
    batches = lengths.batches(batch, padding)
    alone = lengths.batches(1, "none")
    measure = measure_of("compare", "time", clock) if clock is not None else None
    entries = []
    for name, (shape, attention) in named.items():
        flops = moved = saved = needed = 0
        seconds = [Fraction(0)] * 3
        for (n, rows), times in batches.items():
            table = shape.table(n, rows, mode, attention=attention, itemsize=itemsize)
            flops += times * table.flops
            moved += times * table.bytes
            saved = max(saved, table.total("saved"))
            if measure is not None:
                seconds = [s + times * t for s, t in zip(seconds, measure(table), strict=True)]
        for (n, _), times in alone.items():
            needed += times * shape.table(n, 1, mode, None, "needed", attention).flops
        time = (
            None if measure is None else (float(seconds[0]), float(seconds[1]), float(seconds[2]))
        )
        score = scores.get(name)
        entries.append(Entry(name, str(attention), flops, needed, moved, saved, time, score, None))
    if scores:
        entries = [_graded(entry, entries) for entry in entries]
    padded = sum(n * rows * times for (n, rows), times in batches.items())
    return Comparison(
        tuple(entries), len(lengths.rows), lengths.tokens, padded, batch, padding, mode
    )


def _named(designs: Any) -> dict[str, tuple[TransformerShape, Design]]:
    if isinstance(designs, tuple) and len(designs) == 2 and not isinstance(designs[1], str):
        shape, attentions = designs
        designs = {str(attention): (shape, attention) for attention in attentions}
    if not isinstance(designs, Mapping) or not designs:
        raise ArgumentError(
            f"compare: designs must be a mapping with at least one design, or a shape with "
            f"attentions; got {designs!r}"
        )
    found = {}
    for name, value in designs.items():
        shape, attention = value if isinstance(value, tuple) else (value, "eager")
        if not isinstance(shape, TransformerShape):
            raise ArgumentError(
                f"compare: designs must be shapes; got {type(shape).__name__} for {name}"
            )
        found[str(name)] = (shape, design_of(attention))
    return found


def _scores(quality: Mapping[str, float] | None, named: Mapping[str, Any]) -> dict[str, float]:
    scores = dict(quality or {})
    for name, value in scores.items():
        if name not in named:
            raise ArgumentError(
                f"compare: quality must be of {', '.join(named)}; got one of {name!r}"
            )
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not abs(value) < float("inf"):
            raise ArgumentError(
                f"compare: quality must be a finite number; got {value!r} for {name}"
            )
    return scores


def _graded(entry: Entry, entries: list[Entry]) -> Entry:
    """Say whether a design is beaten by none, among those whose quality is known."""
    if entry.quality is None:
        return entry
    beaten = any(
        other.quality is not None
        and other.flops <= entry.flops
        and other.quality >= entry.quality
        and (other.flops, other.quality) != (entry.flops, entry.quality)
        for other in entries
    )
    return Entry(**(asdict(entry) | {"seconds": entry.seconds, "best": not beaten}))
