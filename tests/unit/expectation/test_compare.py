"""The comparison: right figures, bias seen where it is and only there, state left alone."""

import itertools
import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Normal

from trivium._core.errors import ArgumentError, DataError, MissingExtraError, NumericalError
from trivium.expectation import (
    Comparison,
    Exact,
    Pathwise,
    Permutation,
    Perturb,
    Score,
    Sequence,
    compare,
    parameters_of,
    releafed,
    with_parameters,
)
from trivium.expectation.compare import _brief
from trivium.expectation.estimator import GradientEstimator
from trivium.expectation.expect import expect
from trivium.expectation.reference import Trial, figures_of


@dataclass(frozen=True)
class Shrunk(GradientEstimator):
    """The score function with a gradient that is a tenth too short, and says so."""

    unbiased = False
    factor: float = 0.9

    @classmethod
    def examples(cls):
        return (cls(),)

    def serves(self, problem):
        return ""

    def estimate(self, problem):
        right = Score().estimate(problem)
        return self.factor * right + (1 - self.factor) * right.detach()


@dataclass(frozen=True)
class Lying(Shrunk):
    """The same, and it says that it is unbiased."""

    unbiased = True


def toy(z):
    return (z - 0.45) ** 2


def bernoulli(n=3):
    return Bernoulli(logits=torch.linspace(-1, 1, n, dtype=torch.float64))


def test_figures_are_those_of_enumeration():
    """One draw of one Bernoulli: the gradient takes two values, with known probabilities."""
    logits = torch.tensor([0.4], dtype=torch.float64)
    p = float(logits.sigmoid())
    found = compare(toy, Bernoulli(logits=logits), [Score("none")], samples=1, repeats=1000)
    (row,) = found.rows
    slopes = {0: 0.45**2 * (0 - p), 1: 0.55**2 * (1 - p)}
    mean = (1 - p) * slopes[0] + p * slopes[1]
    variance = p * (1 - p) * (slopes[1] - slopes[0]) ** 2
    # A variance of 1,000 draws of these two values has a relative standard error of 0.013.
    assert row.deviation == pytest.approx(variance**0.5, rel=0.03)
    assert row.bias_error == pytest.approx((variance / 500) ** 0.5, rel=0.04)
    signs = (1 - p) * math.copysign(1, slopes[0] * mean) + p * math.copysign(1, slopes[1] * mean)
    assert row.cosine_of_draw == pytest.approx(signs, abs=4.5 / 1000**0.5)
    assert abs(row.cosine_of_mean) == pytest.approx(1)
    assert (row.evaluations, found.reference) == (1, "exact")
    assert row.price("evaluations") == row.deviation**2
    assert row.seconds > 0


def test_rows_of_f_are_counted():
    batch = Bernoulli(logits=torch.zeros(5))
    found = compare(toy, batch, [Score(), Score("centre"), Exact()], samples=4, repeats=8)
    assert [row.evaluations for row in found.rows] == [20, 25, 10]
    outside = compare(
        lambda z: [1.0] * len(z), Categorical(torch.ones(3)), [Score()], samples=4, repeats=8
    )
    assert outside.rows[0].evaluations == 4


def test_bias_is_seen():
    found = compare(toy, bernoulli(), [Score(), Shrunk(), Lying()], samples=64, repeats=300)
    right, shrunk, lying = found.rows
    here, leaves = releafed(bernoulli())
    slope = torch.autograd.grad(expect(toy, here, Exact()).mean(), leaves["logits"])[0]
    assert not right.seen_biased
    assert abs(right.bias) < 4.5 * right.bias_error
    assert shrunk.seen_biased
    assert shrunk.bias == pytest.approx(0.1 * float(slope.norm()), abs=4.5 * shrunk.bias_error)
    assert lying.seen_biased
    assert found.best().name == "Score()"
    assert "Score() " in found.table()
    assert "*" in found.table().splitlines()[3]


def test_the_unbiased_are_not_accused():
    """2,000 trials of a skew gradient in 5 numbers, and 1,000 against another's mean.

    At the level of 1e-4 the number accused is Poisson with mean 0.2; 5 or more come with 2e-6.
    """
    rng = torch.Generator().manual_seed(0)
    accused = against = 0
    for _ in range(1000):
        draws = torch.rand(2, 40, 5, dtype=torch.float64, generator=rng).square() - 1 / 3
        pair = [Trial(name, Score(), x, 1, 1) for name, x in zip("ab", draws, strict=True)]
        rows, _ = figures_of(pair, torch.zeros(5, dtype=torch.float64))
        accused += sum(row.seen_biased for row in rows)
        rows, name = figures_of(pair, None)
        assert name in "ab"
        against += sum(row.seen_biased for row in rows)
    assert accused <= 4
    assert against <= 4


def test_the_bias_of_many_parameters_is_not_the_length_of_noise():
    """Of 2,000 parameters without bias: the naive length would be 25 standard errors."""
    draws = torch.randn(60, 2000, generator=torch.Generator().manual_seed(0)).double()
    rows, _ = figures_of([Trial("a", Score(), draws, 1, 1)], torch.zeros(2000).double())
    assert abs(rows[0].bias) < 4 * rows[0].bias_error


def test_without_an_exact_gradient_the_best_unbiased_is_the_reference():
    normal = Normal(torch.zeros(2, dtype=torch.float64), 1.0)
    found = compare(toy, normal, [Score(), Pathwise(), Shrunk(0.5)], samples=16, repeats=300)
    score, pathwise, shrunk = found.rows
    assert found.reference == "Pathwise()"
    assert math.isnan(pathwise.bias)
    assert pathwise.cosine_of_mean == pytest.approx(1)
    assert not score.seen_biased
    assert shrunk.seen_biased
    assert found.best().name == "Pathwise()"
    assert found.to_dicts()[1]["bias"] is None


def test_what_sees_no_step_is_found_out():
    """Through the samples a step has no slope and no variance: it must not become the measure."""

    def step(z):
        return (z > 0.3) + 0.0 * z

    found = compare(step, Normal(torch.zeros(2), 1.0), [Pathwise(), Score()], repeats=100)
    assert found.reference == "Score()"
    assert found.rows[0].deviation == 0
    assert found.rows[0].seen_biased
    assert found.best().name == "Score()"


def test_all_that_can_serve():
    found = compare(toy, bernoulli(), samples=4, repeats=8)
    names = [row.name for row in found.rows]
    assert {"Exact()", "Score()", "Score('none')"} <= set(names)
    assert "its samples have no gradient" in found.skipped["Pathwise()"]
    assert found.best().name == "Exact()"
    assert "auto" in [row.name for row in compare(toy, bernoulli(), ["auto"], repeats=8).rows]


def test_what_f_cannot_take_is_passed_over_with_the_reason():
    def picky(z):
        if len(z) != 4:  # not the support, not the one point of a baseline
            raise KeyError("four draws")
        return toy(z)

    found = compare(picky, bernoulli(), samples=4, repeats=8)
    assert "four draws" in found.skipped["Exact()"]
    assert "four draws" in found.skipped["Score('mode')"]
    assert found.best().name.startswith("Score(")
    with pytest.raises(KeyError, match="four draws"):
        compare(picky, bernoulli(), [Exact()], samples=4, repeats=8)


def test_a_module_in_a_name_is_one_short_line():
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    estimator = Score(lambda: torch.zeros(()))
    named = compare(toy, bernoulli(), [estimator], repeats=8).rows[0].name
    assert named.startswith("Score(<function")
    assert len(named) < 40
    assert compare(toy, bernoulli(), {"mine": estimator}, repeats=8).rows[0].name == "mine"
    assert "\n" in repr(module)
    assert "\n" not in _brief(module)


def test_samples_are_raised_where_an_estimator_needs_more():
    found = compare(toy, bernoulli(), [Score("leave-one-out")], samples=1, repeats=8)
    assert found.rows[0].evaluations == 6


def test_nothing_is_changed():
    logits = torch.zeros(3, requires_grad=True)
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    first = compare(toy, Bernoulli(logits=logits), [Score()], repeats=8, random_state=3)
    assert torch.equal(torch.rand(3), wanted)
    assert logits.grad is None
    torch.manual_seed(7)
    with pytest.raises(ArgumentError):
        compare(toy, Bernoulli(logits=logits), [Pathwise()], repeats=8)
    assert torch.equal(torch.rand(3), wanted)
    again = compare(toy, Bernoulli(logits=logits), [Score()], repeats=8, random_state=3)
    other = compare(toy, Bernoulli(logits=logits), [Score()], repeats=8, random_state=4)
    assert first.rows[0].deviation == again.rows[0].deviation != other.rows[0].deviation


def test_modules_inside_are_compared_and_left_alone():
    distribution = Sequence.examples()[1]
    before = distribution.step.table.detach().clone()
    found = compare(
        lambda z: z.sum(-1).double(), distribution, [Score(), Exact()], samples=8, repeats=60
    )
    assert found.rows[0].cosine_of_mean > 0.9
    assert torch.equal(distribution.step.table, before)
    assert distribution.step.table.grad is None


def test_parameters():
    normal = Normal(torch.zeros(2, requires_grad=True), 1.0)
    assert list(parameters_of(normal)) == ["loc"]  # only what requires a gradient
    assert list(parameters_of(Normal(torch.zeros(2), 1.0))) == ["loc", "scale"]
    counted = torch.distributions.Binomial(4, probs=torch.tensor(0.2))
    assert list(parameters_of(counted)) == ["probs"]
    _ = counted.logits  # made on demand; what was given stays what is asked for
    assert list(parameters_of(counted)) == ["probs"]
    with pytest.raises(ArgumentError, match="named as the parameters, probs; got 'rate'"):
        with_parameters(counted, {"rate": torch.ones(1)})
    unknown = Sequence(lambda prefix, state: (torch.zeros(2), None), 2)
    with pytest.raises(ArgumentError, match="must have parameters that are tensors"):
        releafed(unknown)

    class Forgets(Normal):
        def __init__(self, center, validate_args=None):
            super().__init__(center, 1.0, validate_args=validate_args)

    with pytest.raises(ArgumentError, match="must keep its argument 'center' as an attribute"):
        parameters_of(Forgets(torch.zeros(1)))


def test_progress_is_told():
    seen = []
    compare(
        toy,
        bernoulli(),
        {"a": Score(), "b": "auto"},
        repeats=8,
        progress=lambda *told: seen.append(told),
    )
    assert seen == [(1, 2, "a"), (2, 2, "b")]


def test_the_plot_shows_every_estimator(monkeypatch):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    found = compare(toy, bernoulli(), [Score(), Shrunk(), Exact()], samples=8, repeats=60)
    axes = found.plot()
    assert [text.get_text() for text in axes[0].get_yticklabels()] == [
        "Score()",
        "Shrunk()",
        "Exact()",
    ]
    (dots,) = axes[1].collections
    assert dots.get_offsets()[:, 0].tolist() == [found.rows[0].deviation, found.rows[1].deviation]
    assert [text.get_text() for text in axes[1].texts] == ["0"]
    assert len({tuple(color) for color in dots.get_facecolors()}) == 2
    assert [bar.get_width() for bar in axes[2].patches] == [1e3 * r.seconds for r in found.rows]
    with pytest.raises(ArgumentError, match="axes must be three; got 2"):
        found.plot(axes[:2])
    pyplot.close("all")
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingExtraError, match="trivium\\[plot\\]"):
        found.plot()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"samples": 0}, ArgumentError, "samples must be an integer, positive"),
        ({"repeats": 7}, ArgumentError, "repeats must be at least 8; got 7"),
        ({"estimators": 3}, ArgumentError, "estimators must be a list, a mapping"),
        ({"estimators": []}, ArgumentError, "must be at least one; got none"),
        ({"estimators": ["reinforce"]}, ArgumentError, "each once; got 'reinforce'"),
        ({"estimators": [Score(), Score()]}, ArgumentError, "each once; got Score"),
        ({"estimators": [Pathwise()]}, ArgumentError, "Pathwise cannot serve Bernoulli"),
        ({"random_state": -1}, ArgumentError, "random_state must be None"),
        (
            {"f": lambda z: z * math.nan, "estimators": [Score("none")]},
            DataError,
            "f must return finite numbers; got nan",
        ),
        (
            {
                "f": lambda z: (0 * z).sqrt(),
                "distribution": Normal(torch.zeros(2), 1.0),
                "estimators": [Pathwise()],
            },
            NumericalError,
            r"Pathwise\(\) must give finite gradients",
        ),
        (
            {"f": lambda z: z.sum()},
            ArgumentError,
            r"serve Bernoulli and f; none does: expect: f must return \(",
        ),
        ({"f": lambda z: 1 / 0}, ArgumentError, "none does: ZeroDivisionError: division by zero$"),
    ],
)
def test_bad_input_is_named(change, error, message):
    arguments = {"f": toy, "distribution": bernoulli(), "repeats": 8} | change
    with pytest.raises(error, match=message):
        compare(**arguments)


def test_a_choice_needs_something_unbiased():
    found = compare(toy, bernoulli(), [Shrunk()], repeats=8)
    with pytest.raises(ArgumentError, match="an unbiased estimator must be among"):
        found.best()
    with pytest.raises(ArgumentError, match="cost must be one of 'evaluations', 'time'"):
        found.best("memory")
    assert isinstance(found, Comparison)


def test_orders_too():
    found = compare(
        lambda z: z[..., 0].double(), Permutation(torch.zeros(3)), [Score(), Exact()], repeats=40
    )
    assert found.reference == "exact"
    assert found.rows[0].cosine_of_mean > 0.9


def test_perturbed_parameters_are_compared_and_left_alone():
    layer = torch.nn.Linear(2, 1)
    before = [tensor.clone() for tensor in layer.parameters()]
    x = torch.ones(5, 2)
    found = compare(
        lambda z: z(x).square().mean((1, 2)),
        Perturb(layer, 0.1),
        [Score(), Score("none")],
        samples=4,
        repeats=8,
    )
    assert [row.evaluations for row in found.rows] == [4, 4]
    assert all(row.deviation > 0 for row in found.rows)
    assert set(parameters_of(Perturb(layer, 0.1))) == {"weight", "bias"}
    assert all(torch.equal(a, b) for a, b in zip(before, layer.parameters(), strict=True))
    assert all(tensor.grad is None for tensor in layer.parameters())


def test_the_table_ends_with_what_the_bias_is_against():
    normal = Normal(torch.zeros(2), 1.0)

    def tail(f, distribution, estimators):
        return compare(f, distribution, estimators, samples=4, repeats=8).table().split("\n\n")[1:]

    assert tail(toy, bernoulli(), [Score()]) == ["The bias is that against the exact gradient."]
    (note,) = tail(toy, normal, {"a|b": Pathwise()})
    assert "against the mean of a|b, the unbiased estimator of least variance" in note
    (note,) = tail(lambda z: z.sum(-1) ** 2, bernoulli(30), [Shrunk()])
    assert note.startswith("No bias and no cosine are shown")
    assert note.endswith("Add Score() to measure against it.")
    found = compare(toy, normal, {"a|b": Pathwise()}, samples=4, repeats=8)
    assert "| a\\|b " in found.table()


def test_labels_of_the_plot_do_not_overlap():
    pytest.importorskip("matplotlib").use("Agg")
    from matplotlib import pyplot

    def figures(name, deviation):
        found = compare(toy, bernoulli(), {name: Score()}, samples=4, repeats=8).rows[0]
        return replace(found, deviation=deviation)

    for spread in ((0.29, 0.35), (3.0, 25.0), (1e-3, 1.0, 1e-18)):
        rows = [figures(f"Score of a long name {i}", d) for i, d in enumerate(spread)]
        shown = Comparison(rows, 4, 8, 0, "an estimator with a long name (really, really)")
        axes = shown.plot()
        figure = axes[0].figure
        figure.canvas.draw()
        boxes = [label.get_window_extent() for axis in axes for label in x_labels(axis)]
        pairs = [(a, b) for i, a in enumerate(boxes) for b in boxes[:i]]
        assert not any(a.overlaps(b) for a, b in pairs)
        titles = [axis.xaxis.label.get_window_extent() for axis in axes]
        assert not any(a.overlaps(b) for a, b in itertools.pairwise(titles))
        pyplot.close("all")


def x_labels(axis):
    low, high = axis.get_xlim()
    both = [*axis.get_xticklabels(), *axis.get_xticklabels(minor=True)]
    return [text for text in both if text.get_text() and low <= text.get_position()[0] <= high]


def test_of_two_without_variance_the_cheaper_is_the_best():
    """Neither the rounding of a deviation nor the clock of a busy machine decides."""
    found = compare(toy, bernoulli(), [Score(), Exact()], samples=4, repeats=8)
    score, exact = found.rows
    other = replace(exact, name="other", evaluations=10 * exact.evaluations, seconds=0.0)
    for own, others in ((0.0, 0.0), (1e-17, 0.0), (0.0, 1e-17)):
        rows = (score, replace(exact, deviation=own), replace(other, deviation=others))
        for order in (rows, rows[::-1]):
            tied = replace(found, rows=order)
            assert tied.best().name == exact.name
            assert tied.best("time").name == "other"
