"""The level of the screen on independent data of every kind of column.

2,000 data sets; at .05 and .01 no more than .0596 and .0144 rejections. A test whose level is
exactly .05 (.01) is accused for a fresh seed with probability .02 (.03) a kind; the seed is
fixed, and a level of .065 (.018) would be seen with probability .83 (.88).
"""

import numpy as np
import pytest
from scipy.stats import hypergeom

from trivium.dependence import DependenceColumn, independence_test, screen
from trivium.dependence.columns import feature_blocks
from trivium.dependence.grid_null import GridTarget
from trivium.dependence.screen_block import BlockFeatures, ScreenTarget
from trivium.dependence.stages import _FEW, Rank, members_of
from trivium.testing.dependence_laws import rejection_bound

# 54 rows have 54 shifts, so there are 108 members: #/B can be told from (1 + #)/(1 + B) at .01.
SIMULATIONS, ROWS, PERMUTATIONS = 2000, 54, 107
BOUNDS = {0.05: 0.0596, 0.01: 0.0144}
WORDS = np.array([f"w{i}" for i in range(30)])


def independent_columns(rng):
    missing = rng.normal(size=ROWS)
    missing[rng.random(ROWS) < 0.1] = np.nan
    texts = WORDS[rng.integers(0, 30, (ROWS, 5))]
    kinds = {
        "normal": ("number", rng.normal(size=ROWS)),
        "cauchy": ("number", rng.standard_cauchy(ROWS)),
        "ties": ("number", rng.poisson(0.7, ROWS).astype(float)),
        "missing": ("number", missing),
        "category": ("category", rng.integers(-1, 8, ROWS)),
        "date": ("date", rng.uniform(0, 1000, ROWS)),
        "text": ("text", [" ".join(words) for words in texts]),
    }
    return [DependenceColumn(name, *rest) for name, rest in kinds.items()]


def rejections(p_values):
    return {level: (p_values <= level).mean(0) for level in BOUNDS}


def drawn_target(rng, seed):
    """Classes and numbers in turn."""
    if seed % 2:
        return DependenceColumn("y", "number", rng.standard_t(3, ROWS))
    return DependenceColumn("y", "category", rng.choice(3, ROWS, p=[0.5, 0.3, 0.2]))


@pytest.fixture(scope="module")
def tables():
    """Rows of the screen for each data set."""
    rng = np.random.default_rng(7)
    found = []
    for seed in range(SIMULATIONS):
        columns = independent_columns(rng)
        # 7 / 0.08 < 107: all columns keep to the first group.
        options = {"fdr": 0.08, "n_permutations": PERMUTATIONS, "random_state": seed}
        found.append(screen(columns, drawn_target(rng, seed), **options).rows)
    assert {row.n_permutations for rows in found for row in rows} == {PERMUTATIONS}
    return found


@pytest.mark.slow
def test_level_of_every_kind(tables):
    p_values = np.array([[row.p_value for row in rows] for rows in tables])
    names = [row.name for row in tables[0]]
    for level, rate in rejections(p_values).items():
        too_often = {n: r for n, r in zip(names, rate, strict=True) if r > BOUNDS[level]}
        assert not too_often
        assert rate.min() > level / 2


@pytest.mark.slow
def test_a_wrong_p_value_is_seen(tables):
    """#/B without the one, and the smallest of the kinds taken as one test, both fail."""
    p_values = np.array([[row.p_value for row in rows] for rows in tables])
    without_one = (p_values * (PERMUTATIONS + 1) - 1) / PERMUTATIONS
    assert (rejections(without_one)[0.01] > BOUNDS[0.01]).sum() >= 4
    looked_at = p_values[:, :2].min(1)
    assert (rejections(looked_at)[0.05] > BOUNDS[0.05]).all()


@pytest.mark.slow
def test_the_best_lengthscale_without_a_joint_rank_is_seen():
    """The smallest of five exact p-values, one a lengthscale, as if it were one test."""
    rng = np.random.default_rng(10)
    smallest = []
    for seed in range(SIMULATIONS // 4):
        column = DependenceColumn("x", "number", rng.normal(size=ROWS))
        target = ScreenTarget.of(drawn_target(rng, 0))
        grid = BlockFeatures.of(next(feature_blocks([column]))[1]).grids[0]
        values = GridTarget(target.grid, members_of(ROWS, PERMUTATIONS, seed)).null(grid)
        assert len(values) == 5
        smallest.append(min(Rank.of(each).p_value for each in values))
    assert rejections(np.array(smallest))[0.05] > BOUNDS[0.05]


@pytest.mark.slow
def test_adjusted_p_values_hold_for_the_whole_table(tables):
    """Westfall-Young: the smallest adjusted p-value of a table of independent columns.

    False alarm 1e-4 a level.
    """
    smallest = np.array([min(row.p_adjusted for row in rows) for rows in tables])
    for level, rate in rejections(smallest).items():
        assert level / 2 < rate <= rejection_bound(SIMULATIONS, level) / SIMULATIONS


@pytest.mark.slow
def test_level_of_many_columns_within_groups():
    """Ten columns against one, both shifted by group; without the groups nearly all reject."""
    rng = np.random.default_rng(8)
    groups = np.repeat(np.arange(4), 8)
    p_values = []
    for seed in range(SIMULATIONS):
        x, y = rng.normal(size=(32, 10)) + groups[:, None], rng.standard_cauchy(32) + 5 * groups
        options = {"n_permutations": 99, "random_state": seed}
        p_values.append(independence_test(x, y, groups=groups, **options).p_value)
        if seed < 20:
            assert independence_test(x, y, **options).p_value <= 0.05
    for level, rate in rejections(np.array(p_values)).items():
        assert level / 2 < rate <= BOUNDS[level]


def two_stages(first, last, few):
    """Every p-value of the rule with its exact probability under the null.

    The rank of the data among all orders is uniform; of the orders that beat them, the number in
    the first stage is hypergeometric.
    """
    total, early = np.arange(last + 1)[:, None], np.arange(first + 1)[None]
    chance = hypergeom.pmf(early, last, total, first) / (last + 1)
    p_values = np.where(early < few, (1 + total) / (1 + last), (1 + early) / (1 + first))
    return p_values, chance


@pytest.mark.parametrize(("first", "last"), [(99, 640), (199, 400)])
def test_the_second_stage_keeps_the_level_exactly(first, last):
    p_values, chance = two_stages(first, last, _FEW)
    assert chance.sum() == pytest.approx(1)
    for level in np.geomspace(1 / (1 + last), 1, 60):
        assert chance[p_values <= level].sum() <= level + 1e-12


def test_stopping_at_the_better_stage_would_not():
    """The same sum sees a rule that keeps whichever p-value is smaller."""
    p_values, chance = two_stages(99, 640, 0)
    other = (1 + np.arange(641)[:, None]) / 641
    smaller = np.minimum(p_values, other)
    assert chance[smaller <= 0.05].sum() > 0.055
