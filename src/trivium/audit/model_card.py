"""The card of a saved model: a page for people, in the form that model hubs read.

It says what the model is, what it was fitted to, how well it predicts rows that it has not seen,
and where it should not be trusted. It holds names of columns and classes, and no row of the data.
Loading a model never opens it.
"""

import json
import platform
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from trivium import __version__
from trivium._core.counted import counted, noun
from trivium.audit.card_figures import CardFigures
from trivium.audit.standing import learns
from trivium.audit.state import AuditState, Section
from trivium.report.text import cut, visible

__all__ = ["inert", "model_card"]

_LISTED = 100
# What CommonMark, HTML, GitHub or a hub may act on within a line; other signs stay readable.
_ACTIVE = re.compile(r"[\\`*_\[\]<>&|~$:@#^\"']|(?<=www)\.", re.IGNORECASE)
_ENCODER = "sentence-transformers:"
_METRICS = {"accuracy": "accuracy", "macro_f1": "macro F1", "log_loss": "log-loss"}


def inert(value: object, limit: int = 80) -> str:
    r"""Return foreign text so that no reader of Markdown takes any of it for markup.

    Hidden characters are shown by name, long texts are cut, and every sign that Markdown, HTML or
    a hub (`@name`, `https:`, `#1`) could act on within a line is written as a character reference.

    Example:
        >>> print(inert("<b>x</b> @a"))
        &#60;b&#62;x&#60;/b&#62; &#64;a
    """
    text = cut(value, limit)[0] or "(empty)"
    return _ACTIVE.sub(lambda sign: f"&#{ord(sign.group())};", text)


def _quoted(value: object) -> str:
    """Return text as a string of YAML (and JSON) on one line."""
    return json.dumps(visible(cut(value)[0]), ensure_ascii=False)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _frontmatter(state: AuditState, found: CardFigures) -> str:
    """Return the block that hubs read; strings are quoted, so no name can add a key."""
    data = _quoted(state.source)
    metrics = "".join(
        f"\n        - type: {kind}\n          name: {_quoted(name)}\n          value: {value!r}"
        for kind, name, value, _, _ in found.scores()
    )
    return f"""---
# license: the owner's to choose, for example apache-2.0
library_name: trivium
pipeline_tag: tabular-classification
tags:
  - tabular-classification
  - trivium
metrics:
  - accuracy
model-index:
  - name: {_quoted(f"{state.label.name} by {state.source}")}
    results:
      - task:
          type: tabular-classification
        dataset:
          name: {data}
          type: {data}
        metrics:{metrics}
---"""


def _data(state: AuditState) -> str:
    section = state.report["data"]
    rows, classes = section["rows_used"], section["classes"]
    named = _table(
        ["class", "rows", "share"],
        [
            [inert(each["name"]), f"{each['rows']:,}", f"{100 * each['rows'] / rows:.1f} %"]
            for each in classes[:_LISTED]
        ],
    )
    used = [column for column in section["schema"] if column["used"]]
    columns = _table(
        ["column", "read as", "missing cells"],
        [[inert(each["column"]), each["kind"], f"{each['missing']:,}"] for each in used[:_LISTED]],
    )
    left, has = len(section["schema"]) - len(used), noun(rows, "has", "have")
    return f"""\
The table {inert(state.source)}: {counted(section["rows"], "row")}, of which {rows:,} {has} a label;
{counted(len(classes), "class")}; {counted(len(used), "column")} used and {left:,} left out.
This page has none of its rows.

{named}{_more(classes)}

{columns}{_more(used)}"""


def _more(items: Sequence[Any]) -> str:
    return f"\n\nand {len(items) - _LISTED:,} more." if len(items) > _LISTED else ""


def _fitted(state: AuditState, found: CardFigures) -> str:
    tune = state.report.get("tune")
    decision = "the most probable class"
    if state.tuned is not None and tune is not None:
        decision = f"by {inert(tune['kept'])}, tuned for {inert(tune['metric'])}"
    facts = {
        "model": "softmax regression in closed form, on columns turned to numbers",
        "features": f"{state.report['encode']['features']:,}",
        "text encoder": inert(state.options.text_encoder),
        "ridge": f"{float(found.classifier.ridge_):.4g}, of least log-loss by leave-one-out",
        "temperature": f"{float(found.classifier.temperature_):.4g}, likewise",
        "decision": decision,
        "seed": str(state.options.seed),
    }
    return _table(["what", "how"], [[name, told] for name, told in facts.items()])


def _predicts(state: AuditState, found: CardFigures) -> str:
    rows = [
        [name, f"{value:.4f}", f"{low:.4f} to {high:.4f}"]
        for _, name, value, low, high in found.scores()
    ]
    rows.append(["accuracy of the most frequent class alone", f"{found.largest:.4f}", ""])
    text = """\
Each row was predicted by the model without that row. Intervals are 95 %: Wilson's for accuracy, the
normal one for log-loss; both take the rows as independent."""
    scores = state.report.get("scores")
    if scores is not None:
        text += f" On {counted(scores['folds'], 'fold')}: a bootstrap over rows."
        rows += [
            [f"{_METRICS[name]} on {counted(scores['folds'], 'fold')}", *_interval(each)]
            for name, each in scores["models"]["closed_form"].items()
            if name in _METRICS
        ]
    if state.tuned is not None:
        text += " All figures are of the closed form, before the tuned decision."
    return f"{text}\n\n{_table(['measure', 'figure', 'interval'], rows)}"


def _interval(score: Section) -> list[str]:
    return [f"{score['mean']:.4f}", f"{score['low']:.4f} to {score['high']:.4f}"]


def _doubted(state: AuditState, found: CardFigures) -> str:
    scores = state.report.get("scores")
    low = found.scores()[0][3]
    judged = learns(state.report) if scores is not None else low > found.largest
    if not judged:
        return "Not judged: columns that do not predict the label cannot contradict it."
    return (
        f"Of {counted(found.rows, 'label')} about {found.expected_wrong:.0f} "
        f"{noun(round(found.expected_wrong), 'looks', 'look')} wrong, by leave-one-out; "
        f"{found.listed:,} {noun(found.listed, 'is', 'are')} worth a look. All were used as given. "
        "`trivium audit` lists them."
    )


def _limits(state: AuditState) -> str:
    limits = [
        "It is a linear rule on encoded columns: what depends on several columns at once only in "
        "combination it cannot see.",
        "The figures speak of rows like those of the fit. Other sources, times or groups of people "
        "were not tried, and rows that belong together (one person, one day) make them too good.",
        "Ridge and temperature were chosen on the rows that the figures come from.",
        "A number beyond the range of the fit is held one standard deviation outside of it; a "
        "category that the fit did not have counts as rare or missing.",
        "The model has no rows, but names of columns, classes and frequent categories: whoever has "
        "it can read them.",
    ]
    if state.options.text_encoder.startswith(_ENCODER):
        limits.append(
            "Texts are encoded by "
            f"{inert(state.options.text_encoder.removeprefix(_ENCODER))}, which is not in this "
            "folder and is loaded when it predicts; its own limits hold here too."
        )
    return "\n".join(f"- {limit}" for limit in limits)


_USE = """\
With this folder as `model` and a file `new.csv` that has the columns above:

```sh
trivium predict model new.csv --out predictions.csv
```

```python
from pathlib import Path

from trivium.audit import load_classifier
from trivium.table import read_table

saved = load_classifier(Path("model"))
table = read_table("new.csv")
proba = saved.predict_proba(table)    # a column for each of saved.classes
codes, _ = saved.decide(table)        # the class decided for
```"""


def _versions(manifest: str) -> str:
    rows = [
        ["trivium", __version__],
        ["python", platform.python_version()],
        ["torch", str(torch.__version__)],
        ["numpy", np.__version__],
        ["SHA-256 of manifest.json", f"`{manifest}`"],
    ]
    return f"""\
{_table(["what", "version"], rows)}

`sha256sum manifest.json` prints the last line; the manifest has the checksum of the tensors, and
loading verifies both. This page is not part of the model: nothing reads it, and you may edit it."""


def model_card(state: AuditState, found: CardFigures) -> Callable[[str], str]:
    """Return what writes the card, given the SHA-256 of the manifest.

    Args:
        state: A run whose rows are read and encoded.
        found: Its figures.
    """
    label = inert(state.label.name)

    def write(manifest: str) -> str:
        parts = {
            f"A classifier of {label}": (
                f"It predicts the column {label} of a table from other columns, with a probability "
                f"of each class. It was fitted and saved by trivium {__version__} as numbers and "
                "JSON: no code runs from it."
            ),
            "Data": _data(state),
            "How it was fitted": _fitted(state, found),
            "How well it predicts": _predicts(state, found),
            "Labels in doubt": _doubted(state, found),
            "Limits": _limits(state),
            "How to use it": _USE,
            "License": "None is given here: it is the owner's to choose, and to name above.",
            "Versions": _versions(manifest),
        }
        sections = [
            f"{'##' if place else '#'} {title}\n\n{text}"
            for place, (title, text) in enumerate(parts.items())
        ]
        return "\n\n".join([_frontmatter(state, found), *sections]) + "\n"

    return write
