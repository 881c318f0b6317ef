"""Layers trained one by one: alone or together the same bits, nothing flows between them."""

import copy

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from trivium._core.errors import (
    ArgumentError,
    DataError,
    ModelError,
    NumericalError,
    ShapeError,
)
from trivium.dependence import BottleneckReport, HSICBottleneck, hsic
from trivium.dependence.bottleneck_layers import one_hot, outputs_of
from trivium.dependence.bottleneck_objective import local_loss
from trivium.dependence.bottleneck_report import backpropagated
from trivium.kernel import Delta, Linear

OPTIONS = {"epochs": 3, "batch_size": 64, "random_state": 5}


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    return X[order[:400]], y[order[:400]], X[order[400:700]], y[order[400:700]]


@pytest.fixture(scope="module")
def model(digits):
    return HSICBottleneck([32, 24, 16], **OPTIONS).fit(*digits[:2])


def same_bits(a: nn.Module, b: nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


# ---- no gradient between layers ---------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["linear", "gaussian"])
def test_no_graph_reaches_what_made_the_inputs(kernel):
    torch.manual_seed(0)
    before, layer = nn.Linear(5, 4), nn.Linear(4, 3)
    targets = one_hot(np.arange(12) % 3)
    inputs = before(torch.randn(12, 5))
    local_loss(layer, inputs, targets, kernel, 0.5).backward()
    assert before.weight.grad is None
    assert layer.weight.grad.abs().max() > 0
    layer(inputs).sum().backward()  # the look above would have seen a graph
    assert before.weight.grad is not None


def test_layers_trained_elsewhere_are_those_of_fit(digits, model):
    X, y = digits[:2]
    elsewhere = [HSICBottleneck([32, 24, 16], **OPTIONS) for _ in range(3)]
    outputs, trained = torch.from_numpy(X).float(), []
    for place, worker in enumerate(elsewhere):
        # What travels is numbers, to a worker that has never seen the layers before.
        stored = outputs.numpy().copy()
        trained.append(worker.train_layer(place, stored, y))
        outputs = outputs_of([trained[-1]], outputs)
        assert not outputs.requires_grad
    assert all(same_bits(a, b) for a, b in zip(trained, model.layers_, strict=True))
    joined = HSICBottleneck([32, 24, 16], **OPTIONS).fit_readout(X, y, trained)
    assert np.array_equal(joined.predict_proba(X), model.predict_proba(X))


def test_a_layer_depends_on_its_inputs_alone(digits):
    """The same numbers, made by other layers: the same bits; other numbers: other bits."""
    X, y = digits[:2]
    worker = HSICBottleneck([32, 24], **OPTIONS)
    inputs = outputs_of([worker.train_layer(0, X, y)], torch.from_numpy(X).float())
    first = worker.train_layer(1, inputs, y)
    scratch = HSICBottleneck([nn.Identity(), 24], **OPTIONS)
    assert same_bits(scratch.train_layer(1, inputs, y), first)
    assert not same_bits(scratch.train_layer(1, inputs + 0.1 * torch.rand_like(inputs), y), first)


def test_train_layer_leaves_the_model_and_the_inputs_alone(digits, model):
    X, y = digits[:2]
    before, copied = copy.deepcopy(model.layers_), X.copy()
    model.train_layer(0, X, y)
    assert all(same_bits(a, b) for a, b in zip(before, model.layers_, strict=True))
    assert np.array_equal(X, copied)


# ---- what training does -----------------------------------------------------------------------


def test_training_aligns_every_layer_with_the_labels(digits, model):
    X, y = digits[:2]
    report = model.report(*digits)
    assert all(
        after > before + 0.05
        for after, before in zip(report.alignments, report.alignments_untrained, strict=True)
    )
    outputs = outputs_of(model.layers_, torch.from_numpy(X).float())
    expected = hsic(outputs, y, Linear(), Delta(), estimator="biased", normalize="cka")
    assert report.alignments[-1] == pytest.approx(float(expected), abs=1e-5)


def test_xor_needs_the_layers_and_they_learn_it():
    x = np.random.default_rng(0).normal(size=(600, 2))
    y = np.where(x[:, 0] * x[:, 1] > 0, "same", "other")
    found = HSICBottleneck([32, 32], batch_size=64).fit(x[:400], y[:400])
    assert found.classes_.tolist() == ["other", "same"]
    assert found.score(x[400:], y[400:]) > 0.95


def test_the_default_readout_has_the_better_probabilities(digits):
    """Ridge counts its errors on rows whose labels the layers have seen, and is far too sure."""
    loss = {}
    for readout in ({}, {"readout": "ridge"}):
        found = HSICBottleneck([64, 64], **readout, **(OPTIONS | {"epochs": 10})).fit(*digits[:2])
        proba = np.take_along_axis(found.predict_proba(digits[2]), digits[3][:, None], 1)
        loss[found.readout] = -np.log(proba).mean()
    assert loss["softmax"] < min(0.5, 0.6 * loss["ridge"])


@pytest.mark.parametrize("readout", ["ridge", "softmax"])
def test_probabilities_sum_to_one_and_agree_with_predictions(digits, readout):
    found = HSICBottleneck([32], readout, **OPTIONS).fit(*digits[:2])
    proba = found.predict_proba(digits[2])
    assert proba.shape == (300, 10)
    assert np.allclose(proba.sum(1), 1)
    assert np.array_equal(found.classes_[proba.argmax(1)], found.predict(digits[2]))
    assert found.score(*digits[2:]) == (found.predict(digits[2]) == digits[3]).mean() > 0.8


def test_modules_of_any_shape():
    """A convolution, batch norm, dropout and a layer without weights between dense layers."""
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    X = rng.normal(size=(200, 1, 6, 6))
    X[y == 1, :, 1:4, 1:4] += 1.5
    torch.manual_seed(0)
    layers = [
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
        nn.MaxPool2d(2),
        nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(16, 8), nn.ReLU()),
        8,
    ]
    before = copy.deepcopy(layers[0])
    found = HSICBottleneck(layers, epochs=20, batch_size=32).fit(X[:150], y[:150])
    assert found.transform(X).shape == (200, 8)
    assert found.score(X[150:], y[150:]) > 0.85
    assert same_bits(before, layers[0])  # given modules are copied
    assert not same_bits(found.layers_[0], layers[0])
    assert not any(layer.training for layer in found.layers_)
    assert found.report(X[:150], y[:150], X[150:], y[150:]).accuracy > 0.85


def test_progress_counts_layers(digits):
    seen = []
    HSICBottleneck([8, 8], **OPTIONS).fit(*digits[:2], progress=lambda *now: seen.append(now))
    assert seen == [(1, 2), (2, 2)]


# ---- seeds ------------------------------------------------------------------------------------


def test_seeds(digits, model):
    X, y = digits[:2]
    again = HSICBottleneck([32, 24, 16], **OPTIONS).fit(X, y)
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
    other = HSICBottleneck([32, 24, 16], **(OPTIONS | {"random_state": 6})).fit(X, y)
    assert not same_bits(other.layers_[0], model.layers_[0])
    drawn = HSICBottleneck([8], random_state=np.random.default_rng(3))
    assert drawn.seed == HSICBottleneck([8], random_state=np.random.default_rng(3)).seed


def test_dropout_follows_the_seed_and_torch_keeps_its_own(digits):
    X, y = digits[:2]
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(64, 16), nn.Dropout(0.5), nn.ReLU())
    state = torch.get_rng_state()
    first = HSICBottleneck([layer], **OPTIONS).fit(X, y)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert same_bits(HSICBottleneck([layer], **OPTIONS).fit(X, y).layers_[0], first.layers_[0])


# ---- the report -------------------------------------------------------------------------------


@pytest.mark.parametrize("readout", ["ridge", "softmax"])
def test_report_says_what_it_says(digits, readout):
    X, y, X_test, y_test = digits
    model = HSICBottleneck([32, 24], readout, **OPTIONS).fit(X, y)
    report = model.report(X, y, X_test, y_test)
    assert isinstance(report, BottleneckReport)
    assert report.accuracy == model.score(X_test, y_test)
    plain = HSICBottleneck([32, 24], readout, **OPTIONS).fit_readout(X, y)
    assert report.untrained == plain.score(X_test, y_test) != report.accuracy
    fresh = plain.untrained_layers(X)
    assert all(same_bits(a, b) for a, b in zip(plain.layers_, fresh, strict=True))
    network = backpropagated(model, torch.from_numpy(X).float(), y).eval()
    with torch.no_grad():
        guess = network(torch.from_numpy(X_test).float()).argmax(1).numpy()
    assert report.backpropagated == (guess == y_test).mean() > 0.3  # of ten classes, 18 steps
    assert report.n_rows == 300
    assert f"{report.untrained:.4f}" in str(report)
    assert str(report).count("CKA with y") == 2


def test_report_does_not_change_the_model(digits, model):
    before = model.predict_proba(digits[2])
    model.report(*digits)
    assert np.array_equal(model.predict_proba(digits[2]), before)


def test_untrained_stays_untrained_when_layers_were_trained_elsewhere(digits, model):
    X, y, X_test, y_test = digits
    joined = HSICBottleneck([32, 24, 16], **OPTIONS).fit_readout(X, y, model.layers_)
    assert joined.report(*digits) == model.report(*digits)
    assert joined.report(*digits).untrained < joined.score(X_test, y_test)


def test_back_propagation_starts_from_the_same_weights(digits):
    X, y = digits[:2]
    still = HSICBottleneck([8, 8], **(OPTIONS | {"learning_rate": 1e-12})).fit(X, y)
    network = backpropagated(still, torch.from_numpy(X).float(), y)
    for moved, layer in zip(network, still.untrained_layers(X), strict=False):
        for a, b in zip(moved.parameters(), layer.parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-8)
    whole = HSICBottleneck([8, 8], **OPTIONS).fit(X, y)
    moved = backpropagated(whole, torch.from_numpy(X).float(), y)
    # End to end: the first layer moves by the loss of the last, which local training forbids.
    assert not torch.allclose(moved[0][1].weight, whole.untrained_layers(X)[0][1].weight, atol=1e-3)


# ---- hard cases -------------------------------------------------------------------------------


@pytest.mark.parametrize("readout", ["ridge", "softmax"])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_constant_inputs_give_the_share_of_each_class(readout, value):
    y = np.array([0] * 30 + [1] * 10)
    model = HSICBottleneck([8, 8], readout, epochs=2).fit(np.full((40, 3), value), y)
    proba = model.predict_proba(np.full((2, 3), value))
    assert np.isfinite(proba).all()
    assert (model.predict(np.full((2, 3), value)) == 0).all()
    assert readout == "ridge" or proba[0] == pytest.approx([0.75, 0.25], abs=1e-3)


def test_one_constant_column_and_a_far_offset(digits):
    X, y, X_test, y_test = digits
    far = [np.c_[rows + 1000, np.full(len(rows), 7.0)] for rows in (X, X_test)]
    assert HSICBottleneck([32], **OPTIONS).fit(far[0], y).score(far[1], y_test) > 0.8


def test_common_scale_changes_nothing(digits, model):
    X, y = digits[:2]
    scaled = HSICBottleneck([32, 24, 16], **OPTIONS).fit(1024 * X, y)
    assert np.array_equal(scaled.predict(1024 * digits[2]), model.predict(digits[2]))


def test_fewer_rows_than_columns(digits):
    X, y, X_test, y_test = digits
    few = HSICBottleneck([128], **OPTIONS).fit(X[:60], y[:60])
    assert few.score(X_test, y_test) > 0.6


GUARDS = [
    ({"layers": []}, "layers must be a list with at least one layer"),
    ({"layers": 8}, "layers must be a list with at least one layer"),
    ({"layers": [8, 0]}, "layers must be positive widths or torch modules; got 0"),
    ({"layers": [True]}, "layers must be positive widths or torch modules; got True"),
    ({"layers": ["8"]}, "layers must be positive widths or torch modules; got '8'"),
    ({"readout": "tree"}, "readout must be one of 'ridge', 'softmax'; got 'tree'"),
    ({"kernel": "cosine"}, "kernel must be one of 'linear', 'gaussian'; got 'cosine'"),
    ({"penalty": -1}, "penalty must be a number, non-negative; got -1"),
    ({"epochs": 0}, "epochs must be an integer, positive; got 0"),
    ({"batch_size": 3}, "batch_size must be at least 4; got 3"),
    ({"batch_size": 0}, "batch_size must be an integer, positive; got 0"),
    ({"learning_rate": 0}, "learning_rate must be a number, positive; got 0"),
    ({"random_state": -1}, "random_state must be None, an integer"),
]


@pytest.mark.parametrize(("options", "message"), GUARDS)
def test_options_are_checked(options, message):
    with pytest.raises(ArgumentError, match=message):
        HSICBottleneck(**options)


BAD_ROWS = [
    (np.array([["a", "b"]] * 6), ArgumentError, "X must be numbers; got <U1"),
    (torch.zeros(6, 2, dtype=torch.complex64), ArgumentError, "X must be numbers; got torch.comp"),
    (np.zeros(6), ShapeError, r"X must have the axes \(n, d\)"),
    (np.zeros((6, 0)), ShapeError, r"X must have .* d positive; got shape \(6, 0\)"),
    (np.zeros((5, 2)), ShapeError, "axis n is 5 in X but 6 in y"),
    (np.zeros((0, 2)), DataError, "X must have at least one row"),
    (np.full((6, 2), np.nan), DataError, "X must be finite; got nan"),
    (np.full((6, 2), 1e300), DataError, "X must be finite; got inf"),
]


@pytest.mark.parametrize(("X", "kind", "message"), BAD_ROWS)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_rows_are_checked(X, kind, message):
    y = np.arange(6) % 2
    model = HSICBottleneck([4], epochs=1)
    for name, call in (
        ("fit", lambda: model.fit(X, y)),
        ("fit_readout", lambda: model.fit_readout(X, y)),
        ("train_layer", lambda: model.train_layer(0, X, y)),
    ):
        with pytest.raises(kind, match=rf"HSICBottleneck.{name}: {message}"):
            call()


def test_labels_are_checked():
    X = np.arange(12.0).reshape(6, 2)
    for y, message in (
        ([1] * 6, "y must have at least two classes; got only"),
        ([1.0, np.nan] * 3, "y must not be missing"),
        (["a", None] * 3, "y must not be missing"),
    ):
        with pytest.raises(DataError, match=message):
            HSICBottleneck([4]).fit(X, y)
    with pytest.raises(DataError, match="X must have at least 4 rows; got 3"):
        HSICBottleneck([4]).fit(X[:3], [0, 1, 0])


def test_methods_check_what_they_need(digits, model):
    X, y = digits[:2]
    new = HSICBottleneck([4])
    for name in ("transform", "predict", "predict_proba"):
        with pytest.raises(ModelError, match=rf"HSICBottleneck.{name}: the model must be fitted"):
            getattr(new, name)(X)
    with pytest.raises(ModelError, match="report: the model must be fitted"):
        new.report(X, y, X, y)
    with pytest.raises(ArgumentError, match="place must be in 0 to 0; got 1"):
        new.train_layer(1, X, y)
    with pytest.raises(ArgumentError, match="layers must be 3 modules; got 1"):
        model.fit_readout(X, y, [nn.Identity()])
    with pytest.raises(ShapeError, match=r"score: axis n is 400 in X but 3 in y"):
        model.score(X, y[:3])
    with pytest.raises(ShapeError, match=r"report: axis n is 400 in X but 3 in y"):
        model.report(X, y, X, y[:3])
    with pytest.raises(DataError, match="report: y must hold the labels of the fit"):
        model.report(X, y % 2, X, y)
    with pytest.raises(ShapeError, match="X must have the axes"):
        model.predict(X[0])


class Divides(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, rows):
        return rows / self.weight


def test_outputs_that_are_not_finite_are_named():
    X, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    with pytest.raises(NumericalError, match="outputs and loss must stay finite"):
        HSICBottleneck([Divides()], epochs=1).fit(X, y)
