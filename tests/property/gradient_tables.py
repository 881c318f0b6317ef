"""Public names that no case is for: held to a law, to a test of their own, or without a graph."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Normal

from trivium.attention import AttentionFeatures, AttentionLayer
from trivium.dependence import HSICBottleneck, HSICMoments
from trivium.expectation import (
    GradientEstimator,
    Listed,
    Problem,
    draw_directions,
    gumbel_noise,
    middle,
    one_hot_of,
    slopes_of,
    squared_score,
)
from trivium.kernel import (
    FeatureMap,
    Gaussian,
    Kernel,
    LayerKind,
    Schedule,
    gram_vjp_by_autograd,
    pivoted_cholesky,
    squared_distances_vjp,
    tangent_kernel,
    tangents_of,
)
from trivium.kernel.spectral import Geometric
from trivium.moment import CrossMoments, Moments, RowSample, merge_tree, prefix
from trivium.objective import seeded_noise
from trivium.pathkernel import (
    Floor,
    GramProducts,
    KernelMachine,
    PathKernel,
    Recurrence,
    Weights,
    batched_products,
    build_index,
    fixed_parts,
    from_checkpoints,
    gradient_norms,
    gram_values,
    grams_by_layer,
    label_issues,
    network_scores,
    read_target,
    record,
    sketch,
)
from trivium.position import Position, YaRN
from trivium.sinusoid import fit, fit_series, head_hessian, hessian
from trivium.testing import (
    attention_feature_laws,
    attention_laws,
    distribution_laws,
    estimator_laws,
    feature_map_laws,
    kernel_laws,
    layer_laws,
    position_laws,
    recurrence_laws,
    schedule_laws,
)

# Family: where its members live, and the law that looks at their derivatives.
FAMILIES: dict[type, tuple[str, Callable[..., None]]] = {
    Kernel: ("trivium.kernel", kernel_laws.gradient_agrees),
    FeatureMap: ("trivium.kernel", feature_map_laws.gradient_agrees),
    Schedule: ("trivium.kernel", schedule_laws.slopes_agree),
    LayerKind: ("trivium.kernel", layer_laws.rows_are_right),
    AttentionLayer: ("trivium.attention", attention_laws.gradient_agrees),
    AttentionFeatures: ("trivium.attention", attention_feature_laws.layer_keeps_the_laws),
    Position: ("trivium.position", position_laws.check_position),
    GradientEstimator: ("trivium.expectation", estimator_laws.derivatives_are_right),
    Listed: ("trivium.expectation", distribution_laws._slopes_are_right),
    Recurrence: ("trivium.pathkernel", recurrence_laws.derivative_is_that_of_the_training),
}


def leaf(*shape: int, seed: int = 0) -> Tensor:
    made = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()
    return made.requires_grad_()


def net() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)).double()


X, Y = leaf(12, 2), leaf(12, 1, seed=1)
LABELS = torch.arange(12) % 2


def pulled(pair: tuple[Tensor, Any]) -> Any:
    return pair[0], pair[1](torch.ones_like(pair[0]))


def bottleneck() -> Any:
    model = HSICBottleneck((4,), epochs=1).fit(X.detach().numpy(), LABELS.numpy())
    return model.transform(X)


@lru_cache(maxsize=1)
def machine() -> Any:
    fitted = KernelMachine(Gaussian(1.0), base=net()).fit(X, leaf(12, 2, seed=2))
    larger = fitted.add_rows(leaf(3, 2, seed=3), leaf(3, 2, seed=4), anchors=4)
    return fitted, larger, larger.scores(X), larger.predict(X), larger.contributions(X)


def recording() -> Any:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with record(model, optimizer, nn.functional.cross_entropy) as made:
        for ids in (torch.arange(6), torch.arange(6, 12)):
            made.batch(ids)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(X[ids].detach()), LABELS[ids]).backward()
            optimizer.step()
    return made


@lru_cache(maxsize=1)
def recorded() -> Any:
    made = recording()
    x = leaf(3, 2, seed=5)
    ask = {"of": "logit", "y": torch.tensor([0, 1, 0])}
    index = build_index(made, k=4)
    return (
        made.made(x, **ask),
        made.without(x, **ask),
        PathKernel.along(made, nodes=2).gram(x),
        label_issues(made),
        index,
        index.contributions(x, **ask),
    )


def checkpoints() -> Any:
    model = net()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    rows, ask = (X, LABELS), {"of": "logit", "y": torch.tensor([0, 1])}
    return from_checkpoints(
        model, [(state, 0.1)] * 2, nn.functional.cross_entropy, rows, leaf(2, 2), **ask
    )


def rows() -> Any:
    held = RowSample(4).offer(np.arange(12), X, LABELS)
    return held.state()


def gram_products() -> Any:
    products = GramProducts("here", Gaussian(1.0), X, 10_000)
    return products, list(products.blocks()), sketch(products, 3, 0)


def layer_parts() -> Any:
    found = tangents_of(net(), X, lambda out: out[:, 0])
    return found, found.dense(), found.squares(), found.gram(found), grams_by_layer(found, found)


def summed() -> Any:
    value = X.sin()
    return batched_products(value, (X,), torch.ones(2, 12, 2).double())


def pushed() -> nn.Module:
    """A network whose weights have a gradient."""
    model = net()
    model(X).square().sum().backward()
    return model


def weights() -> Any:
    held = Weights(pushed())
    return held.read(), held.read_gradient()


def path_kernel() -> Any:
    kernel = PathKernel.at(net())
    return kernel.gram(X), kernel.gram(X, X[:2]), kernel.diagonal(X)


def moments() -> Any:
    m = Moments(2).update(X, LABELS, leaf(12).abs())
    return m, m.means, m.total, m.within, m.cross


def cross_moments() -> Any:
    m = CrossMoments(2, 1).update(X, Y)
    return m, m.cross, m.products, m.mean_x, m.covariance(), m.scatter_y


def loss_hessian() -> Any:
    table = nn.Embedding(5, 4).double()
    model = nn.Sequential(table, nn.Tanh())
    found = hessian(model, lambda it: it(torch.arange(5)).sum(0).square().sum(), "0")
    return found.product(leaf(2, 5, 4)), found.terms(table.weight), found.block(0, 1), found.mean()


def series() -> Any:
    t = torch.arange(40.0).double()
    found = fit_series(t, leaf(40) + (0.7 * t).sin() * 3)
    return found, found.features(leaf(3)), found.predict(leaf(3))


PROBLEM = Problem(torch.sin, Normal(leaf(2), 1.0), 4)
# Name: a call with leaves wherever it takes floats; nothing of what comes out may have a graph.
VALUES: dict[str, Callable[[], Any]] = {
    "dependence.HSICBottleneck": bottleneck,
    "dependence.HSICMoments": lambda: HSICMoments.like(X, Y, n_features=4).update(X, Y),
    "expectation.draw_directions": lambda: draw_directions(
        {"w": X}, 2, {"w": 1}, paired=True, orthogonal=False
    ),
    "expectation.gumbel_noise": lambda: gumbel_noise((3,), X),
    "expectation.middle": lambda: middle(Normal(leaf(2), 1.0), "mean"),
    "expectation.one_hot_of": lambda: one_hot_of(LABELS, X),
    "expectation.slopes_of": lambda: slopes_of(X.sin().sum(), {"x": X, "y": Y}),
    "expectation.squared_score": lambda: squared_score(PROBLEM, X[:4, :2].detach(), 1),
    "kernel.gram_vjp_by_autograd": lambda: pulled(
        gram_vjp_by_autograd(Gaussian(1.0).gram, X, X[:3])
    ),
    "kernel.pivoted_cholesky": lambda: pivoted_cholesky(
        (X @ X.mT).diagonal(), lambda i: (X @ X.mT)[:, i], rank=2
    ),
    "kernel.squared_distances_vjp": lambda: pulled(squared_distances_vjp(X, X[:3])),
    "kernel.tangent_kernel": lambda: (tangent_kernel(net(), X), tangent_kernel(net(), X, sketch=8)),
    "kernel.tangents_of": layer_parts,
    "moment.CrossMoments": cross_moments,
    "moment.Moments": moments,
    "moment.RowSample": rows,
    "moment.merge_tree": lambda: merge_tree([Moments(2).update(X) for _ in range(3)]),
    "moment.prefix": lambda: list(prefix(X, Y, leaf(12).abs(), start=None)),
    "objective.seeded_noise": lambda: seeded_noise(1, 2, (0, 5), 5, torch.device("cpu")),
    "pathkernel.sketch": gram_products,
    "pathkernel.KernelMachine": machine,
    "pathkernel.PathKernel": path_kernel,
    "pathkernel.Recording": recorded,
    "pathkernel.batched_products": summed,
    "pathkernel.fixed_parts": lambda: fixed_parts(net().requires_grad_(False)),
    "pathkernel.from_checkpoints": checkpoints,
    "pathkernel.gradient_norms": lambda: gradient_norms(list(pushed().parameters()), [True] * 4),
    "pathkernel.gram_values": lambda: gram_values(Gaussian(1.0), X),
    "pathkernel.network_scores": lambda: network_scores("here", net(), X),
    "pathkernel.read_target": lambda: read_target("here", X, 12, []),
    "pathkernel.Floor": lambda: Floor(net(), torch.zeros(2).double()).scores("here", X),
    "pathkernel.Weights": weights,
    "position.YaRN": lambda: YaRN(4.0, 8).frequencies(Geometric(), 4),
    "sinusoid.FittedSeries": series,
    "sinusoid.LossHessian": loss_hessian,
    "sinusoid.fit": lambda: fit(
        (-torch.arange(30.0).double() * leaf(1).exp()).exp(), 3, torch.arange(30.0)
    ),
    "sinusoid.head_hessian": lambda: head_hessian(leaf(4, 3), leaf(4, 3), 2),
    "sinusoid.hessian": lambda: hessian(nn.MultiheadAttention(8, 2)),
}

E = "tests/unit/expectation/"
# A surrogate is constant, or random, in its parameter: differences do not see its gradient. Its
# gradient is that of the mean over all outcomes in these tests.
SURROGATES: dict[str, str] = {
    "expectation.Draws": E + "test_score.py::test_no_baseline_biases",
    "expectation.Perturb": E + "test_perturb.py::test_full_directions_are_exact_for_quadratics",
    "expectation.Population": E + "test_population.py::test_a_population_is_its_members",
    "expectation.Rebar": E + "test_control.py::test_derivatives_of_every_order",
    "expectation.antithetic_score": E
    + "test_antithetic.py::test_bernoulli_pairs_are_exact_to_the_third_order",
    "expectation.baseline_of": E + "test_score.py::test_a_learned_baseline_is_fitted_along",
    "expectation.controlled_score": E + "test_control.py::test_derivatives_of_every_order",
    "expectation.distinct_score": E + "test_distinct.py::test_exact_to_the_third_order",
    "expectation.heun_through": E
    + "test_straight_through.py::test_order_2_is_unbiased_for_coupled_quadratics",
    "expectation.local_score": E + "test_local_score.py::test_exact_to_the_third_order",
    "expectation.mean_through": E + "test_relaxed.py::test_the_bias_is_the_documented_one",
    "expectation.measure_pairs": E + "test_measure_valued.py::test_one_draw_of_a_class_is_exact",
    "expectation.refuse_first": E + "test_first_order.py::test_refusal_is_an_identity_otherwise",
    "expectation.relaxed_given": E
    + "test_relaxed.py::test_rao_keeps_the_mean_and_lowers_the_variance",
    "expectation.score_length": E + "test_score.py::test_lengths_of_scores_are_those_of_autograd",
    "expectation.softmax_through": E
    + "test_straight_through.py::test_order_1_is_unbiased_for_what_is_linear_in_each_row",
    "expectation.surrogate": E + "test_surrogate.py::test_derivatives_of_every_order",
    "expectation.telescoped": E
    + "test_local_score.py::test_first_derivative_is_exact_given_the_others",
    "expectation.values_replaced": E + "test_measure_valued.py::test_f_has_its_own_gradient",
    "objective.local_expectation": "tests/unit/objective/test_expected_metric.py"
    "::test_counterfactual_has_unbiased_derivatives_of_every_order",
}

# Names whose results another name's call holds.
ALIKE = {
    "pathkernel.Recording": (
        *("Accounting", "Attribution", "Counterfactual", "Index", "LabelIssues", "Questions"),
        *("Recorded", "build_index", "label_issues"),
    ),
    "pathkernel.from_checkpoints": ("IncompleteAccounting",),
    "pathkernel.KernelMachine": ("AddedRows", "added_rows", "descend", "solve"),
    "kernel.tangents_of": ("grams_by_layer",),
    "sinusoid.FittedSeries": ("fit_series",),
}
for _name, _others in ALIKE.items():
    for _other in _others:
        _room = "sinusoid" if _name.startswith("sinusoid") else "pathkernel"
        VALUES[f"{_room}.{_other}"] = VALUES[_name]

REPLAY = (
    "inside of a recording's replay: what a user gets of it is among VALUES, and "
    "`recurrence_laws` hold its derivatives to differences of whole trainings"
)
EXCEPTIONS: dict[str, set[str]] = {
    "the base of a family, or what is asked of one; members are walked": {
        "expectation.Directions",
        "expectation.VirtualTensor",
        "kernel.LayerTangents",
        "objective.ClassMetric",
        "objective.CountMetric",
        "objective.LabelMetric",
        "objective.RatioMetric",
        "pathkernel.RowKernel",
        "position.Scaling",
    },
    "makes, reads or draws an object; no number is computed from a tensor": {
        "attention.features_of",
        "closedform.to_torch",
        "expectation.check_baseline",
        "expectation.check_control",
        "expectation.factor_of",
        "expectation.factors",
        "expectation.parameters_of",
        "expectation.rebuilt",
        "expectation.releafed",
        "expectation.run_with",
        "kernel.Layout",
        "objective.moved_parameters",
        "pathkernel.as_call",
        "pathkernel.as_row_kernel",
        "pathkernel.draw_waterfall",
        "pathkernel.record",
        "pathkernel.recurrence_of",
        "position.combine",
        "sinusoid.plot_decay",
        "sinusoid.plot_relativity",
        "study.build_encoding",
        "study.contestants",
    },
    "a whole number of a distribution": {"expectation.group_size", "expectation.support_size"},
    "counts of whole labels": {"objective.Counts"},
    "arrays of NumPy in and out": {
        "dependence.HSICLasso",
        "dependence.HSICScreen",
        "dependence.HSICmRMR",
        "table.NumericParts",
        "table.NumericReader",
    },
    "written and read, by value": {
        "moment.MergeTree",
        "pathkernel.as_plain",
        "pathkernel.from_plain",
        "pathkernel.load_attribution",
        "pathkernel.random_states",
        "study.read_study_text",
    },
    "the rows' gradients, which `layer_laws` hold to autograd": {
        "kernel.BesideTangents",
        "kernel.ColumnHash",
        "kernel.DenseTangents",
        "kernel.OuterTangents",
        "kernel.OwnerCall",
        "kernel.SparseTangents",
        "kernel.SummedTangents",
        "kernel.TangentTape",
        "kernel.collect",
    },
    REPLAY: {
        f"pathkernel.{name}"
        for name in (
            *("Bucket", "Checkpoints", "Chord", "Coordinates", "Heavy", "Held", "Listener"),
            *("LossCall", "Member", "Queries", "RecordingFolder", "Replay", "ReplayedStep"),
            *("RowStore", "Run", "StepWatch", "Sums", "class_places", "coupled_products"),
            *("curvatures", "find_subspace", "gathered", "heavy_slope", "losses", "pull_back"),
            *("reduce_run", "slopes_of", "stable", "stretches", "tangents", "traced"),
            "weight_gradient",
        )
    },
}
