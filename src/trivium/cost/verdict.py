"""The verdict in words: what the counts mean for the rows that there are."""

from fractions import Fraction
from math import ceil

from trivium.cost.compare import Comparison
from trivium.cost.crossover import crossover
from trivium.cost.design import Design
from trivium.cost.lengths import Lengths, Padding
from trivium.cost.shape import TransformerShape
from trivium.cost.workload import Mode

__all__ = ["quadratic_share", "verdict"]


def quadratic_share(
    shape: TransformerShape,
    lengths: Lengths,
    batch: int,
    padding: Padding,
    mode: Mode,
    attention: Design,
) -> Fraction:
    """Return the share of all FLOPs over the rows that grows as n²: what a design could save.

    Raises:
        ArgumentError: A size, the padding or the mode breaks its rule.
    """
    quadratic = whole = 0
    for (n, rows), times in lengths.batches(batch, padding).items():
        table = shape.table(n, rows, mode, attention=attention)
        quadratic += times * table.total("flops", "quadratic")
        whole += times * table.flops
    return Fraction(quadratic, whole)


def verdict(
    shape: TransformerShape,
    lengths: Lengths,
    comparison: Comparison,
    attention: Design,
    *,
    whose: str,
) -> list[str]:
    """Return sentences about a shape over rows.

    Args:
        shape: The shape.
        lengths: The rows.
        comparison: The designs over the rows; the first is that of the model.
        attention: The design of the model.
        whose: "your" for rows of a user, "these" for lengths that were asked for.

    Raises:
        ArgumentError: A size breaks its rule.
    """
    batch, mode = comparison.batch, comparison.mode
    padding: Padding = comparison.padding  # type: ignore[assignment]
    share = quadratic_share(shape, lengths, batch, padding, mode, attention)  # type: ignore[arg-type]
    said = [
        f"{_tokens_below(shape, lengths, whose)}; replacing attention can save at most "
        f"{_percent(share)} of the FLOPs."
    ]
    base = comparison.entries[0]
    said += [
        _against(entry.name, entry.flops, base.name, base.flops, entry.bytes, base.bytes)
        for entry in comparison.entries[1:]
    ]
    if padding != "none" and comparison.padded > comparison.tokens:
        said.append(_padding(lengths, comparison))
    if shape.longest is not None and max(lengths.rows) > shape.longest:
        over = sum(row > shape.longest for row in lengths.rows)
        are = "row is" if over == 1 else "rows are"
        said.append(f"{over:,} {are} longer than the {shape.longest:,} positions of {shape.name}.")
    said.append(
        "These are counts. In seconds the crossings come earlier: the passes of the softmax and "
        "the memory of the scores cost time but no FLOPs."
    )
    return said


def _tokens_below(shape: TransformerShape, lengths: Lengths, whose: str) -> str:
    """Say how many tokens sit where the feed-forward layers cost more than attention."""
    found = crossover(shape, "ffn", "attention")
    if not found.crossings:
        larger = "attention" if found.smaller == "ffn" else "the feed-forward layers"
        return f"At every length {larger} cost{'s' if larger == 'attention' else ''} more"
    place = ceil(found.crossings[0].high)
    share = lengths.share_below(place)
    return (
        f"{_percent(share)} of {whose} tokens sit in rows under {place:,}, where the "
        "feed-forward layers cost more than attention"
    )


def _against(name: str, flops: int, base: str, base_flops: int, moved: int, base_moved: int) -> str:
    if flops == base_flops:
        less = 1 - Fraction(moved, base_moved)
        change = "fewer" if less >= 0 else "more"
        return (
            f"{name} does the same FLOPs as {base} and moves {_percent(abs(less))} {change} bytes."
        )
    if flops < base_flops:
        less = 1 - Fraction(flops, base_flops)
        return f"{name} saves {_percent(less)} of the FLOPs of {base}, if its quality is enough."
    return f"{name} does {flops / base_flops:.2f} times the FLOPs of {base}."


def _padding(lengths: Lengths, comparison: Comparison) -> str:
    waste = 1 - Fraction(comparison.tokens, comparison.padded)
    text = f"{_percent(waste)} of the places in the batches are padding"
    places = sum(n * r * t for (n, r), t in lengths.batches(comparison.batch, "sorted").items())
    if places == comparison.padded:
        return text + "."
    return (
        f"{text}; with rows sorted by length {_percent(1 - Fraction(comparison.tokens, places))}."
    )


def _percent(share: Fraction) -> str:
    """Return a share in percent, with a decimal where it is below ten."""
    percent = 100 * float(share)
    if percent in (0.0, 100.0):
        return f"{percent:.0f} %"
    digits = 0 if 9.5 <= percent <= 99 else 1 if percent >= 0.1 else 3
    return f"{percent:.{digits}f} %"
