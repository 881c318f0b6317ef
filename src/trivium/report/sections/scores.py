"""How well can the label be predicted: models on the same folds, differences, calibration."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from markupsafe import Markup

from trivium.report.blocks import Beside, Block, Column, Missing, Paragraph, Section, Table
from trivium.report.charts import Scale, ruler, whisker
from trivium.report.fields import Limits, listed, record, records, stage_reason, words
from trivium.report.names import LOSSES, SHARES, metric_name, model_name
from trivium.report.numbers import clock, counted, finite, interval, number, percent
from trivium.report.sections.quality import calibration, confusion, per_class
from trivium.report.text import shown, tied

__all__ = ["estimate", "metrics_of", "score_section"]

Record = Mapping[str, Any]
_MOST_METRICS = 6


def score_section(report: Record, limits: Limits) -> Section:
    """Return scores with intervals, paired differences, confusion and calibration."""
    question = "How well can it be predicted?"
    scores = record(report, "scores")
    models = {
        key: value
        for key, value in list(record(scores, "models").items())[: limits.rows]
        if isinstance(value, Mapping)
    }
    if not models:
        why = stage_reason(report, "fit", "No model was fitted in this run.")
        return Section("scores", question, "Not measured", (Missing(why),))
    metrics = metrics_of(scores)
    parts = (
        _models(scores, models, metrics),
        _differences(scores, metrics[0], limits),
        _details(scores),
        _beside(confusion(report, scores, limits), calibration(scores, limits)),
        per_class(scores, limits),
    )
    blocks = tuple(block for block in parts if block is not None)
    return Section("scores", question, _answer(models, metrics[0]), blocks)


def metrics_of(scores: Record) -> list[str]:
    """Return the metrics measured, the one of the headline first."""
    names = [str(name) for name in listed(scores, "metrics")][:_MOST_METRICS] or ["accuracy"]
    headline = words(scores, "headline")
    return sorted(names, key=lambda name: name != headline)


def estimate(value: Record, metric: str) -> tuple[str, str]:
    """Return a model's score and its interval, written as that metric is read."""
    style = "percent" if metric in SHARES else "number"
    return interval(value.get("mean"), value.get("low"), value.get("high"), style)


def _beside(first: Block | None, second: Block | None) -> Block | None:
    if first is None or second is None:
        return first or second
    return Beside((first, second))


def _answer(models: Mapping[str, Record], metric: str) -> str:
    name = metric_name(metric)
    parts = []
    for key, words_before in (("closed_form", name[:1].upper() + name[1:]), ("majority", "")):
        if key in models:
            mean, ends = estimate(record(models[key], metric), metric)
            before = words_before or model_name(key)
            parts.append(f"{before} {mean}" + (f" ({ends})" if ends else ""))
    return ", ".join(parts) if parts else "See the table"


def _two_lines(value: str, ends: str) -> Markup:
    if not ends:
        return Markup("{}").format(value)
    return Markup('{}<span class="ends">{}</span>').format(value, ends)


def _tick(metric: str, scale: Scale, value: float) -> str:
    if metric in SHARES:
        return f"{100 * value:.{max(scale.decimals - 2, 0)}f}"
    return f"{value:.{scale.decimals}f}".replace("-", "\u2212")


def _scale(models: Mapping[str, Record], metric: str) -> Scale:
    """Return the axis around the models worth comparing; the majority class may lie outside."""
    close = {key: model for key, model in models.items() if key != "majority"} or models
    ends = [
        finite(record(model, metric).get(name))
        for model in close.values()
        for name in ("mean", "low", "high")
    ]
    return Scale.around(ends, n_ticks=4, bounds=(0.0, 1.0) if metric in SHARES else None)


def _models(scores: Record, models: Mapping[str, Record], metrics: Sequence[str]) -> Table:
    first = metrics[0]
    scale = _scale(models, first)
    columns = [
        Column("model"),
        Column(
            metric_name(first) + (", %" if first in SHARES else ""),
            "chart",
            ruler(scale, partial(_tick, first, scale)),
        ),
    ]
    columns += [
        Column(
            Markup('{}<span class="ends">{}</span>').format(
                metric_name(name), "less is better" if name in LOSSES else ""
            ),
            "number",
        )
        for name in metrics
    ]
    columns.append(Column("time", "number"))
    body = []
    for key, model in models.items():
        score = record(model, first)
        mean, low, high = (finite(score.get(name)) for name in ("mean", "low", "high"))
        cells: list[str | Markup] = [
            shown(model_name(key), 40),
            whisker(scale, mean, low, high, main=key == "closed_form"),
        ]
        cells += [_two_lines(*estimate(record(model, name), name)) for name in metrics]
        cells.append(clock(model.get("seconds")))
        body.append(tuple(cells))
    folds = finite(scores.get("folds"))
    how = words(scores, "how")
    title = f"Scores on the same {counted(folds, 'fold')}." if folds else "Cross-validated scores."
    caption = Markup("With 95\u202f% intervals; a model off the axis is an arrow at its edge.")
    if how:
        caption += Markup(" {}.").format(shown(tied(how.rstrip(".")), 400))
    return Table(title, tuple(columns), tuple(body), caption, look="tall")


def _differences(scores: Record, metric: str, limits: Limits) -> Block | None:
    items = [item for item in records(scores, "differences") if item.get("metric") == metric]
    if not items:
        return None
    style = "points" if metric in SHARES else "signed"
    close = [item for item in items if "majority" not in (item.get("a"), item.get("b"))] or items
    ends = [finite(item.get(name)) for item in close for name in ("mean", "low", "high")]
    scale = Scale.around(ends, include=[0.0], n_ticks=4)
    unit = ", percentage points" if style == "points" else ""
    columns = (
        Column("pair"),
        Column(
            f"difference in {metric_name(metric)}{unit}",
            "chart",
            ruler(scale, partial(_difference_tick, metric, scale)),
        ),
        Column("difference", "number"),
        Column("95\u202f% interval", "number"),
        Column("reading"),
    )
    body = []
    for item in items[: limits.rows]:
        mean, low, high = (finite(item.get(name)) for name in ("mean", "low", "high"))
        value, written = interval(mean, low, high, style)
        body.append(
            (
                Markup("{} \u2212 {}").format(
                    shown(model_name(words(item, "a")), 30), shown(model_name(words(item, "b")), 30)
                ),
                whisker(scale, mean, low, high, main=True, reference=0.0),
                value,
                written,
                _reading(low, high, metric),
            )
        )
    return Table(
        "Paired differences.",
        columns,
        tuple(body),
        "Paired on the same rows, so their intervals are narrower than those of the scores.",
        look="tall",
    )


def _difference_tick(metric: str, scale: Scale, value: float) -> str:
    if value == 0:
        return "0"
    if metric in SHARES:
        return f"{100 * value:+.{max(scale.decimals - 2, 0)}f}".replace("-", "\u2212")
    return f"{value:+.{scale.decimals}f}".replace("-", "\u2212")


def _reading(low: float | None, high: float | None, metric: str) -> str:
    if low is None or high is None:
        return "no interval"
    if low <= 0 <= high:
        return "no clear difference"
    return "better" if (low > 0) != (metric in LOSSES) else "worse"


def _details(scores: Record) -> Block | None:
    loo = record(scores, "loo")
    parts = [
        f"{metric_name(name)} {percent(value) if name in SHARES else number(value)}"
        for name, value in list(loo.items())[:_MOST_METRICS]
    ]
    text = []
    if parts:
        text.append("Exact leave-one-out of the closed form on all rows: " + ", ".join(parts) + ".")
    if finite(scores.get("ridge")) is not None:
        text.append(f"Ridge {number(scores.get('ridge'))}, chosen by leave-one-out.")
    if finite(scores.get("temperature")) is not None:
        text.append(f"Temperature {number(scores.get('temperature'))}.")
    return Paragraph(" ".join(text), quiet=True) if text else None
