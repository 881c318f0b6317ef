"""dHSIC against its formula, its shifts against the slow road, and its p against enumeration."""

from itertools import combinations, permutations, product

import numpy as np
import pytest
import torch

from trivium._core.errors import ArgumentError, DataError, ShapeError, TriviumWarning
from trivium.dependence import hsic, independence_test, joint_test
from trivium.dependence.canonical import canonical_variables
from trivium.dependence.joint_factors import factor_joint_shifts
from trivium.dependence.joint_shifts import JointShifts
from trivium.dependence.joint_sums import dhsic, gathered_joint_shifts, gram_joint_shifts
from trivium.kernel import Delta, Gaussian, Kernel

KERNELS = (Gaussian(1.0), Gaussian(0.7), Gaussian(1.3), Gaussian(0.9))


def columns(rng, n, d):
    return [torch.from_numpy(rng.normal(size=(n, 1))) for _ in range(d)]


def xor(rng, n):
    """Independent two by two, and the third has the sign of the product of the others."""
    x, y, z = rng.normal(size=(3, n))
    return [x, y, np.abs(z) * np.sign(x * y)]


def by_tuples(grams):
    """The V-statistic with every sum written out; term 2 over 2 d indices."""
    n, d = len(grams[0]), len(grams)
    first = sum(np.prod([g[i, j] for g in grams]) for i in range(n) for j in range(n)) / n**2
    second = third = 0.0
    for each in product(range(n), repeat=d):
        for i in range(n):
            third += np.prod([g[i, j] for g, j in zip(grams, each, strict=True)])
    for each in product(range(n), repeat=2 * d):
        second += np.prod([g[each[2 * k], each[2 * k + 1]] for k, g in enumerate(grams)])
    return first + second / n ** (2 * d) - 2 * third / n ** (d + 1)


def test_statistic_equals_the_sum_over_all_tuples(rng):
    rows = columns(rng, 6, 3)
    grams = [kernel.gram(x).numpy() for kernel, x in zip(KERNELS, rows, strict=False)]
    result = joint_test(rows, KERNELS[:3], n_permutations=9)
    assert result.statistic == pytest.approx(by_tuples(grams), abs=1e-12)


def as_r_computes_it(grams):
    """The formula of the R package dHSIC, term by term."""
    n = len(grams[0])
    first, second, third = 1.0, 1.0, 2 / n
    for gram in grams:
        first, second = first * gram, second * gram.sum() / n**2
        third = third * gram.sum(0) / n
    return first.sum() / n**2 + second - third.sum()


@pytest.mark.parametrize(("n", "d"), [(30, 4), (700, 3)])
def test_statistic_equals_the_formula_of_the_r_package(rng, n, d):
    rows = columns(rng, n, d)
    grams = [kernel.gram(x).numpy() for kernel, x in zip(KERNELS, rows, strict=False)]
    result = joint_test(rows, KERNELS[:d], n_permutations=9)
    assert result.statistic == pytest.approx(as_r_computes_it(grams), abs=1e-12)


@pytest.mark.parametrize("n", [5, 60, 600])
def test_two_variables_are_hsic(rng, n):
    x, y = rng.normal(size=(2, n))
    result = joint_test([x, y + x], n_permutations=99)
    assert result.statistic == pytest.approx(float(hsic(x, y + x, estimator="biased")), abs=1e-12)
    other = independence_test(x, y + x, aggregate=False, n_permutations=99)
    assert result.p_value == other.p_value


@pytest.mark.parametrize(
    ("n", "d", "count"), [(12, 3, 30), (13, 3, 5), (10, 4, 20), (17, 5, 40), (31, 4, 7), (40, 2, 9)]
)
def test_all_roads_equal_the_slow_one(rng, n, d, count):
    """Fixed rows, blocks of rows, cosets: every member put in order and computed again."""
    rows, kernels = columns(rng, n, d), [Gaussian(1 + 0.1 * k) for k in range(d)]
    shifts = JointShifts(n, d, count, seed=3)
    start = shifts.start()
    slow = [
        float(dhsic([x[start[order]] for x, order in zip(rows, member, strict=True)], kernels))
        for members in shifts.orders()
        for member in members
    ]
    assert len(slow) == shifts.total >= count
    assert slow[0] == pytest.approx(float(dhsic(rows, kernels)), abs=1e-14)
    fast = gram_joint_shifts(rows, kernels, shifts)
    assert np.allclose(fast.numpy(), slow, atol=1e-13)
    assert np.allclose(gathered_joint_shifts(rows, kernels, shifts).numpy(), slow, atol=1e-13)
    single = gram_joint_shifts(rows, kernels, shifts, dtype=torch.float32)
    assert np.allclose(single.numpy(), slow, atol=1e-6)
    features = [k.factor(x, n, 0.0).values.mT for k, x in zip(kernels, rows, strict=True)]
    assert np.allclose(factor_joint_shifts(features, shifts).numpy(), slow, atol=1e-13)


@pytest.mark.parametrize(("n", "d"), [(6, 3), (8, 4), (30, 3), (40, 6), (100, 5)])
def test_every_member_breaks_every_pair(n, d):
    """But the identity, no member leaves two variables row against row among the moving rows."""
    shifts = JointShifts(n, d, n)
    members = next(shifts.orders())
    for member in members[1:]:
        for one, other in combinations(member[:, : shifts.moved], 2):
            assert (one != other).all()
    moved = {tuple(np.argsort(member[0])[member].ravel()) for member in members}
    assert len(moved) == shifts.length


def test_members_are_a_group():
    """Relative to the first variable, members composed with a member are the members again."""
    shifts = JointShifts(11, 3, 11)
    members = {tuple(map(tuple, order)) for order in next(shifts.orders())}
    for member in members:
        after = {
            tuple(tuple(np.take(p, q)) for p, q in zip(o, member, strict=True)) for o in members
        }
        assert after == members


def test_level_is_exact_over_the_orbit(rng):
    """Every member of the group in turn is the data: p takes each value once."""
    rows, shifts = columns(rng, 11, 3), JointShifts(11, 3, 11)
    start, p_values = shifts.start(), []
    for member in next(shifts.orders()):
        moved = [x[start[o]] for x, o in zip(rows, member, strict=True)]
        back = [x[np.argsort(start)] for x in moved]
        values = gram_joint_shifts(back, KERNELS[:3], shifts)
        p_values.append(float((values >= values[0] - 1e-12).double().mean()))
    assert np.allclose(sorted(p_values), np.arange(1, 12) / 11)


def enumerated(grams, moving):
    """P over all orders of the variables that move."""
    n = len(grams[0])
    orders = [list(p) for p in permutations(range(n))]
    only = [orders if k in moving else [list(range(n))] for k in range(3)]
    sums = [g.sum(0) / n for g in grams]
    first = np.array([(grams[0] * grams[1][np.ix_(p, p)]).ravel() for p in only[1]])
    last = np.array([grams[2][np.ix_(p, p)].ravel() for p in only[2]])
    third = np.array([sums[0] * sums[1][p] for p in only[1]])
    values = first @ last.T / n**2 - 2 / n * third @ np.array([sums[2][p] for p in only[2]]).T
    return (values >= values[0, 0] - 1e-12).mean()


def test_p_value_approaches_the_enumeration_of_all_orders(rng):
    """Six rows, all 518,400 orders, against 1,000 cosets of five members."""
    rows = columns(rng, 6, 3)
    rows[2] = rows[0] * 0.8 + rows[2] * 0.6
    grams = [kernel.gram(x).numpy() for kernel, x in zip(KERNELS, rows, strict=False)]
    exact = enumerated(grams, (1, 2))
    found = joint_test(rows, KERNELS[:3], n_permutations=5_000).p_value
    assert abs(found - exact) < 4 * (exact * (1 - exact) / 1000) ** 0.5
    # A null that moves one variable only is another test, and is told apart.
    assert abs(enumerated(grams, (1,)) - exact) > 0.1


def moved_alone(rows, kernels, seed, count=99):
    """The mistake: only the second variable changes places."""
    draw = np.random.default_rng(seed)
    values = [float(dhsic(rows, kernels))]
    values += [
        float(dhsic([rows[0], rows[1][draw.permutation(len(rows[1]))], rows[2]], kernels))
        for _ in range(count)
    ]
    return (np.array(values) >= values[0] - 1e-12).mean()


def test_any_pair_is_found_and_moving_one_variable_would_not(rng):
    """Only one pair depends, whichever it is; a null that leaves it as it is cannot see it."""
    for pair in combinations(range(3), 2):
        rows = columns(rng, 60, 3)
        rows[pair[1]] = rows[pair[0]] + 0.3 * rows[pair[1]]
        assert joint_test(rows, n_permutations=199).p_value <= 0.01
        if pair == (0, 2):
            assert moved_alone(rows, KERNELS[:3], 0) > 0.05


def test_a_triple_independent_two_by_two_is_found(rng):
    triple = xor(rng, 200)
    assert joint_test(triple).p_value <= 0.002
    for one, other in combinations(triple, 2):
        assert independence_test(one, other).p_value > 0.05


def test_features_find_it_among_many_rows(rng):
    n = 3000
    weak = [x + 0.7 * e for x, e in zip(xor(rng, n), rng.normal(size=(3, n)), strict=True)]
    result = joint_test(weak, n_permutations=300)
    assert "factors of rank" in result.method
    assert 0 < result.residual < 1e-3
    assert result.p_value <= 0.01
    assert result.score == pytest.approx(result.statistic, rel=1e-3)


def test_columns_that_need_many_features_go_by_matrices(rng):
    wide = [rng.normal(size=(1100, 8)) for _ in range(3)]
    result = joint_test(wide, n_permutations=3)
    assert "complete Gram matrices" in result.method
    assert result.residual == 0


def test_p_is_blind_to_order_of_rows_units_and_order_of_variables(rng):
    triple = [*xor(rng, 50)[:2], rng.integers(0, 3, 50)]
    p = joint_test(triple, n_permutations=99).p_value
    order = rng.permutation(50)
    assert joint_test([x[order] for x in triple], n_permutations=99).p_value == p
    scaled = [1e3 * triple[0] - 1, 1e-3 * triple[1], triple[2] + 5]
    assert joint_test(scaled, n_permutations=99).p_value == p
    for sides in permutations(range(3)):
        assert joint_test([triple[k] for k in sides], n_permutations=99).p_value == p
    many = [*triple, *rng.normal(size=(2, 50))]
    p = joint_test(many, n_permutations=99).p_value
    assert joint_test([x[order] for x in many], n_permutations=99).p_value == p


def test_canonical_order_sees_ties():
    x, y = torch.tensor([[1.0], [1.0], [0.0]]), torch.tensor([[3.0], [2.0], [9.0]])
    order, sides = canonical_variables([x, y])
    other, _ = canonical_variables([y, x])
    assert sides == (0, 1)
    assert order.tolist() == other.tolist() == [2, 1, 0]


def test_seed_changes_the_reorderings(rng):
    rows = columns(rng, 30, 3)
    first, same, other = (joint_test(rows, n_permutations=50, random_state=s) for s in (1, 1, 2))
    assert np.array_equal(first.null, same.null)
    assert not np.array_equal(first.null, other.null)


def test_mixed_kinds_and_kernels(rng):
    codes, flags = rng.integers(0, 3, 80), rng.integers(0, 2, 80).astype(bool)
    result = joint_test([codes, flags, codes + flags + 0.1 * rng.normal(size=80)])
    assert result.kernels[:2] == ("Delta()", "Delta()")
    assert result.lengthscales[:2] == (None, None)
    assert result.p_value < 0.01
    same = joint_test([flags, rng.normal(size=80), codes], ["auto", Gaussian(2.0), Delta()])
    assert same.kernels[1] == "Gaussian(lengthscale=2.0)"
    with pytest.raises(ShapeError, match="kernels must be one for each of 3 variables; got 2"):
        joint_test([codes, flags, codes], [Delta(), Delta()])
    with pytest.raises(ArgumentError, match="must be 'auto' or a kernel"):
        joint_test([codes, flags, codes], "gauss")


def test_constant_variables(rng):
    """A constant is independent of all, so the others are tested; alone, none is left."""
    x, y = rng.normal(size=(2, 40))
    still = np.ones(40)
    with pytest.warns(TriviumWarning, match=r"variables\[1\] must vary; .* other 2 are tested"):
        result = joint_test([x, still, x + 0.1 * y])
    assert result.p_value < 0.01
    grams = [kernel.gram(torch.from_numpy(v)).numpy() for kernel, v in _resolved(x, x + 0.1 * y)]
    expected = as_r_computes_it([grams[0], np.ones((40, 40)), grams[1]])
    assert result.statistic == pytest.approx(expected, abs=1e-12)
    with pytest.warns(TriviumWarning, match=r"variables\[0\] and variables\[1\] .* so p = 1"):
        result = joint_test([still, still, x])
    assert (result.p_value, result.statistic, len(result.null)) == (1.0, 0.0, 0)


def _resolved(*values) -> list[tuple[Kernel, np.ndarray]]:
    return [(Gaussian().resolve(torch.from_numpy(v)), v) for v in values]


def test_bad_input(rng):
    x = rng.normal(size=10)
    with pytest.raises(ArgumentError, match="list of at least two; got 1"):
        joint_test([x])
    with pytest.raises(ArgumentError, match="list of at least two; got ndarray"):
        joint_test(rng.normal(size=(10, 3)))
    with pytest.raises(ShapeError, match=r"10 in variables\[0\] but 9 in variables\[2\]"):
        joint_test([x, x, x[:9]])
    with pytest.raises(DataError, match="6 variables must have at least 12 rows; got 10"):
        joint_test([x] * 6)
    with pytest.raises(DataError, match="2 variables must have at least 4 rows; got 3"):
        joint_test([x[:3], x[:3]])
    with pytest.raises(DataError, match=r"variables\[1\] must be finite"):
        joint_test([x, np.where(x > 0, np.nan, x)])
    with pytest.raises(ArgumentError, match=r"variables\[1\] must be numbers"):
        joint_test([x, np.zeros(10, "M8[D]")])
    with pytest.raises(ArgumentError, match="n_permutations must be an integer, positive; got 0"):
        joint_test([x, x], n_permutations=0)
    with pytest.raises(ArgumentError, match="2 rows for each of them; got 3 variables and 5 rows"):
        JointShifts(5, 3, 10)
    with pytest.raises(ArgumentError, match="n_permutations must be at least 1; got 0"):
        JointShifts(10, 3, 0)


def test_plot(rng):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    axes = joint_test(xor(rng, 20), n_permutations=19).plot()
    assert axes.get_xlabel() == "dHSIC"
    pyplot.close(axes.figure)
