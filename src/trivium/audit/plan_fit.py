"""The work of the stages encode, fit, flag, tune and explain.

Products of the closed form are counted as they are made (a test compares them with torch's own
counter). What only the data decide has a usual value: the ridges looked at, steps of an iteration,
the labels that turn out wrong.
"""

import math

from trivium.audit.baselines import BoostingShape, boosting_shape
from trivium.audit.intervals import bootstrap_draws
from trivium.audit.offsets import offset_work
from trivium.audit.options import AuditOptions
from trivium.audit.plan_size import ColumnSize, TableSize
from trivium.audit.plan_work import Work, passes, product, scaled, steps, walks
from trivium.audit.tune_training import training_work
from trivium.closedform.fitting import REMEMBERED
from trivium.closedform.pull import PULLS, SMALL_CLASS
from trivium.moment.products import MAX_SELECTED, PANEL

__all__ = [
    "RIDGES",
    "closed_form_products",
    "closed_form_work",
    "encode_work",
    "explain_work",
    "fit_work",
    "flag_work",
    "tune_work",
]

RIDGES = 13
_TEMPERATURE = 6
_WEIGHTY = 5  # ridges with a weight in the average
_LOGISTIC = 30
_WRONG = 0.02
_AXES, _SVD = 74, 10


def closed_form_products(
    rows: int, features: int, classes: int, smallest: int, ridges: int = RIDGES, again: int = 0
) -> int:
    """Return the multiply-adds of the matrix products of one fit, to the last one.

    The mean n d; class sums c n m; the scatter, by panels of columns, about n m² / 2; the turn to
    its eigenbasis and back (n + 2 c) m²; and for each ridge (c + 2) n m + c² m, where m is d, or n
    where there are fewer rows than features: they are then turned to n coordinates first.

    Args:
        rows: n.
        features: d.
        classes: c.
        smallest: Rows of the rarest class: one ridge more where its mean may be pulled.
        ridges: How many ridges are looked at.
        again: How many are computed again, where their scores are too many to be kept.
    """
    m = min(rows, features)
    scatter = sum(
        rows * (min(m, start + PANEL) - start) * min(m, start + PANEL)
        for start in range(0, m, PANEL)
    )
    sums = classes * rows * m if classes <= MAX_SELECTED else 0
    turns = (rows + 2 * classes) * m * m
    each = (classes + 2) * rows * m + classes**2 * m
    looked = ridges + again + (smallest <= SMALL_CLASS)
    return rows * features + sums + scatter + turns + looked * each + ridges * m


def closed_form_work(rows: int, features: int, classes: int, smallest: int) -> list[Work]:
    """Return the work of one fit of the closed form with its leave-one-out."""
    m = min(rows, features)
    pulls = len(PULLS) if smallest <= SMALL_CLASS else 0
    again = 2 * _WEIGHTY if rows * classes > REMEMBERED else 0
    products = closed_form_products(rows, features, classes, smallest, RIDGES, again)
    scores = float(rows * (classes if classes > 2 else 1))
    found = [
        Work("product", products, 0.0, 4 * RIDGES),
        passes(rows * features, 8),
        product(m, m, m, 5),
        passes(rows * m, 2 + RIDGES / 4),
        passes(rows * classes, 20 * (RIDGES + pulls)),
        walks(scores, 8 * _TEMPERATURE * (RIDGES + pulls)),
        steps((60 + 20 * _TEMPERATURE) * (RIDGES + pulls) + 1000),
    ]
    # Householder reflections of fewer rows than features.
    return [*found, product(rows, features, rows)] if rows < features else found


def encode_work(size: TableSize) -> list[Work]:
    """Return the work of turning the columns into numbers."""
    found = [passes(size.rows * size.features, 4), steps(600 * len(size.columns))]
    for column, times in size.alike:
        found += scaled(_column(column, size.rows), times)
    return found


def _column(column: ColumnSize, n: int) -> list[Work]:
    if column.texts is None:
        # Sorting, ranks by search, and cosines: once to learn, once to apply.
        turns = {"number": 250, "date": 500}.get(column.kind, 2 * column.features + 10)
        return [walks(n, turns)]
    texts = column.texts
    return [
        steps(1.5 * texts.words * n),
        passes(texts.pieces(n) * _AXES, _SVD, 4),
        product(texts.buckets(n), _AXES, _AXES, _SVD),
        product(n, _AXES, _AXES, _SVD),
        passes(n * column.features, 10),
    ]


def fit_work(size: TableSize) -> list[Work]:
    """Return the work of the closed form and the usual road on all folds, and of the intervals."""
    n, d, c, folds = size.rows, size.features, size.classes, size.folds
    part = round(n * (1 - 1 / folds))
    one = closed_form_work(part, d, c, size.smallest) + _logistic(part, d, c)
    models = 4
    boosting = boosting_shape(n, size.for_trees, c)
    if boosting is None:
        models = 3
    else:
        one += _trees(part, size.for_trees, boosting)
    whole = closed_form_work(n, d, c, size.smallest)
    draws = bootstrap_draws(n) + 1
    return [
        *scaled(one, folds),
        *whole,
        product(n, d, c, 2),
        walks(n, (3 + 3 * models) * draws),
        steps((5 + 3 * models) * draws),
    ]


def _logistic(n: int, d: int, c: int) -> list[Work]:
    k = 1 if c == 2 else c
    return [product(n, d, k, 2 * _LOGISTIC), passes(n * k, 10 * _LOGISTIC), steps(80 * _LOGISTIC)]


def _trees(n: int, d: int, shape: BoostingShape) -> list[Work]:
    """Histograms of a level are about half of the rows; each node looks at all its bins twice."""
    count, nodes = float(shape.rounds * shape.trees), min(shape.leaves, max(2, n // 20))
    levels = max(1.0, math.log2(nodes))
    return [
        walks(n * d * levels, count),
        walks(nodes * min(shape.bins, n) * d, 2 * count),
        passes(n, 6 * count),
        steps(8 * nodes * count),
    ]


def flag_work(size: TableSize) -> list[Work]:
    """Return the work of ranking the labels, and of the fixes tried if 2 % of them are wrong."""
    n, m, c = size.rows, min(size.rows, size.features), size.classes
    wrong = max(1.0, _WRONG * n)
    tried = sum(1 for step in (1, 2, 5, 10, 20, 50, 100, 200) if step < wrong) + 1
    one = [
        product(n, m, m, 2),
        product(m, m, m, 10),
        product((c + 2) * n, m, RIDGES),
        passes(n * c, 20 * RIDGES),
        passes(n * m, 24),
        steps(2000),
    ]
    return [passes(n * c, 12 * 20), steps(600), *scaled(one, tried)]


def tune_work(size: TableSize, options: AuditOptions) -> list[Work]:
    """Return the work of tuning, if every stage that was asked for is tried."""
    if options.tuned == "log_loss":
        return []
    n, d, c, folds = size.rows, size.features, size.classes, size.folds
    part = round(n * (1 - 1 / folds))
    found = scaled(closed_form_work(part, d, c, size.smallest), folds)
    found.append(walks(offset_work(n, c), 3 * (folds + 1)))
    found += [steps(200 * (folds + 1) * c), walks(8 * c**2, 1000)]
    if options.metric is not None or options.costs is not None:
        # Once to find the steps, once to train; a network has twice the work of a head.
        training = 3 * training_work(n, d, c, 2 * folds + 1)
        found += [Work("product", training, 4 * training, 100), steps(120 * 60 * (2 * folds + 1))]
    return found


def explain_work(size: TableSize, asked: int) -> list[Work]:
    """Return the work of the sums over training rows, for so many rows asked about."""
    n, m, c = size.rows, min(size.rows, size.features), size.classes
    return [
        product(asked, m, n + m),
        product(asked, size.features, c),
        product(asked, n, c, 2),
        passes(float(asked) * n, 24),
        walks(float(asked) * n, 10),
        passes(n * m, 3 * math.ceil(asked / 256)),
        steps(15.0 * asked),
    ]
