"""Can the decision be better: what was tuned for the metric, its gain, and what was kept."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from markupsafe import Markup

from trivium.report.blocks import Block, Column, Missing, Paragraph, Section, Table
from trivium.report.charts import Scale, ruler, whisker
from trivium.report.fields import Limits, record, records, stage_reason, words
from trivium.report.names import SHARES, metric_name
from trivium.report.numbers import count, finite, fixed, number, percent, signed
from trivium.report.text import shown, tied

__all__ = ["tune_section"]

Record = Mapping[str, Any]
_QUESTION = "Can it be tuned for the metric?"


def tune_section(report: Record, limits: Limits) -> Section:
    """Return the stages tried, each with its gain and standard error, and what was kept."""
    tune = record(report, "tune")
    tried = records(tune, "tried")[: limits.rows]
    if not tried:
        why = words(tune, "why")
        text = shown(why[:1].upper() + why[1:] + ".", 300) if why else None
        missing = Missing(text or stage_reason(report, "tune", "Nothing was tuned in this run."))
        return Section("tune", _QUESTION, "Nothing tuned", (missing,))
    metric = words(tune, "metric", "accuracy")
    parts = (
        _stages(tune, tried, metric, limits),
        _offsets(tune, limits),
        _estimators(tune, limits),
    )
    blocks = (_reading(tune), *(block for block in parts if block is not None))
    return Section("tune", _QUESTION, _answer(tune, metric), blocks)


def _named(tune: Record, metric: str) -> Markup:
    """The metric in words, with the class that it is of."""
    positive = words(tune, "positive")
    name = Markup("{}").format(shown(metric_name(metric), 60))
    return name + Markup(" of {}").format(shown(positive, 40)) if positive else name


def _value(metric: str, value: Any) -> str:
    if finite(value) is None:
        return ""
    return percent(value) if metric in SHARES else fixed(value, 3)


def _gain(metric: str, gain: Any, error: Any) -> str:
    """Gain and standard error; shares in percentage points."""
    known, spread = finite(gain), finite(error)
    if known is None or spread is None:
        return ""
    unit = 100 if metric in SHARES else 1
    decimals = 2 if metric in SHARES else 4
    plus = "+" if known > 0 else ""
    return f"{plus}{fixed(unit * known, decimals)} \u00b1 {fixed(unit * spread, decimals)}"


def _kept(tune: Record) -> bool:
    return any(words(item, "outcome") == "kept" for item in records(tune, "tried"))


def _answer(tune: Record, metric: str) -> Markup:
    if not _measured(tune):
        return Markup("Nothing tuned")
    if not _kept(tune):
        return Markup("Tuning did not help")
    points = " points" if metric in SHARES else ""
    gain = _gain(metric, tune.get("gain"), tune.get("standard_error"))
    return Markup("Yes, by {}: {} {}{}").format(
        shown(words(tune, "kept"), 24), _named(tune, metric), gain, points
    )


def _measured(tune: Record) -> bool:
    return any(finite(item.get("gain")) is not None for item in records(tune, "tried"))


def _reading(tune: Record) -> Paragraph:
    if not _measured(tune):
        return Paragraph("Every stage was left out or stopped; the closed form stays as it is.")
    if not _kept(tune):
        return Paragraph(
            "Tuning did not help: no other decision on the same evidence gains more than its "
            "standard error, so the closed form stays as it is."
        )
    return Paragraph(
        Markup(
            "The class that trivium predict writes is decided by {}, on top of the closed form. "
            "The probabilities, the flags and the explanations stay those of the closed form."
        ).format(shown(words(tune, "kept"), 24))
    )


def _tick(scale: Scale, metric: str, value: float) -> str:
    unit, less = (100, 2) if metric in SHARES else (1, 0)
    if value == 0:
        return "0"
    return f"{unit * value:+.{max(scale.decimals - less, 0)}f}".replace("-", "\u2212")


def _stages(tune: Record, tried: list[Record], metric: str, limits: Limits) -> Table:
    spans = []
    for item in tried:
        gain, error = finite(item.get("gain")), finite(item.get("standard_error"))
        known = gain is not None and error is not None
        spans.append((gain, gain - error, gain + error) if known else (None, None, None))  # type: ignore[operator]
    scale = Scale.around([end for span in spans for end in span], include=[0.0], n_ticks=4)
    unit = ", percentage points" if metric in SHARES else ""
    body = []
    for item, (gain, low, high) in zip(tried, spans, strict=True):
        outcome = words(item, "outcome")
        body.append(
            (
                shown(words(item, "stage"), 24),
                count(item.get("numbers")),
                _value(metric, item.get("before")),
                _value(metric, item.get("after")),
                whisker(scale, gain, low, high, main=outcome == "kept", reference=0.0)
                if gain is not None
                else "",
                _gain(metric, item.get("gain"), item.get("standard_error")),
                shown(outcome, 16),
                shown(words(item, "why"), 160),
            )
        )
    how = words(tune, "how")
    return Table(
        Markup("Stages, fewest numbers first, by {}.").format(_named(tune, metric)),
        (
            Column("stage", "short"),
            Column("numbers", "number"),
            Column("before", "number"),
            Column("after", "number"),
            Column(f"gain{unit}", "chart", ruler(scale, partial(_tick, scale, metric))),
            Column("\u00b1 standard error", "number"),
            Column("outcome", "short"),
            Column("why"),
        ),
        tuple(body),
        Markup("The bar is one standard error each way; {}.").format(
            shown(tied(how.rstrip(".")), 500)
        )
        if how
        else "",
        look="tall",
    )


def _offsets(tune: Record, limits: Limits) -> Block | None:
    items = [one for one in records(tune, "offsets") if finite(one.get("offset"))]
    if not items:
        return None
    body = tuple(
        (shown(words(one, "class"), 40), signed(one.get("offset"))) for one in items[: limits.rows]
    )
    return Table(
        "What is added to the log-probability of each class.",
        (Column("class"), Column("offset, nats", "number")),
        body,
        f"Classes that are not listed get 0. {_decision(tune)}",
        look="narrow",
    )


def _decision(tune: Record) -> str:
    """How a class follows from the sums."""
    by_cost = words(tune, "metric") == "cost"
    rule = "least expected cost under these sums" if by_cost else "the largest sum"
    last = words(tune, "kept")
    added = f", after the scores of the {last} are added," if last in ("head", "network") else ""
    return f"The class of {rule}{added} is predicted."


def _estimators(tune: Record, limits: Limits) -> Block | None:
    chosen = record(tune, "estimator")
    measured = records(chosen, "measured")[: limits.rows]
    if not measured:
        return None
    name = words(chosen, "chosen")
    body = tuple(
        (
            shown(words(one, "name"), 48) + (" (chosen)" if words(one, "name") == name else ""),
            number(one.get("deviation")),
            number(one.get("work")),
            number(one.get("price")),
        )
        for one in measured
    )
    return Table(
        "Estimators of the gradient that trains head and network.",
        (
            Column("estimator"),
            Column("deviation", "number"),
            Column("multiplications a step", "number"),
            Column("variance \u00d7 multiplications", "number"),
        ),
        body,
        Markup("Chosen: {}. Deviation is that of the gradient with respect to the scores.").format(
            shown(words(chosen, "why"), 160)
        ),
        look="narrow",
    )
