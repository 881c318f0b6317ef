"""The screen of a mixed table: what it finds, how it is corrected, what it refuses."""

import json
import sys

import numpy as np
import pytest

from trivium._core.errors import ArgumentError, DataError, MissingExtraError, ShapeError
from trivium._core.errors import TriviumWarning as Told
from trivium.dependence import (
    DependenceColumn,
    benjamini_hochberg,
    hsic,
    independence_test,
    screen,
    screen_pairs,
)
from trivium.kernel import Delta, Gaussian

FAST = {"n_permutations": 199}


@pytest.fixture
def table(rng):
    """Six columns; the four named y_* depend on the target."""
    n = 300
    y = rng.integers(0, 3, n)
    week = np.floor(rng.uniform(0, 100, n)) * 7 + y + rng.integers(0, 3, n)
    hint = np.where((y == 1) & (rng.random(n) < 0.7), "token", "")
    words = np.array([f"w{i}" for i in range(30)])
    gap = np.where((y == 2) & (rng.random(n) < 0.4), np.nan, rng.normal(size=n))
    columns = [
        DependenceColumn("y_spread", "number", rng.normal(size=n) * (1 + y)),
        DependenceColumn("y_gap", "number", gap),
        DependenceColumn("y_week", "date", week),
        DependenceColumn("y_text", "text", [" ".join([*rng.choice(words, 5), h]) for h in hint]),
        DependenceColumn("noise", "number", rng.normal(size=n)),
        DependenceColumn("levels", "category", rng.integers(-1, 8, n)),
    ]
    return columns, DependenceColumn("y", "category", y)


def test_planted_columns_are_found(table):
    columns, target = table
    result = screen(columns, target, **FAST)
    assert set(result.selected) == {"y_spread", "y_gap", "y_week", "y_text"}
    assert [row.name for row in result.rows] == [column.name for column in columns]
    ranked = [row.p_value for row in result.ranked()]
    assert ranked == sorted(ranked)
    q_values = benjamini_hochberg([row.p_value for row in result.rows])
    assert [row.q_value for row in result.rows] == q_values.tolist()
    for row in result.rows:
        assert (row.cka > row.null_band) == (row.p_value <= 0.05)
        assert row.p_adjusted >= row.p_value


@pytest.mark.parametrize("kind", ["number", "date", "text"])
def test_target_of_any_kind(table, kind, rng):
    columns, target = table
    values = target.values + 0.2 * rng.normal(size=300)
    text = [("low", "mid", "top")[code] for code in target.values]
    other = DependenceColumn("y", kind, text if kind == "text" else 30 * values)
    assert "y_spread" in screen(columns, other, **FAST).selected


def test_agrees_with_the_single_test(table):
    columns, target = table
    x, y = columns[4].values, target.values
    row = screen(columns[4:5], target, n_permutations=2000).rows[0]
    alone = independence_test(x, y, Gaussian(), Delta(), n_permutations=2000)
    assert row.statistic == pytest.approx(alone.statistic, rel=1e-2)
    assert row.cka == pytest.approx(alone.cka, abs=1e-4)
    assert row.p_value == pytest.approx(alone.p_value, abs=0.05)
    exact = float(hsic(columns[5].values, y, Delta(), Delta(), normalize="cka"))
    assert screen(columns[5:], target, **FAST).rows[0].cka == pytest.approx(exact, rel=1e-4)


def test_same_bits_in_any_order_of_columns(table):
    columns, target = table
    first = screen(columns, target, random_state=3, **FAST)
    second = screen(columns[::-1], target, random_state=3, **FAST)
    for row in first.rows:
        other = second.row(row.name)
        assert (other.p_value, other.q_value) == (row.p_value, row.q_value)
        assert (other.p_adjusted, other.cka) == (row.p_adjusted, pytest.approx(row.cka, rel=1e-9))
    assert screen(columns, target, random_state=3, **FAST) == first


def test_scale_changes_no_p_value(table, rng):
    columns, target = table
    scaled = DependenceColumn("y_spread", "number", 1e6 * columns[0].values - 5)
    first, second = (screen([c], target, **FAST).rows[0] for c in (columns[0], scaled))
    assert second.p_value == first.p_value
    assert second.cka == pytest.approx(first.cka, rel=1e-6)


def test_a_lone_column_among_many_can_be_found(rng):
    """At 60 columns 199 shifts are too few for q = .05: it gets a second group."""
    n, m = 120, 60
    y = rng.integers(0, 2, n)
    columns = [DependenceColumn(f"x{i}", "number", rng.normal(size=n)) for i in range(m)]
    columns[7] = DependenceColumn("x7", "number", rng.normal(size=n) + 2 * y)
    result = screen(columns, DependenceColumn("y", "category", y), **FAST)
    row = result.row("x7")
    # 120 shifts in 2 cosets, then in 11: the fewest that give 60 / 0.05.
    assert {r.n_permutations for r in result.rows} == {239, 1319}
    assert row.p_value == 1 / 1320
    assert "x7" in result.selected
    assert row.p_adjusted == 1 / 240


def test_a_fine_wave_is_found_by_a_short_lengthscale(rng):
    """The median distance is 2.3 waves long: alone, as in the pairs, it sees next to nothing."""
    x, noise = rng.uniform(-np.pi, np.pi, 500), rng.normal(size=500)
    wave = [
        DependenceColumn("x", "number", x),
        DependenceColumn("y", "number", np.sin(8 * x) + noise),
    ]
    for first, second in (wave, wave[::-1]):
        row = screen([first], second, **FAST).rows[0]
        assert row.p_value == 1 / 250
        assert row.cka < 1.2 * row.null_band
        assert row.shape in (("wave",) if first.name == "x" else ("rising", "falling"))
    assert screen_pairs(wave, **FAST).rows[0].p_value > 0.01


def test_few_rows_are_enumerated():
    y = DependenceColumn("y", "category", np.array([0, 0, 1, 1, 1]))
    x = DependenceColumn("x", "number", np.array([0.0, 0, 5, 5, 5]))
    row = screen([x], y).rows[0]
    assert row.p_value == pytest.approx(12 / 120)
    assert row.method == "HSIC on features, numbers at 5 lengthscales, all 119 orders"


def test_rows_without_target_are_left_out(table, rng):
    columns, target = table
    codes = target.values.copy()
    codes[:50] = -1
    found = screen(columns, DependenceColumn("y", "category", codes), **FAST)
    rows = np.arange(50, 300)
    kept = screen([c.take(rows) for c in columns], target.take(rows), **FAST)
    assert found == kept
    assert found.rows[0].n_rows == 250


def test_large_tables_are_sampled(table):
    columns, target = table
    found = screen(columns, target, max_rows=100, **FAST)
    assert {row.n_rows for row in found.rows} == {100}
    assert found.row("y_spread").method.endswith("a sample of 100 of 300 rows")


def test_by_is_stricter(table):
    columns, target = table
    bh, by = (screen(columns, target, correction=c, **FAST) for c in ("bh", "by"))
    harmonic = sum(1 / i for i in range(1, 7))
    for first, second in zip(bh.rows, by.rows, strict=True):
        assert second.q_value == pytest.approx(min(1, first.q_value * harmonic))


def test_constant_columns_get_p_one(table):
    columns, target = table
    still = [
        DependenceColumn("same", "number", np.full(300, 0.1)),
        DependenceColumn("empty", "number", np.full(300, np.nan)),
        DependenceColumn("level", "category", np.full(300, -1)),
        DependenceColumn("day", "date", np.full(300, 11.5)),
        DependenceColumn("none", "text", [None] * 300),
        DependenceColumn("word", "text", ["one two"] * 300),
    ]
    with pytest.warns(Told, match="6 of 8 columns are constant or empty.*'same'"):
        result = screen([*columns[:2], *still], target, **FAST)
    for row in result.rows[2:]:
        assert (row.p_value, row.statistic, row.cka, row.p_adjusted) == (1.0, 0.0, 0.0, 1.0)
        assert row.method == "constant"
    assert set(result.selected) == {"y_spread", "y_gap"}
    assert result.row("empty").missing == 300


def test_more_columns_than_rows_and_wild_scales(rng):
    columns = [
        DependenceColumn(f"x{i}", "number", rng.normal(size=8) * 10.0 ** rng.integers(-300, 300))
        for i in range(40)
    ]
    result = screen(columns, DependenceColumn("y", "category", np.arange(8) % 2), n_permutations=20)
    for row in result.rows:
        values = [row.statistic, row.cka, row.p_value, row.q_value, row.p_adjusted, row.null_band]
        assert np.isfinite(values).all()
        assert 0 < row.p_value <= 1


def test_progress_and_dicts(table):
    columns, target = table
    seen = []
    result = screen(columns, target, progress=lambda *step: seen.append(step), **FAST)
    assert seen == [(3, 6), (4, 6), (5, 6), (6, 6)]
    first = json.loads(json.dumps(result.to_dicts()))[0]
    wanted = "column kind kernel rows missing statistic cka p_value q_value method null_band"
    assert set(wanted.split()) <= set(first)
    assert first["rows"] == 300
    with pytest.raises(KeyError):
        result.row("absent")


def test_no_columns(table):
    assert screen([], table[1]).rows == ()


def test_a_screen_without_findings_is_bars_alone(rng):
    import matplotlib as mpl

    mpl.use("Agg")
    columns = [DependenceColumn(f"x{i}", "number", rng.normal(size=30)) for i in range(50)]
    axes = screen(columns, DependenceColumn("y", "date", np.arange(30.0)), n_permutations=29).plot()
    assert not axes.get_figure().subfigs
    assert len(axes.containers[0]) == 40
    assert axes.get_xlabel().endswith("the first 40 of 50 columns")
    mpl.pyplot.close("all")


def test_plots(table, monkeypatch):
    import matplotlib as mpl

    mpl.use("Agg")
    columns, target = table
    table = screen(columns, target, **FAST)
    axes = table.plot()
    bands, bars = axes.containers
    assert [bar.get_width() for bar in bars][::-1] == [max(0, r.cka) for r in table.ranked()]
    assert [bar.get_width() for bar in bands][::-1] == [r.null_band for r in table.ranked()]
    assert [label.get_text() for label in axes.get_yticklabels()][-1].startswith("y_")
    filled = [bar.get_facecolor() != (1, 1, 1, 1) for bar in bars][::-1]
    assert filled == [row.q_value <= 0.05 for row in table.ranked()]
    cells = axes.get_figure().figure.subfigs[1].subfigs
    drawn = [cell.get_suptitle() for cell in cells if cell.axes]
    assert [title.split(":")[0] for title in drawn] == list(table.selected)
    row = table.row("y_spread")
    left, right = cells[table.selected.index("y_spread")].axes
    assert left.lines[-1].get_ydata().tolist() == row.functions["f"]
    assert [tick.get_text() for tick in right.get_xticklabels()] == ["0", "1", "2"]
    alone = mpl.pyplot.subplots()[1]
    assert table.plot(alone) is alone
    assert not alone.get_figure().subfigs
    result = independence_test(columns[0].values, target.values, **FAST)
    assert len(result.plot(axes).patches) > 12
    mpl.pyplot.close("all")
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingExtraError, match=r"trivium\[plot\]"):
        result.plot()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"fdr": 0}, ArgumentError, r"fdr must be a number, in \(0, 1\); got 0"),
        ({"n_permutations": 0}, ArgumentError, "n_permutations must be an integer, positive"),
        ({"correction": "holm"}, ArgumentError, "correction must be one of 'bh', 'by'"),
        ({"random_state": "x"}, ArgumentError, "random_state must be"),
        ({"max_rows": 3}, ArgumentError, "max_rows must be at least 4; got 3"),
        (
            {"target": DependenceColumn("y", "category", [0, 1, 0, -1, -1, -1])},
            DataError,
            "at least 4 rows with a target; got 3 \\(target 'y'\\)",
        ),
        (
            {"target": DependenceColumn("y", "number", np.ones(6))},
            DataError,
            "target must have at least two values; got one",
        ),
        (
            {"target": DependenceColumn("y", "number", np.arange(5))},
            ShapeError,
            "axis n is 5 in the target 'y' but 6 in 'x'",
        ),
    ],
)
def test_bad_input_is_named(change, error, message):
    column = DependenceColumn("x", "number", np.arange(6.0))
    arguments = {"columns": [column], "target": DependenceColumn("y", "number", np.arange(6.0))}
    with pytest.raises(error, match=message):
        screen(**(arguments | change))


def test_two_columns_of_one_name():
    column = DependenceColumn("x", "number", np.arange(6.0))
    with pytest.raises(ArgumentError, match="distinct names; got 'x'"):
        screen([column, column], column)
