"""A generated mixed table whose truth is known; `demo_grade` holds a report against it.

Guest reviews of a small hotel. Six columns decide the label together: a number that acts steadily,
one that acts at both ends (no correlation), a category, a date by its season, a text by its words,
and a text by the order of its words alone. The others do nothing. Some labels are flipped, and
everything that was planted is written down.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError
from trivium._core.random import RandomState, check_seed, numpy_generator

__all__ = ["Demo", "demo_table"]

LABEL = "recommends"
CLASSES = ("no", "yes")
ORDER_COLUMN = "visit_steps"
N_DUPLICATES = 4
_FLIPPED = 0.05
_MISSING = 0.02
_MARGIN = 0.9

_LEAST_ROWS = 100
_PLANTED = {
    "wait_minutes": "a number that acts steadily",
    "room_celsius": "a number that acts at both ends; its correlation is zero",
    "booked_by": "a category",
    "arrival": "a date that acts by the season",
    "comment": "a text that acts by which words are in it",
}
_NULL = {
    "room_number": "number",
    "walk_meters": "number",
    "paid_with": "category",
    "printed_on": "date",
    "weather_note": "text",
}
_WORDS = (
    "the a we our room stay night window view street garden floor table key door lamp chair "
    "morning evening city train bag weekend friends family trip map bridge park museum coffee"
)
_GOOD = "wonderful friendly spotless delicious quiet charming helpful perfect"
_BAD = "dirty rude noisy cold broken stale disappointing overpriced"
_SKY = (
    "rain sun cloud wind mist warm mild dry fresh grey bright breeze drizzle frost haze storm "
    "clear humid early late all day night then again"
)
_STEPS = "lobby lift bar pool sauna garden desk corridor terrace gym library shop"
_MARKS = ("complaint", "apology")


@dataclass(frozen=True)
class Demo:
    """A generated table and what was planted in it.

    Args:
        csv: The table as CSV text.
        label: The label's column.
        truth: What was planted, as a JSON object: `informative, null, order_only, flipped_rows`
            (from 1), `duplicate_rows`, `identifier`, `constant`.
    """

    csv: str
    label: str
    truth: dict[str, Any]


def demo_table(n_rows: int = 1000, seed: RandomState = 0) -> Demo:
    """Generate the demonstration table.

    Each row has a score, the sum of the planted effects; rows with a score near zero are not
    generated, so that a label can be called wrong. The label is the score's sign; 5 % of labels
    are then flipped.

    Args:
        n_rows: Number of rows.
        seed: The same seed gives the same table.

    Raises:
        ArgumentError: Fewer than 100 rows: the planted effects would not show.

    Example:
        >>> demo = demo_table(200)
        >>> len(demo.csv.splitlines()), len(demo.truth["flipped_rows"])
        (201, 10)
    """
    check_number("demo_table", "n_rows", n_rows, "positive", integer=True)
    if n_rows < _LEAST_ROWS:
        raise ArgumentError(f"demo_table: n_rows must be at least {_LEAST_ROWS}; got {n_rows}")
    seed = check_seed(seed)
    rng = numpy_generator(seed, "demo")
    signals, labels = _signals(n_rows, rng)
    columns = {
        "review_id": [f"R{number:06d}" for number in 100_000 + rng.permutation(n_rows) * 7],
        "hotel": ["Seaview"] * n_rows,
        **signals,
        **_nulls(n_rows, rng),
    }
    _blank(columns, [*_PLANTED, *_NULL], rng)
    flipped = np.sort(rng.choice(n_rows, round(_FLIPPED * n_rows), replace=False))
    labels[flipped] = 1 - labels[flipped]
    columns[LABEL] = [CLASSES[label] for label in labels]
    duplicates = _duplicate(columns, set(flipped.tolist()), rng)
    truth = {
        "rows": n_rows,
        "label": LABEL,
        "informative": dict(_PLANTED),
        "null": dict(_NULL),
        "order_only": ORDER_COLUMN,
        "identifier": "review_id",
        "constant": "hotel",
        "flipped_rows": [int(row) + 1 for row in flipped],
        "duplicate_rows": [int(row) + 1 for row in duplicates],
    }
    return Demo(_as_csv(columns), LABEL, truth)


def _signals(n_rows: int, rng: np.random.Generator) -> tuple[dict[str, list[str]], np.ndarray]:
    """Columns that decide, and the label that they decide."""
    n = 4 * n_rows
    wait, celsius = rng.normal(size=n), rng.uniform(-1, 1, size=n)
    booking = rng.choice(4, size=n, p=[0.4, 0.3, 0.2, 0.1])
    days = rng.integers(0, 3 * 365 + 1, size=n)
    praise, order = rng.integers(0, 2, size=(2, n))
    season = np.cos(2 * np.pi * (days - 200) / 365.25)
    scores = (
        -1.1 * wait
        + 1.1 * (1 / 3 - celsius**2) / 0.3
        + 1.1 * np.array([1.0, -0.2, -1.0, -1.8])[booking]
        + 1.4 * season
        + 1.2 * (2 * praise - 1)
        + 0.4 * (2 * order - 1)
    )
    kept = np.flatnonzero(np.abs(scores) > _MARGIN)[:n_rows]
    start = np.datetime64("2021-01-01")
    columns = {
        "wait_minutes": [f"{value:.1f}" for value in 20 + 6 * wait[kept]],
        "room_celsius": [f"{value:.1f}" for value in 21 + 6 * celsius[kept]],
        "booked_by": [("web", "phone", "agency", "walk-in")[i] for i in booking[kept]],
        "arrival": [str(start + day) for day in days[kept]],
        "comment": [_comment((_BAD, _GOOD)[i], rng) for i in praise[kept]],
        ORDER_COLUMN: [_steps(bool(i), rng) for i in order[kept]],
    }
    return columns, (scores[kept] > 0).astype(int)


def _nulls(n_rows: int, rng: np.random.Generator) -> dict[str, list[str]]:
    start = np.datetime64("2021-02-01")
    printed = rng.integers(0, 1000, size=n_rows)
    sky = _SKY.split()
    return {
        "room_number": [str(value) for value in rng.integers(101, 160, size=n_rows)],
        "walk_meters": [f"{value:.2f}" for value in rng.lognormal(6, 1, size=n_rows)],
        "paid_with": [str(v) for v in rng.choice(["card", "cash", "transfer"], size=n_rows)],
        "printed_on": [str(start + day) for day in printed],
        "weather_note": [" ".join(rng.choice(sky, size=rng.integers(5, 10))) for _ in printed],
    }


def _comment(signal: str, rng: np.random.Generator) -> str:
    plain = rng.choice(_WORDS.split(), size=rng.integers(6, 12))
    words = [*plain, *rng.choice(signal.split(), 2, replace=False)]
    return " ".join(rng.permutation(words).tolist())


def _steps(apology_last: bool, rng: np.random.Generator) -> str:
    """The same words whichever way: only which of two marks comes first differs."""
    words = rng.choice(_STEPS.split(), size=7, replace=False).tolist()
    early, late = rng.integers(0, 4), rng.integers(5, 9)
    marks = _MARKS if apology_last else _MARKS[::-1]
    words.insert(int(early), marks[0])
    words.insert(int(late), marks[1])
    return " ".join(words)


def _blank(columns: dict[str, list[str]], names: Sequence[str], rng: np.random.Generator) -> None:
    for name in names:
        cells = columns[name]
        for row in np.flatnonzero(rng.random(len(cells)) < _MISSING):
            cells[row] = ""


def _duplicate(
    columns: dict[str, list[str]], avoid: set[int], rng: np.random.Generator
) -> list[int]:
    """Copy a few rows over their neighbors, as a double export does."""
    rows: list[int] = []
    for row in rng.permutation(len(columns[LABEL]) - 1).tolist():
        if len(rows) < 2 * N_DUPLICATES and not {row, row + 1} & (avoid | set(rows)):
            for cells in columns.values():
                cells[row + 1] = cells[row]
            rows += [row, row + 1]
    return sorted(rows)


def _as_csv(columns: Mapping[str, Sequence[str]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return file.getvalue()
