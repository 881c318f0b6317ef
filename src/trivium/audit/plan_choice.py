"""The choices of a plan in words: what, by which road, why, and what the other road would take."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from trivium._core.counted import counted
from trivium.audit.baselines import boosting_shape
from trivium.audit.depend_stage import as_dependence_column
from trivium.audit.options import AuditOptions
from trivium.audit.plan import Plan
from trivium.audit.plan_depend import aspect_work, column_work, gram_work, look_work, share_tested
from trivium.audit.plan_fit import RIDGES, closed_form_products
from trivium.audit.plan_size import ColumnSize, TableSize, alike
from trivium.audit.plan_text import EPOCHS, TextPlan, n_trainings, text_plan
from trivium.audit.plan_work import scaled, total_count
from trivium.audit.sequence_model import ENCODINGS
from trivium.dependence.column_road import column_road
from trivium.dependence.screen import sampled_rows
from trivium.table import Table
from trivium.table.naming import cut, listed

__all__ = ["choice_of", "choices"]

Section = dict[str, object]


def choice_of(
    stage: str,
    what: str,
    choice: str,
    why: str,
    count: int | None,
    instead: tuple[str, int] | None = None,
) -> Section:
    """Return one choice as the report has it; `instead` is the other road with its count."""
    other, other_count = instead or (None, None)
    return {
        "stage": stage,
        "what": what,
        "choice": choice,
        "why": why,
        "count": count,
        "instead": other,
        "instead_count": other_count,
    }


def choices(plan: Plan, used: Table, options: AuditOptions) -> list[Section]:
    """Return every choice, in the order of the stages.

    Args:
        plan: The plan.
        used: The columns used.
        options: What was asked.
    """
    found = [*_kernels(plan, used, options.seed), *_aspects(plan)]
    found += _texts(plan.size, options)
    return [*found, _closed_form(plan.size), _boosting(plan.size), _explained(plan)]


def _kernels(plan: Plan, used: Table, seed: int) -> Iterator[Section]:
    """Exact or by features: the columns of one kind and one reason together."""
    size = plan.size
    rows = min(size.rows, plan.rows.columns)
    places = sampled_rows(np.arange(size.rows), plan.rows.columns, seed)
    tested = used.take(places)
    groups: dict[tuple[str, bool, str], list[ColumnSize]] = {}
    for column, measured in zip(tested.columns, size.columns, strict=True):
        road = column_road(as_dependence_column(column))
        groups.setdefault((measured.kind, road.exact, road.why), []).append(measured)
    gram = gram_work(size, rows)
    sample = (
        "" if rows == size.rows else f", on a sample of {rows:,} of {counted(size.rows, 'row')}"
    )
    share = share_tested(size)
    if share < 1:
        yield choice_of(
            "depend",
            f"{counted(len(size.columns), 'column')}",
            f"the strongest {round(share * len(size.columns)):,} at a quick look",
            "the others count as p = 1: no test of so many is needed to hold the rule's level",
            total_count(look_work(size, rows)),
        )
    for (kind, exact, why), columns in groups.items():
        work = [
            w
            for column, times in alike(columns)
            for w in scaled(column_work(column, size, rows), share * times)
        ]
        instead = (f"Gram matrices of {counted(rows, 'row')}", round(gram * (share * len(columns))))
        yield choice_of(
            "depend",
            _named(kind, columns),
            ("exact kernel" if exact else "kernel by features") + sample,
            why,
            total_count(work),
            instead,
        )


def _named(kind: str, columns: Sequence[ColumnSize]) -> str:
    names = listed([cut(column.name) for column in columns])
    noun = kind if len(columns) == 1 else {"category": "categories"}.get(kind, f"{kind}s")
    return f"{noun}: {names}" if len(columns) <= 3 else f"{len(columns):,} {noun}"


def _aspects(plan: Plan) -> Iterable[Section]:
    size = plan.size
    if not size.texts:
        return
    rows = min(size.rows, plan.rows.texts)
    share = share_tested(size)
    work = [w for texts in size.texts for w in scaled(aspect_work(texts, size, rows), share)]
    of = "all rows" if rows == size.rows else f"a sample of {rows:,} of {counted(size.rows, 'row')}"
    yield choice_of(
        "depend",
        "order and distance of words",
        f"exact kernel, {of}",
        "these tests have no other road",
        total_count(work),
    )


def _texts(size: TableSize, options: AuditOptions) -> Iterable[Section]:
    """How each text is encoded, and what a small Transformer over it would take."""
    trainings = n_trainings(len(ENCODINGS), options.folds)
    for column in size.columns:
        if column.texts is None or not column.texts.tokens:
            continue
        found = text_plan(
            column.texts.tokens,
            options.budget,
            rows=size.rows,
            passes=EPOCHS * trainings,
        )
        hashed = options.text_encoder == "hashed"
        choice = "hashed words and word pieces" if hashed else options.text_encoder
        yield choice_of(
            "encode",
            f"text: {cut(column.name)}",
            choice,
            f"asked for; reading in order is decided later, and not predicted. {_would(found)}",
            None,
            (
                f"{trainings} trainings of a Transformer of "
                f"{counted(found.layers, 'layer')}, {found.softmax} attention",
                found.softmax_count,
            ),
        )


def _would(found: TextPlan) -> str:
    fits = "within" if found.fits else "over"
    words = f"A small Transformer would be {fits} the budget"
    if found.attention != found.softmax:
        saved = 1 - found.count / found.softmax_count
        words += f"; linear attention, another model, would spare {100 * saved:.0f} % of it"
    return words


def _closed_form(size: TableSize) -> Section:
    n, d, c, least = size.rows, size.features, size.classes, size.smallest
    count = closed_form_products(n, d, c, least)
    if n < d:
        return choice_of(
            "fit",
            "closed form",
            f"rows as {n:,} coordinates",
            f"fewer rows than features ({d:,})",
            count,
            (f"moments of {counted(d, 'feature')}", n * d * (d + RIDGES * (c + 2))),
        )
    why = f"no more features than rows ({n:,})"
    instead = ("inner products of all rows", n * n * (d + n))
    return choice_of(
        "fit", "closed form", f"moments of {counted(d, 'feature')}", why, count, instead
    )


def _boosting(size: TableSize) -> Section:
    shape = boosting_shape(size.rows, size.for_trees, size.classes)
    if shape is None:
        return choice_of("fit", "boosting", "left out", "over its own budget of counts", None)
    trees = "" if shape.trees == 1 else f" of {shape.trees} trees"
    own = "scikit-learn's own settings" if shape.own else "fewer, larger steps"
    choice = f"{shape.rounds} rounds{trees}, at most {shape.leaves} leaves"
    return choice_of("fit", "boosting", choice, own, None)


def _explained(plan: Plan) -> Section:
    n, asked = plan.size.rows, plan.explained
    count = total_count(plan.work["explain"])
    if asked == n:
        return choice_of("explain", "rows", f"all {n:,}", "within the budget", count)
    whole = (f"all {n:,}", n * n * min(n, plan.size.features))
    why = "over the budget, the most suspect ones first"
    return choice_of("explain", "rows", f"{asked:,} of {n:,}", why, count, whole)
