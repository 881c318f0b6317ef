"""The head of the page: what was audited, the verdict, and the few numbers to remember."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from trivium.report.fields import Limits, listed, record, records, words
from trivium.report.names import metric_name
from trivium.report.numbers import clock, count, counted, finite, number
from trivium.report.sections.scores import estimate, metrics_of
from trivium.report.text import cut, shown, tied

__all__ = ["Head", "Tile", "build_head"]

Record = Mapping[str, Any]
_MOST_SENTENCES = 20


@dataclass(frozen=True)
class Tile:
    """One number to remember, with its interval or method."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Head:
    """What stands above the sections; `title` is plain text, the rest is markup."""

    title: str
    heading: Markup
    facts: Markup
    version: str
    verdict: tuple[Markup, ...]
    tiles: tuple[Tile, ...]


def build_head(report: Record, limits: Limits) -> Head:
    """Return the head of the page from the report object."""
    data = record(report, "data")
    source, _ = cut(words(data, "source", "a table"), 80)
    label, _ = cut(words(data, "label"), 60)
    facts = [Markup("label <b>{}</b>").format(shown(label, 60))] if label else []
    if finite(data.get("rows")) is not None:
        facts.append(escape(counted(data.get("rows"), "row")))
    if finite(data.get("columns")) is not None:
        facts.append(escape(counted(data.get("columns"), "column")))
    if classes := records(data, "classes"):
        facts.append(escape(counted(len(classes), "class")))
    if created := words(report, "created"):
        facts.append(shown(created.replace("T", " ").replace("Z", " UTC"), 32))
    if finite(report.get("seed")) is not None:
        facts.append(Markup("seed {}").format(shown(report.get("seed"), 24)))
    sentences = listed(report, "verdict")[:_MOST_SENTENCES]
    return Head(
        title=f"trivium audit: {source}",
        heading=shown(words(data, "source", "a table"), 80),
        facts=Markup(' <span class="dot" aria-hidden="true">\u00b7</span> ').join(facts),
        version=cut(words(report, "version"), 24)[0],
        verdict=tuple(shown(tied(str(sentence)), 600) for sentence in sentences),
        tiles=tuple(_tiles(report)),
    )


def _tiles(report: Record) -> list[Tile]:
    tiles = []
    scores = record(report, "scores")
    metric = metrics_of(scores)[0]
    score = record(record(record(scores, "models"), "closed_form"), metric)
    if finite(score.get("mean")) is not None:
        value, ends = estimate(score, metric)
        name = metric_name(metric)
        tiles.append(Tile(f"{name}, closed form", value, f"95\u202f% interval {ends}"))
    baseline = record(record(record(scores, "models"), "majority"), metric)
    if finite(baseline.get("mean")) is not None:
        value, ends = estimate(baseline, metric)
        tiles.append(Tile("majority class", value, f"95\u202f% interval {ends}" if ends else ""))
    expected = finite(record(report, "flags").get("expected_wrong"))
    if expected is not None:
        tiles.append(Tile("labels expected wrong", number(expected, 2), "by leave-one-out"))
    stages = [s for s in records(report, "stages") if not s.get("skipped")]
    seconds = [s for stage in stages if (s := finite(stage.get("seconds"))) is not None]
    if seconds:
        tiles.append(Tile("time", clock(sum(seconds)), f"{count(len(stages))} stages"))
    return tiles
