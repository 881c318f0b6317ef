"""Why: the training rows that made a prediction, as a ledger that adds up to the score."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from trivium.report.blocks import Block, Column, Fold, Missing, Paragraph, Section, Table
from trivium.report.charts import Scale, diverging, step
from trivium.report.fields import Limits, record, records, stage_reason, words
from trivium.report.numbers import count, counted, finite, fixed, number
from trivium.report.sections.labels import excerpt
from trivium.report.text import shown

__all__ = ["why_section"]

Record = Mapping[str, Any]
_OPEN = 2
_EACH_SIDE = 10


def why_section(report: Record, limits: Limits) -> Section:
    """Return predictions taken apart into contributions of training rows."""
    question = "Which rows made a prediction?"
    explain = record(report, "explain")
    items = records(explain, "items")
    if not items:
        why = stage_reason(report, "explain", "No prediction was taken apart in this run.")
        return Section("why", question, "Not asked", (Missing(why),))
    error, tolerance = finite(explain.get("completeness_error")), finite(explain.get("tolerance"))
    blocks: list[Block] = [Paragraph(_method(explain, error, tolerance))]
    kept = items[: limits.explanations]
    blocks += [_ledger(item, limits, index < _OPEN) for index, item in enumerate(kept)]
    if len(items) > len(kept):
        blocks.append(
            Paragraph(
                f"The first {count(len(kept))} of {count(len(items))}; rows.csv has the top "
                "supporting and opposing rows of every row.",
                quiet=True,
            )
        )
    blocks += _tuned(explain, limits)
    answer = f"{counted(len(items), 'prediction')} taken apart" + (
        f"; sums agree within {number(error, 2)}" if error is not None else ""
    )
    return Section("why", question, answer, tuple(blocks))


def _tuned(explain: Record, limits: Limits) -> list[Block]:
    """Return what trained layers added, taken apart in the same way."""
    tuned = record(explain, "tuned")
    items = records(tuned, "items")
    if not items:
        return []
    error, tolerance = (finite(tuned.get(key)) for key in ("completeness_error", "tolerance"))
    text = Markup(
        "What tuning added. The score is that of the class decided, over its strongest rival; "
        "it begins with what it was before the layers that tuning trained, and each training row "
        "moved it while they were trained."
    )
    if gross := finite(tuned.get("gross_over_net")):
        text += Markup(
            " Rows push and pull: taken without sign they add up to {} times the net change, so "
            "the rows listed are the largest of many and not the reason."
        ).format(number(gross, 2))
    blocks: list[Block] = [Paragraph(text + _checked(tuned, error, tolerance))]
    kept = items[: limits.explanations]
    return blocks + [
        _ledger(item, limits, index < 1, "before tuning") for index, item in enumerate(kept)
    ]


def _method(explain: Record, error: float | None, tolerance: float | None) -> Markup:
    text = Markup(
        "The score of a row says how far its predicted class is ahead of the next best. It is a "
        "sum over the training rows: those that support the prediction, those that oppose it, "
        "and an intercept."
    )
    return text + _checked(explain, error, tolerance)


def _checked(explain: Record, error: float | None, tolerance: float | None) -> Markup:
    text = Markup("")
    if method := words(explain, "method"):
        text += Markup(" Method: {}.").format(shown(method.rstrip("."), 200))
    if error is not None:
        check = "" if tolerance is None else f" (tolerance {number(tolerance, 1)})"
        verdict = "" if tolerance is None else (" Passed." if error <= tolerance else " FAILED.")
        text += Markup(" Completeness check: largest gap between sum and score {}{}.{}").format(
            number(error, 2), check, verdict
        )
    return text


def _ledger(item: Record, limits: Limits, start_open: bool, first: str = "intercept") -> Fold:
    entries = [(entry, _sign(entry, 1)) for entry in records(item, "support")[:_EACH_SIDE]]
    entries += [(entry, _sign(entry, -1)) for entry in records(item, "oppose")[:_EACH_SIDE]]
    limit = max([abs(value) for _, value in entries if value is not None] + [1e-12])
    table = Table(
        "The training rows that weigh most.",
        (
            Column("training row", "short"),
            Column("its label"),
            Column("opposes \u2190 \u2192 supports", "chart"),
            Column("contribution", "number"),
            Column("its cells"),
        ),
        tuple(_entry(entry, value, limit, limits) for entry, value in entries),
        look="ledger",
    )
    parts = (_sum(item, first), table) if entries else (_sum(item, first),)
    return Fold(_summary(item), parts, start_open)


def _sum(item: Record, name: str) -> Table:
    intercept, score = finite(item.get("intercept")), finite(item.get("score"))
    support = _total(item.get("total_support"), 1)
    oppose = _total(item.get("total_oppose"), -1)
    first = intercept or 0.0
    second = first + (support or 0.0)
    third = second + (oppose or 0.0)
    scale = Scale.around([first, second, third, score], include=[0.0])
    steps = (
        (name, intercept, 0.0, first),
        ("all supporting rows", support, first, second),
        ("all opposing rows", oppose, second, third),
        ("score", score, 0.0, score),
    )
    return Table(
        _question(item),
        (Column("part"), Column("running sum", "chart"), Column("contribution", "number")),
        tuple((name, step(scale, start, end), _signed(value)) for name, value, start, end in steps),
        look="narrow sum",
        total=True,
    )


def _question(item: Record) -> Markup:
    predicted = shown(item.get("predicted"), 32)
    if not words(item, "rival"):
        return Markup("How the score of {} adds up.").format(predicted)
    rival = shown(item.get("rival"), 32)
    return Markup("How {} comes out ahead of {}.").format(predicted, rival)


def _total(value: Any, sign: int) -> float | None:
    known = finite(value)
    return None if known is None else sign * abs(known)


def _signed(value: float | None) -> str:
    text = fixed(value, 4)
    return f"+{text}" if value is not None and value > 0 else text


def _summary(item: Record) -> Markup:
    agrees = words(item, "label") == words(item, "predicted")
    return Markup("Row {}: labeled {}, predicted {} {}").format(
        Markup("<b>{}</b>").format(count(item.get("row"))),
        shown(item.get("label"), 32),
        shown(item.get("predicted"), 32),
        Markup('<span class="{}">{}</span>').format(
            "quiet" if agrees else "differs", "(agrees)" if agrees else "(differs)"
        ),
    )


def _sign(entry: Record, sign: int) -> float | None:
    return _total(entry.get("contribution"), sign)


def _entry(
    entry: Record, value: float | None, limit: float, limits: Limits
) -> tuple[str | Markup, ...]:
    return (
        f"row {count(entry.get('row'))}" + (", itself" if entry.get("itself") else ""),
        shown(entry.get("label"), 24),
        diverging(value, limit),
        _signed(value),
        excerpt(entry, limits),
    )
