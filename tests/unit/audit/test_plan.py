"""The plan: counts that are true, choices that follow them, and what a clock cannot change."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from torch.utils.flop_counter import FlopCounterMode

from trivium._core.errors import ArgumentError
from trivium.audit import STAGES, AuditOptions, audit
from trivium.audit.baselines import boosting_shape
from trivium.audit.explain_stage import explain_rows
from trivium.audit.explained import explained_rows
from trivium.audit.plan import make_plan
from trivium.audit.plan_choice import choices
from trivium.audit.plan_depend import (
    DependRows,
    aspect_work,
    column_work,
    depend_rows,
    depend_work,
)
from trivium.audit.plan_fit import closed_form_products, explain_work
from trivium.audit.plan_size import ColumnSize, TableSize, TextSize
from trivium.audit.plan_stage import finish_plan, plan_stage
from trivium.audit.plan_text import SMALL_ENCODER, text_plan
from trivium.audit.plan_work import (
    Work,
    batch,
    passes,
    product,
    scaled,
    steps,
    total_count,
    walks,
)
from trivium.audit.read_stage import read_stage
from trivium.audit.state import AuditState, Silent
from trivium.closedform import ClosedFormClassifier
from trivium.cost import TransformerShape
from trivium.dependence import DependenceColumn, screen
from trivium.dependence.column_road import column_road
from trivium.dependence.columns import feature_blocks
from trivium.table import TableEncoder, encoded_widths, infer_column


def counted(call: Any) -> float:
    """Multiply-adds of the matrix products that torch makes."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 2


def products(works: list[Work]) -> float:
    return sum(work.count for work in works if work.kind in ("product", "batch"))


def labelled(n: int, d: int, c: int) -> tuple[np.ndarray, np.ndarray]:
    codes = np.arange(n) % c
    X = np.random.default_rng(n + d).normal(size=(n, d))
    X[:, 0] += codes
    return X, codes


def size_of(rows: int = 1000, **changes: Any) -> TableSize:
    numbers = tuple(ColumnSize(f"x{i}", "number", 4, 3) for i in range(5))
    known = {"rows": rows, "classes": 2, "smallest": rows // 2, "columns": numbers}
    return TableSize(**{**known, "folds": 5, "permutations": 1000, **changes})


TEXTS = TextSize(characters=400_000, vocabulary=257, tokens=(40,) * 64, known=20.0, shared=18.0)


def with_text(rows: int, texts: TextSize = TEXTS) -> TableSize:
    return size_of(rows, columns=(ColumnSize("t", "text", 65, texts=texts),))


def read_state(options: AuditOptions) -> AuditState:
    state = AuditState(options, Silent(), source="table")
    state.report |= {"warnings": [], "seed": options.seed}
    read_stage(state)
    return state


# ---- counts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "d", "c"),
    [(300, 20, 2), (300, 200, 3), (40, 90, 2), (700, 30, 5), (600, 10, 80)],
    ids=["two classes", "two panels", "fewer rows than features", "five", "classes added up"],
)
def test_the_products_of_the_closed_form_are_those_that_torch_counts(
    n: int, d: int, c: int
) -> None:
    X, codes = labelled(n, d, c)
    fitted = ClosedFormClassifier()
    found = counted(lambda: fitted.fit(X, codes))
    ridges = len(fitted.path_.ridges)
    assert found == closed_form_products(n, d, c, int(np.bincount(codes).min()), ridges)
    assert found != closed_form_products(n, d, c, n, ridges - 1)


def test_scores_that_are_not_kept_are_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    # As for a large table: a ridge at a time, and no scores kept.
    monkeypatch.setattr("trivium.closedform.fitting.REMEMBERED", 100)
    monkeypatch.setattr("trivium.closedform.leave_one_out._SCORES", 1)
    X, codes = labelled(400, 12, 2)
    fitted = ClosedFormClassifier()
    found = counted(lambda: fitted.fit(X, codes))
    again = 2 * int((fitted.path_.weights > 0).sum())
    assert found == closed_form_products(400, 12, 2, 200, len(fitted.path_.ridges), again)


def test_the_products_of_explanations_are_those_that_torch_counts() -> None:
    X, codes = labelled(500, 12, 3)
    fitted = ClosedFormClassifier().fit(X, codes)
    rows = np.arange(300)
    found = counted(lambda: list(explain_rows(fitted, X, rows)))
    size = size_of(500, classes=3, columns=(ColumnSize("x", "number", 12),))
    # The sums over classes are numpy's, 2 q n c.
    assert products(explain_work(size, 300)) - 2 * 300 * 500 * 3 == pytest.approx(found, rel=0.01)


@pytest.mark.parametrize("rows", [700, 4000])
def test_the_products_of_the_screen_are_about_those_that_torch_counts(rows: int) -> None:
    rng = np.random.default_rng(rows)
    size = size_of(rows, classes=3)
    target = DependenceColumn("y", "category", np.arange(rows) % 3)
    columns = [DependenceColumn(f"x{i}", "number", rng.normal(size=rows)) for i in range(5)]
    found = counted(lambda: screen(columns, target))
    planned = products(depend_work(size, DependRows()))
    assert 0.5 < planned / found < 2


def test_work_adds_up() -> None:
    works = [product(2, 3, 5, 7), passes(100, 2), steps(9), walks(4000, 3), batch(2, 3, 5, 7)]
    assert total_count(works) == 2 * (2 * 3 * 5 * 7) + 200 + 12_000
    assert [work.calls for work in scaled(works, 0.5)] == [3.5, 1.0, 4.5, 6.0, 0.5]
    assert total_count(scaled(works, 2)) == 2 * total_count(works)
    assert (works[0].bytes, works[1].bytes) == (8 * 7 * (6 + 15 + 10), 3200)


def test_more_rows_columns_and_shifts_are_more_work() -> None:
    base = depend_work(size_of(), DependRows())
    for more in (
        size_of(2000),
        size_of(permutations=4000),
        size_of(classes=5),
        size_of(columns=size_of().columns * 2),
    ):
        assert total_count(depend_work(more, DependRows())) > total_count(base)
    one = with_text(3000)
    assert total_count(aspect_work(TEXTS, one, 2000)) > 3 * total_count(
        aspect_work(TEXTS, one, 900)
    )


def test_alike_columns_are_counted_once_and_multiplied() -> None:
    size = size_of()
    assert [(column.name, times) for column, times in size.alike] == [("x0", 5)]
    each = column_work(size.columns[0], size, 1000)
    assert total_count(depend_work(size, DependRows())) == pytest.approx(5 * total_count(each))


def test_planned_widths_are_those_of_the_encoder() -> None:
    state = read_state(AuditOptions())
    encoder = TableEncoder().fit(state.used)
    widths = encoded_widths(state.used)
    made = {c["column"]: c["features"] for c in encoder.explain() if c["features"]}
    assert {name: width.features for name, width in widths.items()} == made
    last = [name.rsplit(": ", 1)[-1] for name in encoder.feature_names]
    curves = sum(part.startswith("curve ") for part in last)
    assert sum(width.curves for width in widths.values()) == curves
    size = TableSize.of(state.used, state.label, state.options)
    assert (size.features, size.for_trees) == (len(last), len(last) - curves)


def test_texts_are_measured(tmp_path: Path) -> None:
    lines = [f"{'good' if i % 2 else 'bad'} the cat w{i},{i % 2}" for i in range(200)]
    (tmp_path / "t.csv").write_text("t,y\n" + "\n".join(lines) + "\n")
    state = read_state(AuditOptions(data=tmp_path / "t.csv", label="y"))
    (texts,) = TableSize.of(state.used, state.label, state.options).texts
    assert (texts.vocabulary, texts.words) == (204, 4.0)
    assert texts.characters == sum(len(line) - 2 for line in lines)
    # Of four words three are in at least five rows; half of the pairs of rows share all three.
    assert texts.known == 3.0
    assert texts.shared == pytest.approx(0.5 * 3 + 0.5 * 1, abs=0.05)


def test_a_column_without_texts_has_no_lengths() -> None:
    column = infer_column("t", pa.array([None, None, None], pa.string()))
    assert TextSize.of(column) == TextSize(0, 0, (), 0.0, 0.0)


# ---- choices --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "few", "many"),
    [("text", 256, 257), ("category", 255, 256)],
)
def test_a_kernel_is_exact_while_each_level_has_its_feature(kind: str, few: int, many: int) -> None:
    def column(levels: int) -> DependenceColumn:
        codes = np.repeat(np.arange(levels), 5)
        values = codes if kind == "category" else [f"w{code}" for code in codes]
        return DependenceColumn("c", kind, values)

    assert column_road(column(few)).exact
    assert column_road(column(few)).features == few
    assert not column_road(column(many)).exact
    # The same rule makes the features.
    for levels in (few, many):
        block = next(feature_blocks([column(levels)]))[1]
        assert block.values.shape[1] == min(256, levels)
        assert ("hashed" in block.kernels[0] or "pooled" in block.kernels[0]) == (levels == many)


def test_numbers_and_dates_are_compared_by_features() -> None:
    for kind in ("number", "date"):
        assert not column_road(DependenceColumn("x", kind, np.arange(9.0))).exact


def test_rows_are_halved_until_they_fit() -> None:
    size = size_of(30_000)
    assert depend_rows(size, 10**12) == DependRows(20_000, 2000, True)
    whole = total_count(depend_work(size, DependRows()))
    assert depend_rows(size, whole).columns == 20_000
    assert depend_rows(size, whole - 1).columns == 10_000
    least = depend_rows(size, 1)
    assert (least.columns, least.fits) == (500, False)


def test_texts_have_a_budget_of_their_own() -> None:
    size = with_text(5000)
    whole = total_count(aspect_work(TEXTS, size, 2000))
    assert depend_rows(size, whole) == DependRows(20_000, 2000, True)
    assert depend_rows(size, whole - 1) == DependRows(20_000, 1000, True)
    assert depend_rows(size, 1).texts == 200


def test_explanations_stop_at_their_budget() -> None:
    assert explained_rows(1000, 50, 10**12) == 1000
    assert explained_rows(1000, 50, 1000 * 999 * 50) == 999
    assert explained_rows(1000, 50, 1) == 12
    assert explained_rows(100_000, 50, 10**12) == 4000
    assert explained_rows(5, 50, 1) == 5


def test_the_usual_budget_takes_nothing_from_a_small_table() -> None:
    for size in (size_of(2000), with_text(2000)):
        plan = make_plan(size, AuditOptions())
        assert (plan.rows, plan.explained) == (DependRows(), 2000)


def test_boosting_has_one_rule() -> None:
    small = boosting_shape(300, 20, 2)
    assert small is not None
    assert (small.rounds, small.trees, small.leaves, small.own) == (100, 1, 31, True)
    large = boosting_shape(100_000, 100, 2)
    assert large is not None
    assert (large.leaves, large.bins, large.own) == (15, 32, False)
    assert boosting_shape(10**6, 1000, 50) is None


def test_choices_say_which_road_and_what_the_other_takes() -> None:
    state = read_state(AuditOptions())
    size = TableSize.of(state.used, state.label, state.options)
    plan = make_plan(size, state.options)
    found = choices(plan, state.used, state.options)
    by_stage = {stage: [c for c in found if c["stage"] == stage] for stage in ("depend", "fit")}
    roads = {c["what"].split(":")[0]: c["choice"] for c in by_stage["depend"]}
    assert roads["7 numbers"] == "kernel by features"
    assert roads["4 categories"] == "exact kernel"
    assert roads["order and distance of words"] == "exact kernel, all rows"
    assert by_stage["fit"][0]["choice"] == f"moments of {size.features} features"
    assert by_stage["fit"][0]["count"] < by_stage["fit"][0]["instead_count"]
    text = next(c for c in found if c["stage"] == "encode")
    assert "2 layers" in text["instead"]
    assert "within the budget" in text["why"]
    tight = AuditOptions(budget=10**6)
    again = choices(make_plan(size, tight), state.used, tight)
    assert "over the budget" in next(c for c in again if c["stage"] == "encode")["why"]


def test_more_features_than_rows_are_told_as_coordinates(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 20))
    lines = [",".join(f"{v:.4f}" for v in row) + f",{i % 2}" for i, row in enumerate(X)]
    names = ",".join(f"x{i}" for i in range(20))
    (tmp_path / "w.csv").write_text(f"{names},y\n" + "\n".join(lines) + "\n")
    state = read_state(AuditOptions(data=tmp_path / "w.csv", label="y"))
    plan = make_plan(TableSize.of(state.used, state.label, state.options), state.options)
    found = choices(plan, state.used, state.options)
    assert "rows as 30 coordinates" in [c["choice"] for c in found]


# ---- text -----------------------------------------------------------------------------------


def test_a_small_encoder_is_counted_by_the_cost_model() -> None:
    found = text_plan([64] * 32, 10**15, passes=3, batch=32)
    shape = TransformerShape.from_config(SMALL_ENCODER)
    table = shape.table(64, 32, "train", attention=found.softmax)
    assert found.softmax_count == 3 * table.flops // 2
    assert found.layers == 2
    assert found.tokens == 32 * 64


def test_the_budget_decides_whether_an_encoder_fits() -> None:
    count = text_plan([30] * 50, 10**15).softmax_count
    assert text_plan([30] * 50, count).fits
    assert not text_plan([30] * 50, count - 1).fits


def test_attention_follows_the_lengths() -> None:
    assert text_plan([4] * 64, 10**12).attention == "sdpa"
    assert text_plan([250] * 64, 10**12).attention == "linear"
    assert text_plan([250] * 64, 10**12).softmax == "sdpa"


def test_lengths_are_cut_and_rows_counted() -> None:
    long, cut = text_plan([5000] * 10, 10**12), text_plan([128] * 10, 10**12)
    assert long == cut
    assert text_plan([9] * 10, 10**12, rows=100).count == 10 * text_plan([9] * 10, 10**12).count
    order = [3, 90, 17, 250, 40] * 40
    assert text_plan(order, 10**12) == text_plan(order[::-1], 10**12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token_lengths": []}, "at least one length"),
        ({"budget": 0}, "budget must be an integer, positive"),
        ({"passes": 0}, "passes must be"),
        ({"longest": 0}, "longest must be"),
    ],
)
def test_text_plan_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        text_plan(**{"token_lengths": [3], "budget": 10**9, **change})


# ---- the stage ------------------------------------------------------------------------------


def planned(options: AuditOptions) -> AuditState:
    state = read_state(options)
    plan_stage(state)
    return state


def test_the_stage_predicts_every_later_one() -> None:
    report = planned(AuditOptions()).report
    plan = report["plan"]
    assert [stage["name"] for stage in plan["stages"]] == list(STAGES)[2:]
    for stage in (*plan["stages"], plan):
        assert 0 < stage["predicted_low"] <= stage["predicted_seconds"] <= stage["predicted_high"]
        assert stage["predicted_bytes"] >= 0
        assert (stage["seconds"], stage["bytes"]) == (None, None)
    assert plan["count"] == sum(stage["count"] for stage in plan["stages"])
    assert not [w for w in report["warnings"] if w["where"] == "stage plan"]


def test_what_happened_stands_beside_it() -> None:
    report = planned(AuditOptions()).report
    names = [stage["name"] for stage in report["plan"]["stages"]]
    report["stages"] = [
        {"name": name, "seconds": 0.5 * i, "bytes": i} for i, name in enumerate(names)
    ]
    finish_plan(report)
    assert [stage["bytes"] for stage in report["plan"]["stages"]] == list(range(6))
    assert (report["plan"]["seconds"], report["plan"]["bytes"]) == (7.5, 15)


def test_a_small_budget_is_warned_of() -> None:
    state = planned(AuditOptions(budget=10**6))
    (warning,) = [w for w in state.report["warnings"] if w["where"] == "stage plan"]
    assert warning["code"] == "W-BUDGET"
    assert "order and distance of words on 200 rows" in warning["message"]
    assert "even the least" in warning["message"]


def test_the_budget_reaches_the_stages(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = [f"{a:.4f},{b:.4f},{int(a + c > 0)}" for a, b, c in rng.normal(size=(1200, 3))]
    (tmp_path / "t.csv").write_text("a,b,y\n" + "\n".join(lines) + "\n")
    options = AuditOptions(
        data=tmp_path / "t.csv", label="y", budget=10**6, permutations=99, folds=2
    )
    report = audit(options, tmp_path / "run").report
    assert {row["rows"] for row in report["depend"]} == {500}
    assert all("a sample of 500 of 1200 rows" in row["method"] for row in report["depend"])
    chosen = {choice["what"]: choice["choice"] for choice in report["plan"]["choice"]}
    assert chosen["rows"] == f"{10**6 // (8 * 1200)} of 1,200"
    assert report["stages"][-1]["did"].startswith(f"{10**6 // (8 * 1200)} rows by exact")


@pytest.mark.parametrize("value", [0, -5, 1.5, True, "many"])
def test_a_budget_is_a_whole_number(value: Any) -> None:
    with pytest.raises(ArgumentError, match="budget must be a whole number"):
        AuditOptions(budget=value)
