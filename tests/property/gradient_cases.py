"""Functions with inputs of order one, for derivatives against differences, by public name."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent, Normal, OneHotCategorical

from trivium._core.errors import ArgumentError
from trivium.attention import linear_attention
from trivium.dependence import CKALoss, HSICLoss, hsic
from trivium.expectation import (
    DenseDirections,
    Exact,
    FactoredDirections,
    FactoredTensor,
    Pathwise,
    Problem,
    expect,
    from_one_hot,
    gumbel_given,
    gumbel_keys,
    log_sum_of_orders,
    one_hot_logits,
    parameters_of,
    refuse_second,
    set_probabilities,
    softmax_at,
    with_parameters,
)
from trivium.kernel import (
    Gaussian,
    Matern,
    as_rows,
    cos_sin,
    distances,
    squared_distances,
    tangents_of,
)
from trivium.kernel.spectral import Geometric, Power, Trained, Uniform
from trivium.moment import Prefix
from trivium.objective import (
    Accuracy,
    CorpusBLEU,
    CostMatrix,
    Counts,
    FBeta,
    Jaccard,
    MatthewsCorrelation,
    Precision,
    Recall,
    SeededTensor,
    check_logits,
    class_mean,
    expected_metric,
    grid_mean,
    numbers,
    poisson_binomial,
    probability_columns,
)
from trivium.pathkernel import (
    LOSSES,
    GramProducts,
    averages,
    call_with,
    decayed,
    grouped,
    join_rows,
    named_rows,
    pack,
    quantity,
    rows_from_names,
    sketch,
    take_rows,
    times,
)
from trivium.position import (
    NTK,
    ComplexEmbedding,
    DynamicNTK,
    LinearScaling,
    Llama3,
    LongRoPE,
    Proportional,
    Sinusoidal,
    by_offset,
    curve_at,
    toeplitz,
)
from trivium.sinusoid import (
    FittedDecay,
    decay,
    envelope,
    logarithmic_law,
    relativity,
    toeplitz_share,
)
from trivium.study import Decoder

TARGET = np.array([0, 1, 1, 0, 1])
ONE, TWO = Gaussian(1.0), Gaussian(2.0)
SAID_SO = NotImplementedError  # torch's own word, with the name of what has no derivative


@dataclass(frozen=True)
class Case:
    """A function, its inputs, and what its second derivatives are: right, or this error."""

    function: Callable[..., Any]
    inputs: tuple[Tensor, ...]
    refusal: type[Exception] | None = None
    fast: bool = False


def draw(*shape, seed=0, low=None, wide=1.0):
    """Draw a leaf: normal, or between `low` and 1 - `low`."""
    made = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()
    made = made if low is None else low + made.sigmoid() * (1 - 2 * low)
    return (wide * made).requires_grad_()


def seeded(function):
    """Give a function that draws the same noise each time."""

    def call(*inputs):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return function(*inputs)

    return call


def attention(feature_map, decayed, causal):
    def call(q, k, v, *fade):
        options = {"log_decay": -fade[0].exp()} if decayed else {}
        return linear_attention(q, k, v, feature_map=feature_map, causal=causal, **options)

    return call


def state_of(q, k, v):
    state = linear_attention(q, k, v, return_state=True)[1]
    return state.products, state.mass


def of_weights(module, x):
    """A module at fixed rows as a function of its parameters, and these."""
    names = [name for name, _ in module.named_parameters()]

    def call(*weights):
        return torch.func.functional_call(module, dict(zip(names, weights, strict=True)), (x,))

    return call, tuple(value.detach().clone().requires_grad_() for value in module.parameters())


def ratio(counts):
    return 2 * counts.tp / (2 * counts.tp + counts.fp + counts.fn + 1)


def of_counts(metric):
    """A metric of counts of two classes that need not be whole."""

    def call(tp, fp):
        return metric.score(Counts(tp, fp, 3 - tp, 4 - fp), [0, 1])

    return call


def of_labels(metric, target=TARGET):
    """Its exact mean under independent labels, from logits and from probabilities."""

    def call(logits):
        p = logits.softmax(-1) if logits.ndim == 2 else logits.sigmoid()
        return expected_metric(logits, target, metric), metric.expected(p, target)

    return call


def curved(weights):
    return lambda r: (r.double()[..., None] * weights).tanh()


def set_parts(chosen, rest):
    found = set_probabilities(chosen, rest)
    return found.whole, found.without, found.without_two


def gaussian_tiles(x):
    ready = Gaussian(1.0)
    block = ready.blocks(x)
    tiles = [tile for _, _, tile in ready.tiles(x, budget=500)]
    return *tiles, block(slice(0, 2), slice(1, 4))


def moved(base, x, directions):
    """What members make of a linear map, and what directions say of a tensor."""
    parts = directions.parts(base, 0.1)
    outs = [
        nn.functional.linear(x, directions.member(base, tuple(part[i] for part in parts)))
        for i in range(2)
    ]
    return *outs, directions.stacked(base, 0.1), directions.along(base)


def rebuilt_log_prob(mean, scale):
    base = Independent(Normal(torch.zeros(2).double(), torch.ones(2).double()), 1)
    made = with_parameters(base, {"base_dist.loc": mean, "base_dist.scale": scale})
    return made.log_prob(ROWS), *parameters_of(made).values()


def problem_of(mean):
    problem = Problem(lambda z: z.sin(), Normal(mean, 1.0), 4)
    return problem.values(ROWS), problem.log_prob(ROWS, 0), problem.log_prob(ROWS, 1)


def looked_up(base, down, up, x):
    made = FactoredTensor.of(base, down, up)
    return made.linear(x, None), made.rows_at(torch.tensor([1, 0, 1])), made.materialized()


def group_sums(contributions):
    found = grouped("here", [0, 1, 2], contributions, ["a", "b", "a"])
    return found.totals, found.absolute


def packed_again(x):
    packed, leaves = pack((x, 2), {"more": x * 2}, 4)
    args, kwargs = packed.unpack(leaves)
    return args[0] * kwargs["more"]


def _given(frequencies):
    """A schedule over frequencies that keep their graph."""
    made = Trained(frequencies.detach(), trainable=False)
    made.values = frequencies
    return made


def scaled(scaling):
    """Frequencies, also in rows of several lengths, of those that a schedule gives."""

    def call(frequencies):
        theta = scaling.frequencies(_given(frequencies), len(frequencies))
        return theta, scaling.at_length(theta, torch.tensor([3, 9]))

    return call


def tangent_products(u):
    found = tangents_of(NET, ROWS, lambda out: out[:, 0])
    return found.products(u), found.products_by_layer(u)


def tangent_sums(w):
    return tangents_of(NET, ROWS, lambda out: out[:, 0]).combine(w)


ROWS = draw(4, 2).detach()
with torch.random.fork_rng(devices=[]):
    torch.manual_seed(0)
    NET = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    WORDS = ComplexEmbedding(4, 6).double()
    TINY = Decoder(5, Sinusoidal(4), d_model=4, n_heads=2, n_layers=1, d_feed=6).double()
PRODUCTS = GramProducts("here", ONE, ROWS, 10_000)
QKV = tuple(draw(1, 2, 4, 2, seed=seed) for seed in (1, 2, 3))
XY = (draw(5, 2, seed=1), draw(5, 1, seed=2))
LONG = (draw(8, 1, seed=1), draw(8, 1, seed=2))
FAR = draw(6, wide=3.0)
SMALL = (draw(4, 3), draw(5, 3, seed=1))
WIDE = (draw(4, 5), draw(3, 5, seed=1))
HOT = draw(2, 3)
CLASSES = np.array([0, 1, 2, 0, 1])

THETA = (draw(4, seed=3, low=0.05),)
COUNTED = (draw(2, low=0.2, wide=3.0), draw(2, seed=1, low=0.2, wide=3.0))
SLOPES = (draw(3), draw(3, seed=1), draw(3, seed=2))
LOGITS = {"binary": draw(5), "classes": draw(5, 3), "classes of three": draw(3, 3)}
COSTS = CostMatrix([[0.0, 1.0, 2.0], [3.0, 0.0, 1.0], [9.0, 1.0, 0.0]])
DENSE = DenseDirections(True, draw(2, 3, 2, seed=5).detach())
LOW_RANK = FactoredDirections(True, draw(2, 2, 1, seed=5).detach(), draw(2, 3, 1, seed=6).detach())

CASES = {
    # --- attention
    "attention.linear_attention": Case(attention("elu1", False, True), QKV),
    "attention.linear_attention: both ways": Case(attention("elu1", False, False), QKV),
    "attention.linear_attention: decayed": Case(
        attention("elu1", True, True), (*QKV, draw(1, 2, 4, seed=4))
    ),
    "attention.linear_attention: taylor2": Case(attention("taylor2", False, True), QKV),
    "attention.LinearState": Case(state_of, QKV),
    # --- dependence
    "dependence.hsic": Case(lambda x, y: hsic(x, y, ONE, ONE), XY),
    "dependence.hsic: biased": Case(lambda x, y: hsic(x, y, ONE, TWO, "biased"), XY),
    "dependence.hsic: cka": Case(
        lambda x, y: hsic(x, y, ONE, ONE, "biased", normalize="cka"), XY
    ),
    "dependence.hsic: nocco": Case(
        lambda x, y: hsic(x, y, ONE, ONE, normalize="nocco", epsilon=0.1), XY
    ),
    "dependence.hsic: blocks": Case(
        lambda x, y: hsic(x, y, ONE, ONE, method="block", block_size=4), LONG
    ),
    "dependence.hsic: distances": Case(
        lambda x, y: hsic(x, y, Matern(1.0), ONE), XY, SAID_SO
    ),
    "dependence.HSICLoss": Case(HSICLoss(ONE, ONE), XY),
    "dependence.CKALoss": Case(CKALoss(ONE, TWO), XY),
    # --- expectation
    "expectation.expect": Case(
        lambda z: expect(
            lambda s: (s * torch.arange(1.0, 5.0).double()).sum(-1) ** 2,
            Independent(Bernoulli(logits=z), 1),
            Exact(),
        ),
        (draw(4),),
    ),
    "expectation.expect: through the samples": Case(
        seeded(lambda m, s: expect(torch.sin, Normal(m, s), Pathwise(), 3)),
        (draw(3), draw(3, seed=1, low=0.2)),
    ),
    "expectation.Problem": Case(problem_of, (draw(2),)),
    "expectation.DenseDirections": Case(
        lambda base, x: moved(base, x, DENSE), (draw(3, 2), draw(4, 2, seed=1))
    ),
    "expectation.FactoredDirections": Case(
        lambda base, x: moved(base, x, LOW_RANK), (draw(3, 2), draw(4, 2, seed=1))
    ),
    "expectation.FactoredTensor": Case(
        looked_up, (draw(3, 2), draw(2, 1, seed=1), draw(3, 1, seed=2), draw(4, 2, seed=3))
    ),
    "expectation.gumbel_keys": Case(seeded(lambda z: gumbel_keys(z, (2,))), (draw(4),)),
    "expectation.gumbel_given": Case(
        seeded(lambda z: gumbel_given(z, torch.tensor(1), (2,))), (draw(4),)
    ),
    "expectation.softmax_at": Case(lambda z: softmax_at(z, 0.7), (draw(3, 4),)),
    "expectation.softmax_at: cold": Case(
        lambda z: softmax_at(z * 5e-4, 5e-4), (draw(3, 4),)
    ),
    "expectation.log_sum_of_orders": Case(
        log_sum_of_orders, (draw(2, 3), draw(2, 1, seed=1))
    ),
    "expectation.set_probabilities": Case(
        set_parts, (draw(2, 3, low=0.1), draw(2, seed=1, low=0.1))
    ),
    "expectation.set_probabilities: of one": Case(
        set_parts, (draw(2, 1, low=0.1), draw(2, seed=1, low=0.1))
    ),
    "expectation.one_hot_logits": Case(
        lambda z: one_hot_logits(OneHotCategorical(logits=z)), (HOT,)
    ),
    "expectation.one_hot_logits: probabilities": Case(
        lambda p: one_hot_logits(OneHotCategorical(probs=p)), (draw(2, 3, low=0.1),)
    ),
    "expectation.one_hot_logits: of two": Case(
        lambda z: one_hot_logits(Bernoulli(logits=z)), (draw(3),)
    ),
    "expectation.one_hot_logits: probabilities of two": Case(
        lambda p: one_hot_logits(Bernoulli(probs=p)), (draw(3, low=0.1),)
    ),
    "expectation.from_one_hot": Case(
        lambda z: from_one_hot(Bernoulli(logits=torch.zeros(3)), z), (draw(4, 3, 2),)
    ),
    "expectation.refuse_second": Case(
        lambda x: refuse_second(x, "Here").square(), (draw(3),), ArgumentError
    ),
    "expectation.with_parameters": Case(rebuilt_log_prob, (draw(2), draw(2, seed=1, low=0.2))),
    # --- kernel
    "kernel.squared_distances": Case(squared_distances, SMALL),
    "kernel.squared_distances: of itself": Case(squared_distances, SMALL[:1]),
    "kernel.squared_distances: many columns": Case(squared_distances, WIDE),
    "kernel.squared_distances: many columns of itself": Case(squared_distances, WIDE[:1]),
    "kernel.distances": Case(distances, SMALL, SAID_SO),
    "kernel.distances: l1": Case(lambda x, y: distances(x, y, norm="l1"), SMALL, SAID_SO),
    "kernel.cos_sin": Case(
        lambda p, f: cos_sin(p, f, torch.float64), (draw(3), draw(4, seed=1))
    ),
    "kernel.as_rows": Case(lambda x: as_rows("here", "x", x, "vectors"), SMALL[:1]),
    "kernel.Kernel": Case(gaussian_tiles, SMALL[:1]),
    "kernel.Tangents": Case(tangent_products, (draw(2, 13),)),
    "kernel.Tangents: sums of rows": Case(tangent_sums, (draw(2, 4),)),
    "kernel.Trained": Case(
        lambda r, f: Trained.cosines(_given(f), r), (FAR, draw(4, low=0.1))
    ),
    # --- moment
    "moment.Prefix": Case(
        lambda s, z, q: Prefix(s, z).read(q),
        (draw(2, 3), draw(2, seed=1, low=0.2), draw(2, seed=2, low=0.2)),
    ),
    # --- objective
    "objective.poisson_binomial": Case(poisson_binomial, (draw(5, low=0.1),)),
    "objective.poisson_binomial: certain": Case(
        poisson_binomial, (torch.tensor([0.0, 1.0, 0.5, 0.5]).double().requires_grad_(),)
    ),
    "objective.grid_mean": Case(
        lambda a, b: grid_mean(a, b, lambda i, j: i / (1 + j)),
        (draw(4, low=0.1), draw(3, seed=1, low=0.1)),
    ),
    "objective.class_mean": Case(
        lambda p: class_mean(p, torch.tensor([True, False, True, True]), ratio),
        (draw(4, low=0.1),),
    ),
    "objective.numbers": Case(lambda p: numbers("here", p), (draw(4, low=0.1),)),
    "objective.probability_columns": Case(
        lambda p: probability_columns("here", p), (draw(4, low=0.1),)
    ),
    "objective.check_logits": Case(lambda z: check_logits("here", z), (HOT,)),
    "objective.expected_metric": Case(of_labels(FBeta()), (LOGITS["binary"],)),
    "objective.FBeta": Case(of_counts(FBeta(2.0)), COUNTED),
    "objective.FBeta: macro": Case(
        of_labels(FBeta(average="macro"), CLASSES[:3]), (LOGITS["classes of three"],)
    ),
    "objective.FBeta: micro": Case(
        of_labels(FBeta(average="micro"), CLASSES), (LOGITS["classes"],)
    ),
    "objective.FBeta: weighted": Case(
        of_labels(FBeta(average="weighted"), CLASSES[:3]), (LOGITS["classes of three"],)
    ),
    "objective.Jaccard": Case(of_counts(Jaccard()), COUNTED),
    "objective.Jaccard: labels": Case(of_labels(Jaccard()), (LOGITS["binary"],)),
    "objective.Precision": Case(of_counts(Precision()), COUNTED),
    "objective.Precision: labels": Case(of_labels(Precision()), (LOGITS["binary"],)),
    "objective.Recall": Case(of_counts(Recall()), COUNTED),
    "objective.Recall: labels": Case(of_labels(Recall()), (LOGITS["binary"],)),
    "objective.MatthewsCorrelation": Case(of_counts(MatthewsCorrelation()), COUNTED),
    "objective.MatthewsCorrelation: labels": Case(
        of_labels(MatthewsCorrelation()), (LOGITS["binary"],)
    ),
    "objective.Accuracy": Case(of_counts(Accuracy()), COUNTED),
    "objective.Accuracy: labels": Case(of_labels(Accuracy(), CLASSES), (LOGITS["classes"],)),
    "objective.CostMatrix": Case(of_labels(COSTS, CLASSES), (LOGITS["classes"],)),
    "objective.CorpusBLEU": Case(CorpusBLEU(2).score, (draw(6, low=0.2, wide=5.0),)),
    "objective.SeededTensor": Case(
        lambda x: nn.functional.linear(
            x, SeededTensor.along(torch.ones(3, 2).double(), 1, 2, scale=0.1, chunk=4)
        ),
        (draw(4, 2),),
    ),
    # --- pathkernel
    "pathkernel.averages": Case(
        lambda g, m, v: averages(g, {"exp_avg": m, "exp_avg_sq": v}, (0.9, 0.99)), SLOPES
    ),
    "pathkernel.decayed": Case(
        lambda w, g, p: decayed(w, g, p, {"lr": 0.1, "decoupled_weight_decay": True}), SLOPES
    ),
    "pathkernel.GramProducts": Case(PRODUCTS.times, (draw(4, 2),)),
    "pathkernel.Sketch": Case(lambda a: sketch(PRODUCTS, 2, 0).divide(a, 0.1), (draw(4, 2),)),
    "pathkernel.times": Case(
        lambda a: times(ONE, ROWS, ROWS[:3], a, 10_000), (draw(3, 2),)
    ),
    "pathkernel.grouped": Case(group_sums, (draw(2, 3),)),
    "pathkernel.take_rows": Case(lambda x: take_rows(x, torch.tensor([2, 0, 2])), SMALL[:1]),
    "pathkernel.join_rows": Case(partial(join_rows, "here"), SMALL),
    "pathkernel.named_rows": Case(
        lambda x, y: rows_from_names("here", named_rows("here", (x, y))), SMALL
    ),
    "pathkernel.rows_from_names": Case(
        lambda x: rows_from_names("here", {"rows": x}), SMALL[:1]
    ),
    "pathkernel.call_with": Case(lambda x, y: call_with(squared_distances, (x, y)), SMALL),
    "pathkernel.pack": Case(packed_again, SMALL[:1]),
    "pathkernel.quantity": Case(
        lambda z: quantity("here", "margin", z, torch.tensor([0, 2]), None)(z), (HOT,)
    ),
    # --- position
    "position.toeplitz": Case(lambda table: toeplitz(table, 4), (draw(2, 7),)),
    "position.curve_at": Case(
        lambda w: curve_at(curved(w), torch.arange(4), 2), (draw(2),)
    ),
    "position.by_offset": Case(
        lambda w: by_offset(curved(w), torch.arange(4), torch.arange(3), 2), (draw(2),)
    ),
    "position.by_offset: rows": Case(
        lambda w: by_offset(curved(w), torch.tensor([[0, 2, 3]]), torch.tensor([[1, 0, 5]]), 2),
        (draw(2),),
    ),
    "position.LinearScaling": Case(scaled(LinearScaling(2.0)), THETA),
    "position.NTK": Case(scaled(NTK(4.0)), THETA),
    "position.Llama3": Case(scaled(Llama3(8.0, 16)), THETA),
    "position.Proportional": Case(scaled(Proportional(0.5, 3.0)), THETA),
    "position.DynamicNTK": Case(scaled(DynamicNTK(2.0, 4)), THETA),
    "position.LongRoPE": Case(
        scaled(LongRoPE([1.0, 1.5, 2.0, 2.0], [2.0, 4.0, 4.0, 8.0], 5, factor=4.0)), THETA
    ),
    "position.ComplexEmbedding": Case(*of_weights(WORDS, torch.tensor([[1, 3, 1]]))),
    # --- sinusoid
    "sinusoid.decay": Case(decay, (FAR,)),
    "sinusoid.decay: uniform": Case(lambda x: decay(x, Uniform(0.5, 2.0)), (FAR,)),
    "sinusoid.decay: power": Case(lambda x: decay(x, Power(2.0)), (FAR,)),
    "sinusoid.decay: of a code": Case(lambda x: decay(x, Geometric(), 4), (FAR,)),
    "sinusoid.envelope": Case(envelope, (draw(5, low=0.1, wide=9.0),)),
    "sinusoid.logarithmic_law": Case(logarithmic_law, (draw(5, low=0.1, wide=9.0),)),
    "sinusoid.relativity": Case(relativity, (draw(4, 3), draw(2, 3, 3, seed=1))),
    "sinusoid.relativity: identity": Case(relativity, (draw(4, 3),)),
    "sinusoid.toeplitz_share": Case(toeplitz_share, (draw(2, 4, 4),)),
    "sinusoid.toeplitz_share: off the diagonal": Case(
        lambda m: toeplitz_share(m, diagonal=False), (draw(4, 4),)
    ),
    "sinusoid.FittedDecay": Case(
        lambda x: FittedDecay(draw(3).detach(), draw(3).detach(), ROWS[0], ROWS[1]).decay(x),
        (FAR,),
    ),
    # --- study
    "study.Decoder": Case(*of_weights(TINY, torch.tensor([[1, 3, 0, 4]])), RuntimeError, fast=True),
}  # fmt: skip
for _name, _loss in LOSSES.items():
    _at = (draw(4, 3), torch.eye(3, dtype=torch.float64)[torch.tensor([0, 2, 1, 0])])
    CASES[f"pathkernel.MachineLoss: {_name}"] = Case(partial(_loss.value, target=_at[1]), _at[:1])
# Many inputs, and the second derivatives of each by each: one random direction in their place.
for _name in (
    *("attention.LinearState", "attention.linear_attention: both ways"),
    *("attention.linear_attention: taylor2", "attention.linear_attention: decayed"),
    *("dependence.CKALoss", "dependence.HSICLoss", "dependence.hsic: blocks"),
    *("dependence.hsic: cka", "dependence.hsic: nocco", "kernel.Kernel", "kernel.Tangents"),
    *("objective.FBeta: macro", "objective.FBeta: micro", "objective.FBeta: weighted"),
    *("objective.Accuracy: labels", "objective.CostMatrix", "objective.Jaccard: labels"),
    *("objective.Precision: labels", "objective.Recall: labels"),
):
    CASES[_name] = replace(CASES[_name], fast=True)
