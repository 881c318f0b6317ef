"""Very many columns: the quick look, what it leaves out, and how far a lone column is followed."""

import math

import numpy as np
import pytest
import torch

from trivium._core.errors import ArgumentError
from trivium.dependence import DependenceColumn, benjamini_hochberg, screen
from trivium.dependence.column_grid import ColumnGrid
from trivium.dependence.grid_null import GridTarget
from trivium.dependence.quick_look import quick_look, strongest
from trivium.dependence.screen_block import ScreenTarget
from trivium.dependence.shift import Shifts
from trivium.dependence.shift_factors import cosets_together
from trivium.dependence.stages import Further, Rank, Stages

FAST = {"n_permutations": 99}


def noise(rng, count, n):
    return [
        DependenceColumn(f"n{i}", "number", row)
        for i, row in enumerate(rng.normal(size=(count, n)))
    ]


def scores_of(columns, target):
    rows = np.arange(len(target))
    return quick_look(columns, rows, ScreenTarget.of(target).small)


def test_the_quick_look_sees_every_kind_and_shape(rng):
    n = 200
    y = rng.integers(0, 2, n)
    x = rng.normal(size=n)
    planted = [
        DependenceColumn("line", "number", x + y),
        DependenceColumn("spread", "number", x * (1 + 2 * y)),
        DependenceColumn("waves", "number", rng.integers(0, 4, n) * 2.0 + y + 0.1 * x),
        DependenceColumn("gaps", "number", np.where((y == 1) & (x > 0), np.nan, x)),
        DependenceColumn("few", "number", (x > 0.5 - y).astype(float)),
        DependenceColumn("levels", "category", np.where(x > 0, y, rng.integers(2, 6, n))),
        DependenceColumn("word", "text", [f"a {w}" for w in np.where((y > 0) & (x > 0), "c", "d")]),
        DependenceColumn("day", "date", np.floor(100 * x) * 7 + y),
    ]  # fmt: skip
    columns = [*noise(rng, 200, n), *planted, DependenceColumn("same", "number", np.ones(n))]
    scores = scores_of(columns, DependenceColumn("y", "category", y))
    best = {columns[place].name for place in strongest(columns, scores, len(planted))}
    assert best == {column.name for column in planted}
    assert scores[-1] == -np.inf


@pytest.mark.parametrize("kind", ["number", "category", "text"])
def test_scores_of_different_kinds_can_be_compared(kind, rng):
    """By chance alone each is about a standard normal deviate."""
    n, count = 100, 400
    made = {
        "number": lambda: rng.normal(size=n),
        "category": lambda: rng.integers(0, 5, n),
        "text": lambda: [" ".join(rng.choice(list("abcdefgh"), 3)) for _ in range(n)],
    }[kind]
    columns = [DependenceColumn(f"c{i}", kind, made()) for i in range(count)]
    scores = scores_of(columns, DependenceColumn("y", "category", rng.integers(0, 3, n)))
    assert abs(scores.mean()) < 0.3
    assert 0.7 < scores.std() < 1.3
    assert np.quantile(scores, 0.99) < 3.5


def test_a_look_counts_equal_values_and_their_order_only(rng):
    y = DependenceColumn("y", "category", rng.integers(0, 2, 60))
    x = rng.integers(0, 7, 60).astype(float)
    x[:5] = np.nan
    alike = [DependenceColumn("x", "number", x), DependenceColumn("z", "number", 1e200 * x**3)]
    first, second = scores_of(alike, y)
    assert first == pytest.approx(second, abs=1e-12)


def test_what_is_tested_is_tested_as_if_all_were(rng):
    n = 80
    y = rng.integers(0, 2, n)
    target = DependenceColumn("y", "category", y)
    columns = [*noise(rng, 40, n), DependenceColumn("x", "number", rng.normal(size=n) + 2 * y)]
    whole, part = (screen(columns, target, max_columns=most, **FAST) for most in (41, 10))
    assert whole.untested == ()
    assert len(part.rows) == 10
    assert {row.name for row in part.rows} | set(part.untested) == {c.name for c in columns}
    p_values = [row.p_value for row in part.rows]
    assert p_values == [whole.row(row.name).p_value for row in part.rows]
    assert [row.q_value for row in part.rows] == pytest.approx(
        benjamini_hochberg(p_values + [1.0] * 31)[:10]
    )
    assert [row.p_adjusted for row in part.rows] == [min(1.0, 41 * p) for p in p_values]
    assert part.selected == ("x",)
    assert all(row.method.endswith("10 of 41 columns by a quick look") for row in part.rows)
    turned = screen(columns[::-1], target, max_columns=10, **FAST)
    assert {row.name: row.p_value for row in turned.rows} == dict(
        zip([row.name for row in part.rows], p_values, strict=True)
    )


def test_the_choice_raises_no_false_alarm(rng):
    """Chosen by the rows that test them: without the others as p = 1 the rate is far off."""
    n, times = 24, 60
    honest = naive = 0
    for _ in range(times):
        target = DependenceColumn("y", "category", rng.permutation(n) % 2)
        found = screen(noise(rng, 60, n), target, max_columns=3, **FAST)
        honest += min(row.q_value for row in found.rows) <= 0.05
        naive += min(benjamini_hochberg([row.p_value for row in found.rows])) <= 0.05
    # 0.05 of 60 and four standard deviations.
    assert honest <= 3 + 4 * math.sqrt(3)
    assert naive > 30


def test_a_lone_column_among_six_thousand_is_found(rng):
    n = 60
    y = rng.integers(0, 2, n)
    columns = [*noise(rng, 6000, n), DependenceColumn("x", "number", rng.normal(size=n) + 4 * y)]
    seen = []
    found = screen(
        columns,
        DependenceColumn("y", "category", y),
        max_columns=20,
        progress=lambda done, total: seen.append((done, total)),
        **FAST,
    )
    assert found.selected == ("x",)
    assert found.row("x").n_permutations > 6001 / 0.05 - 1
    assert seen[0] == (6001, 6001)
    assert seen[-1] == (20, 20)


def test_a_ladder_stops_where_its_members_are_enough_and_follows_only_those_it_may():
    plain = Stages.ladder(60, 99, 5000, 0.05, 0, frozenset())
    assert [group.few for group in plain.further] == [10]
    tall = Stages.ladder(60, 99, 6000, 0.05, 0, frozenset({"a"}))
    assert [group.few for group in tall.further] == [10, 10, 1]
    totals = [group.members.total for group in tall.further]
    assert totals[0] < totals[1] < 6000 / 0.05 <= totals[2]
    asked = []
    one, two = Shifts(60, 1000), Shifts(60, 10_000)
    stages = Stages(Shifts(60, 100), (Further(one), Further(two, 1, frozenset({"a"}))))

    def again(members, few):
        asked.append((members, few))
        return [Rank(0, members.total - 1) for _ in few]

    start = [Rank(0, 119), Rank(30, 119), Rank(2, 119)]
    ranks = stages.follow(start, again, ["a", "b", "c"])
    assert asked == [(one, [0, 2]), (two, [0])]
    # One that may not be followed keeps the largest p-value that would have been followed.
    assert ranks == [Rank(0, two.total - 1), Rank(30, 119), Rank(1, one.total - 1)]


@pytest.mark.parametrize("n", [12, 31])
def test_cosets_taken_together_are_those_taken_one_by_one(n, rng):
    shifts = Shifts(n, 4000)
    assert cosets_together(shifts) > 1
    first, second = (torch.from_numpy(rng.normal(size=(r, n))) for r in (3, 2))
    found = GridTarget(ColumnGrid(second), shifts).null(ColumnGrid(first))[0]
    ordered = [side[:, shifts.start()] for side in (first, second)]
    left, right = (side - side.mean(1, keepdim=True) for side in ordered)
    slow = [float((left @ right[:, order].mT).square().sum()) / n**2 for order in shifts.orders()]
    assert found.tolist() == pytest.approx(slow, rel=1e-9)


@pytest.mark.parametrize("most", [0, -1])
def test_a_limit_below_one_is_refused(most, rng):
    y = DependenceColumn("y", "category", rng.integers(0, 2, 20))
    with pytest.raises(ArgumentError, match="max_columns must be"):
        screen(noise(rng, 2, 20), y, max_columns=most)
