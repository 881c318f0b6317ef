"""What linear attention refuses, and in which words."""

import pytest
import torch
from torch import nn

from trivium._core.errors import ArgumentError, DataError, NumericalError, ShapeError
from trivium.attention import (
    CallableFeatures,
    Favor,
    Hedgehog,
    KernelFeatures,
    LinearAttention,
    LinearState,
    linear_attention,
)
from trivium.kernel import Gaussian, Nystroem

Q = torch.randn(2, 2, 6, 4, generator=torch.Generator().manual_seed(0))
LOG = torch.full((2, 2, 6), -0.1)
CASES = {
    "q must be a floating tensor; got torch.int64": {"q": Q.long()},
    "q must be a floating tensor; got list": {"q": [1.0]},
    "k must have the dtype and device of q": {"k": Q.double()},
    "v must have the dtype and device of q": {"v": Q.to("meta")},
    "chunk must be 'auto' or a whole number from 1 to the row's 6 steps; got 7": {"chunk": 7},
    "to the row's 6 steps; got 0": {"chunk": 0},
    "to the row's 6 steps; got 'big'": {"chunk": "big"},
    "to the row's 6 steps; got True": {"chunk": True},
    "lengths must be from 1 to the 6 steps of a row; got 0 ": {"lengths": [6, 0]},
    "lengths must be from 1 to the 6 steps of a row; got -2 ": {"lengths": [-2, 3]},
    "lengths must be from 1 to the 6 steps of a row; got 7 .row 1": {"lengths": [6, 7]},
    "lengths must be whole numbers; got torch.float32": {"lengths": [1.5, 2.0]},
    "lengths must be whole numbers; got 'ab'": {"lengths": "ab"},
    "'elu1', 'exp', 'favor', 'hedgehog', 'identity', 'relu', 'taylor2'": {"feature_map": "elu"},
    "normalize must be False with Identity": {"feature_map": "identity", "normalize": True},
    "normalize must be True, False or None; got 'yes'": {"normalize": "yes"},
    "log_decay must be at most 0; got 0.9": {"log_decay": -9 * LOG},
    "log_decay must be None where causal is False": {"log_decay": LOG, "causal": False},
    "log_decay must be a floating tensor; got 0.9": {"log_decay": 0.9},
    "log_decay must be on the device of q": {"log_decay": LOG.to("meta")},
    "state must be a LinearState; got Tensor": {"state": Q},
}


@pytest.mark.parametrize("message", CASES)
def test_argument(message):
    given = {"q": Q, "k": Q, "v": Q, **CASES[message]}
    with pytest.raises(ArgumentError, match=message.replace("(", r"\(")) as error:
        linear_attention(given.pop("q"), given.pop("k"), given.pop("v"), **given)
    assert str(error.value).startswith("linear_attention: ")


@pytest.mark.parametrize(
    ("message", "given"),
    [
        ("axis d is 4 in q but 3 in k", {"k": Q[..., :3]}),
        ("axis s is 6 in q but 5 in k", {"k": Q[:, :, :5]}),
        ("axis t is 5 in k but 6 in v", {"k": Q[:, :, :5], "causal": False}),
        ("axis g is 1 in k but 2 in v", {"k": Q[:, :1]}),
        ("v must have the axes", {"v": Q[0]}),
        ("axis s must be positive; got 0", {"q": Q[:, :, :0], "k": Q[:, :, :0], "v": Q[:, :, :0]}),
        ("lengths must be one for each of the 2 rows", {"lengths": [3]}),
        ("log_decay must have the shape", {"log_decay": LOG[..., :5]}),
    ],
)
def test_shape(message, given):
    given = {"q": Q, "k": Q, "v": Q, **given}
    with pytest.raises(ShapeError, match=message):
        linear_attention(given.pop("q"), given.pop("k"), given.pop("v"), **given)


def test_log_factors_must_be_finite():
    with pytest.raises(DataError, match="log_decay must be finite; got nan"):
        linear_attention(Q, Q, Q, log_decay=LOG * float("nan"))


@pytest.mark.parametrize("causal", [True, False])
def test_overflow_is_reported_and_not_passed_on(causal):
    with pytest.raises(NumericalError, match=r"features of keys must stay finite; got inf.*Exp"):
        linear_attention(Q, 0 * Q + 100, Q, feature_map="exp", causal=causal)
    with pytest.raises(NumericalError, match="products of keys and values"):
        linear_attention(Q, Q, Q * float("inf"), causal=causal)


def test_states_of_something_else():
    _, state = linear_attention(Q, Q, Q, return_state=True)
    with pytest.raises(ShapeError, match="state must have the sizes"):
        linear_attention(Q[:1], Q[:1], Q[:1], state=state)
    with pytest.raises(ArgumentError, match="features Relu; got Elu1"):
        linear_attention(Q, Q, Q, feature_map="relu", state=state)
    with pytest.raises(ArgumentError, match="decay scalar; got none"):
        linear_attention(Q, Q, Q, log_decay=LOG, state=state)
    with pytest.raises(ArgumentError, match=r"dtype torch.float64; got torch.float32"):
        linear_attention(Q.double(), Q.double(), Q.double(), state=state)
    with pytest.raises(ArgumentError, match="device cpu; got meta"):
        linear_attention(Q, Q, Q, state=state.to("meta"))
    with pytest.raises(ArgumentError, match=r"merge: state must be a LinearState; got int"):
        state.merge(3)


def test_a_state_of_another_layer_of_the_same_sizes():
    one, two = LinearAttention(8, 2), LinearAttention(8, 2)
    x = torch.zeros(1, 3, 8)
    _, state = one(x, return_state=True)
    for use in (lambda: two(x, state), lambda: two.step(x[:, 0], state)):
        with pytest.raises(ArgumentError, match="state must be of this layer"):
            use()
    with pytest.raises(ArgumentError, match="state must be of this layer"):
        state.merge(two.start(1))


@pytest.mark.parametrize(
    ("message", "given"),
    [
        ("n_heads must divide d_model, 8; got 3", {"n_heads": 3}),
        ("n_heads must be an integer, positive; got 0", {"n_heads": 0}),
        ("d_model must be an integer, positive; got -8", {"d_model": -8}),
        ("head_dim must be an integer, positive; got 2.5", {"head_dim": 2.5}),
        ("value_dim must be an integer, positive; got 0", {"value_dim": 0}),
        ("chunk must be an integer, positive; got 0", {"chunk": 0}),
        ("chunk must be an integer, positive; got 'all'", {"chunk": "all"}),
        ("decay must be one of 'scalar', 'channel'; got 'fast'", {"decay": "fast"}),
        ("decay must be None where causal is False", {"decay": "scalar", "causal": False}),
        ("feature_map must be one of 'elu1'", {"feature_map": 3}),
        ("normalize must be False", {"feature_map": "identity", "normalize": True}),
        (
            "position must be a trivium.position.Position or callable; got 'rotary'",
            {"position": "rotary"},
        ),
    ],
)
def test_layer(message, given):
    with pytest.raises(ArgumentError, match=f"^LinearAttention: {message}"):
        LinearAttention(**{"d_model": 8, "n_heads": 2, **given})


def test_layer_inputs():
    layer = LinearAttention(8, 2)
    with pytest.raises(ArgumentError, match="x must be a floating tensor; got list"):
        layer([1.0])
    with pytest.raises(ArgumentError, match=r"x must be a floating tensor; got torch\.int64"):
        layer.step(torch.zeros(1, 8, dtype=torch.int64), layer.start(1))
    with pytest.raises(ArgumentError, match=r"step: the layer must be causal"):
        LinearAttention(8, 2, causal=False).step(torch.zeros(1, 8))
    with pytest.raises(ArgumentError, match="position must be an integer, non-negative"):
        layer.start(1, -1)
    with pytest.raises(ArgumentError, match="batch_size must be an integer, positive"):
        layer.start(0)


def test_features():
    rows = torch.randn(5, 4)
    with pytest.raises(ArgumentError, match="function must be callable"):
        CallableFeatures(3)
    with pytest.raises(ArgumentError, match="must return shape"):
        linear_attention(Q, Q, Q, feature_map=lambda x: x.sum(-1))
    with pytest.raises(ArgumentError, match="n_features must be an integer, positive"):
        Favor(4, n_features=0)
    with pytest.raises(ArgumentError, match="head_dim must be an integer, positive"):
        Hedgehog(2, 0)
    with pytest.raises(ShapeError, match="x must have 3 heads of dimension 4"):
        linear_attention(Q, Q, Q, feature_map=Hedgehog(3, 4))
    with pytest.raises(ArgumentError, match="fitted must be a fitted FeatureMap"):
        KernelFeatures(Nystroem(kernel=Gaussian(1.0)))
    fitted = Nystroem(kernel=Gaussian(1.0), n_features=3).fit(rows[:, :3])
    with pytest.raises(ShapeError, match="head_dim must be the 3 columns of fit; got 4"):
        linear_attention(Q, Q, Q, feature_map=KernelFeatures(fitted))
    with pytest.raises(ShapeError, match="Favor: x must have heads of dimension 3"):
        linear_attention(Q, Q, Q, feature_map=Favor(3))


def test_state_axes():
    count = torch.zeros(1, dtype=torch.int64)
    with pytest.raises(ShapeError, match="sums must have the axes"):
        LinearState(torch.zeros(2, 2, 3, 4), None, count, "Elu1")
    with pytest.raises(ShapeError, match="log_decay must have the axes"):
        LinearState(torch.zeros(1, 2, 3, 4), torch.zeros(2, 1), count, "Elu1")
    with pytest.raises(ArgumentError, match="index must be whole numbers from 0 to 0"):
        LinearState(torch.zeros(1, 2, 3, 4), None, count, "Elu1").select(torch.tensor([1]))


def test_a_callable_may_be_a_module_and_is_learned():
    layer = LinearAttention(8, 2, feature_map=nn.Sequential(nn.Linear(4, 6), nn.Softplus()))
    assert layer.width == 6
    layer(torch.randn(1, 3, 8)).sum().backward()
    assert layer.features.function[0].weight.grad is not None
