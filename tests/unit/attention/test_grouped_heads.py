"""Heads of queries that share a head of keys, values and state, against heads repeated in full."""

import pytest
import torch
from torch.nn.functional import logsigmoid

from trivium._core.errors import ArgumentError, NumericalError, ShapeError
from trivium.attention import Hedgehog, LinearAttention, features_of, linear_attention
from trivium.moment import prefix

MAPS = ("elu1", "relu", "exp", "identity", "hedgehog", "taylor2", "favor")
HEADS, SHARED = 6, 3


def rows(*shape, seed=0):
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).requires_grad_()


def maps_of(name):
    """Return the map for two heads, and the same one for six."""
    few = features_of("test", name, HEADS // SHARED, 4).double()
    many = features_of("test", name, HEADS, 4).double()
    if name == "hedgehog":
        with torch.no_grad():
            few.weight.add_(rows(2, 4, 4, seed=5))
            few.bias.add_(rows(2, 1, 4, seed=6))
            many.weight.copy_(few.weight.repeat_interleave(SHARED, 0))
            many.bias.copy_(few.bias.repeat_interleave(SHARED, 0))
    return few, many


def each(value):
    return None if value is None else value.repeat_interleave(SHARED, 1)


def near(one, other, limit=1e-12):
    scale = max(1.0, float(other.detach().abs().max()))
    return bool((one - other).detach().abs().max() <= limit * scale)


def twice(q, k, v, chunk, **options):
    """Return output and state of a row and then the same row again."""
    _, state = linear_attention(q, k, v, chunk=chunk, **options, return_state=True)
    return linear_attention(q, k, v, state=state, **options, return_state=True)


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("decay", ["none", "scalar", "channel", "not causal"])
@pytest.mark.parametrize("lengths", [None, [11, 4]])
@pytest.mark.parametrize("grad", [True, False])
def test_is_the_repeated_form(name, decay, lengths, grad):
    q, k, v = rows(2, HEADS, 11, 4), rows(2, 2, 11, 4, seed=1), rows(2, 2, 11, 5, seed=2)
    few, many = maps_of(name)
    shape = {"scalar": (2, 2, 11), "channel": (2, 2, 11, few.width(4))}.get(decay)
    log = None if shape is None else logsigmoid(rows(*shape, seed=3)).detach()
    options = {"causal": decay != "not causal", "lengths": lengths, "chunk": 4}
    with torch.set_grad_enabled(grad):
        out, state = twice(q, k, v, feature_map=few, log_decay=log, **options)
        wanted, whole = twice(q, each(k), each(v), feature_map=many, log_decay=each(log), **options)
    assert near(out, wanted)
    assert state.sums.shape[1] == 2
    assert near(each(state.sums), whole.sums)
    assert log is None or near(each(state.log_decay), whole.log_decay)
    if grad:
        sums = ((out, state.sums), (wanted, whole.sums[:, ::SHARED]))
        found, known = (
            torch.autograd.grad(y.sin().sum() + part.cos().sum(), (q, k, v)) for y, part in sums
        )
        assert all(near(one, other, 1e-11) for one, other in zip(found, known, strict=True))


def test_reads_the_causal_moment_of_its_group():
    q, k, v = (rows(1, h, 7, 4, seed=h).detach().abs() for h in (4, 2, 2))
    out = linear_attention(q, k, v, feature_map=torch.abs)
    for head in range(4):
        states = prefix(k[0, head // 2], v[0, head // 2])
        read = torch.stack([s.read(row) for s, row in zip(states, q[0, head], strict=True)])
        assert (read - out[0, head]).abs().max() <= 1e-12


def repeated(layer):
    """Return a layer of full heads with the weights of a grouped one."""
    shared, d, v = layer.n_heads // layer.n_kv_heads, layer.head_dim, layer.value_dim
    full = LinearAttention(layer.d_model, layer.n_heads, d, v, "hedgehog", layer.decay_given)
    full.double()
    with torch.no_grad():
        groups = layer.projection.weight.unflatten(0, (layer.n_kv_heads, -1))
        queries = groups[:, : shared * d].unflatten(1, (shared, d))
        rest = groups[:, None, shared * d :].expand(-1, shared, -1, -1)
        full.projection.weight.copy_(torch.cat((queries, rest), 2).flatten(0, 2))
        full.output.load_state_dict(layer.output.state_dict())
        for mine, theirs in zip(
            full.features.parameters(), layer.features.parameters(), strict=True
        ):
            mine.copy_(theirs.repeat_interleave(shared, 0))
        if layer.fading is not None:
            per_head = (layer.n_kv_heads, -1)
            for name in ("weight", "bias"):
                given = getattr(layer.fading, name).unflatten(0, per_head)
                getattr(full.fading, name).copy_(given.repeat_interleave(shared, 0).flatten(0, 1))
    return full


@pytest.mark.parametrize("decay", [None, "scalar", "channel"])
def test_the_layer_is_the_layer_of_repeated_heads(decay):
    torch.manual_seed(0)
    layer = LinearAttention(12, 6, 4, 3, Hedgehog(2, 4), decay, n_kv_heads=2).double()
    layer.decay_given = decay
    with torch.no_grad():
        layer.features.weight.add_(rows(2, 4, 4, seed=5))
    full, x = repeated(layer), rows(2, 9, 12).detach()
    out, state = layer(x, lengths=[9, 5], return_state=True)
    wanted, whole = full(x, lengths=[9, 5], return_state=True)
    assert (out - wanted).abs().max() <= 1e-12
    assert state.sums.shape == (2, 2, 8, 4)
    assert whole.sums.numel() == SHARED * state.sums.numel()
    step, after = layer.step(x[:, 0], state)
    assert (step - full.step(x[:, 0], whole)[0]).abs().max() <= 1e-12
    assert after.sums.shape == state.sums.shape
    assert layer.start(2).sums.shape == state.sums.shape
    assert torch.equal(layer.step(x[:, 0], state)[0], layer.step(x[:, 0], state.copy())[0])


def test_as_many_heads_as_queries_is_the_plain_layer():
    torch.manual_seed(0)
    one = LinearAttention(8, 2)
    torch.manual_seed(0)
    two = LinearAttention(8, 2, n_kv_heads=2)
    x = rows(1, 5, 8).detach().float()
    assert torch.equal(one(x), two(x))


def test_parameters_shrink():
    plain, shared = LinearAttention(64, 8), LinearAttention(64, 8, n_kv_heads=1)
    assert plain.projection.weight.numel() == 64 * 3 * 64
    assert shared.projection.weight.numel() == 64 * (64 + 2 * 8)


@pytest.mark.parametrize(
    ("message", "given"),
    [
        ("n_kv_heads must divide n_heads, 4; got 3", 3),
        ("n_kv_heads must divide n_heads, 4; got 8", 8),
        ("n_kv_heads must be an integer, positive; got 0", 0),
        ("n_kv_heads must be an integer, positive; got 1.5", 1.5),
    ],
)
def test_bad_heads(message, given):
    with pytest.raises(ArgumentError, match=f"^LinearAttention: {message}"):
        LinearAttention(8, 4, n_kv_heads=given)


@pytest.mark.parametrize("heads", [3, 4])
def test_bad_heads_of_keys(heads):
    q, k = rows(1, 2, 5, 4), rows(1, heads, 5, 4)
    with pytest.raises(ShapeError, match=f"heads of k and v must divide the 2 of q; got {heads}"):
        linear_attention(q, k, k)


def test_a_state_of_full_heads_is_refused():
    layer = LinearAttention(8, 4, n_kv_heads=2)
    with pytest.raises(ShapeError, match="state must have the sizes"):
        layer(torch.zeros(1, 2, 8), LinearAttention(8, 4).start(1))


def test_an_overflow_is_named_where_gradients_are_kept():
    q, k = rows(1, 2, 5, 4), rows(1, 1, 5, 4).detach().mul(1e6).requires_grad_()
    with pytest.raises(NumericalError, match="features of keys must stay finite; got inf"):
        linear_attention(q, k, k, feature_map="exp")
