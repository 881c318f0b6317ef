"""Why: the training rows that made a prediction, as a ledger that adds up to the score."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from trivium.report.blocks import Block, Column, Fold, Missing, Paragraph, Section, Table
from trivium.report.charts import diverging
from trivium.report.fields import Limits, record, records, stage_reason, words
from trivium.report.numbers import count, finite, number, signed
from trivium.report.sections.labels import excerpt
from trivium.report.text import shown

__all__ = ["why_section"]

Record = Mapping[str, Any]
_OPEN = 2
_EACH_SIDE = 10


def why_section(report: Record, limits: Limits) -> Section:
    """Return predictions taken apart into contributions of training rows."""
    question = "Why: which rows made a prediction?"
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
    answer = f"{count(len(items))} predictions taken apart" + (
        f"; sums agree within {number(error, 2)}" if error is not None else ""
    )
    return Section("why", question, answer, tuple(blocks))


def _method(explain: Record, error: float | None, tolerance: float | None) -> Markup:
    text = Markup(
        "The score of a row is a sum over the training rows. Each entry below is one row\u2019s "
        "contribution to the score of the predicted class: positive entries support it, negative "
        "ones oppose it, and with the intercept they add up to the score."
    )
    if method := words(explain, "method"):
        text += Markup(" Method: {}.").format(shown(method.rstrip("."), 200))
    if error is not None:
        check = "" if tolerance is None else f" (tolerance {number(tolerance, 1)})"
        verdict = "" if tolerance is None else (" Passed." if error <= tolerance else " FAILED.")
        text += Markup(" Completeness check: largest gap between sum and score {}{}.{}").format(
            number(error, 2), check, verdict
        )
    return text


def _ledger(item: Record, limits: Limits, start_open: bool) -> Fold:
    support = records(item, "support")[:_EACH_SIDE]
    oppose = records(item, "oppose")[:_EACH_SIDE]
    entries = [(entry, _sign(entry, 1)) for entry in support]
    against = [(entry, _sign(entry, -1)) for entry in oppose]
    rest_for = _rest(item.get("total_support"), [value for _, value in entries], 1)
    rest_against = _rest(item.get("total_oppose"), [value for _, value in against], -1)
    values = [value for _, value in entries + against] + [rest_for, rest_against]
    values += [finite(item.get("intercept")), finite(item.get("score"))]
    limit = max([abs(value) for value in values if value is not None] + [1e-12])
    rows = [_entry(entry, value, limit, limits) for entry, value in entries]
    if rest_for is not None:
        rows.append(_sum_row("all other supporting rows", rest_for, limit))
    rows += [_entry(entry, value, limit, limits) for entry, value in against]
    if rest_against is not None:
        rows.append(_sum_row("all other opposing rows", rest_against, limit))
    rows.append(_sum_row("intercept", finite(item.get("intercept")), limit))
    rows.append(_sum_row("score", finite(item.get("score")), limit))
    table = Table(
        Markup("Contributions to the score of {} for row {}.").format(
            shown(item.get("predicted"), 32), count(item.get("row"))
        ),
        (
            Column("training row"),
            Column("its label"),
            Column("opposes \u2190 \u2192 supports", "chart"),
            Column("contribution", "number"),
            Column("its cells"),
        ),
        tuple(rows),
        look="ledger",
        total=True,
    )
    return Fold(_summary(item), (table,), start_open)


def _summary(item: Record) -> Markup:
    agrees = words(item, "label") == words(item, "predicted")
    return Markup("Row {}: labelled {}, predicted {} {}").format(
        Markup("<b>{}</b>").format(count(item.get("row"))),
        shown(item.get("label"), 32),
        shown(item.get("predicted"), 32),
        Markup('<span class="{}">{}</span>').format(
            "quiet" if agrees else "differs", "(agrees)" if agrees else "(differs)"
        ),
    )


def _sign(entry: Record, sign: int) -> float | None:
    value = finite(entry.get("contribution"))
    return None if value is None else sign * abs(value)


def _rest(total: Any, parts: Sequence[float | None], sign: int) -> float | None:
    known = finite(total)
    if known is None:
        return None
    rest = sign * abs(known) - sum(value for value in parts if value is not None)
    return rest if rest * sign > 0 else None


def _entry(
    entry: Record, value: float | None, limit: float, limits: Limits
) -> tuple[str | Markup, ...]:
    return (
        Markup("row {}").format(count(entry.get("row"))),
        shown(entry.get("label"), 24),
        diverging(value, limit),
        signed(value, 3),
        excerpt(entry, limits),
    )


def _sum_row(name: str, value: float | None, limit: float) -> tuple[str | Markup, ...]:
    return (name, "", diverging(value, limit), signed(value, 3), "")
