"""Softmax attention: torch's own layer, heads, masks, padding, the cache, and every refusal."""

import copy

import pytest
import torch

from trivium._core.errors import ArgumentError, ModelError, ShapeError
from trivium._core.tensor_file import write_tensors
from trivium.attention import Attention, AttentionState, KeyValueState
from trivium.position import Linear, NoPosition, Shaw, Sinusoidal, packed

OFFSETS, VECTORS = Linear(2), Shaw(4, 3)  # the path by a table, and the one by weights
EACH = pytest.mark.parametrize(
    "position", [None, Sinusoidal(8), OFFSETS, VECTORS], ids=lambda p: type(p).__name__
)


def rows(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def made(*sizes, **options):
    torch.manual_seed(0)
    return Attention(*sizes, **options).double()


# ---- values ---------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("causal", [True, False])
def test_is_multihead_attention_of_torch(bias, causal):
    layer = made(12, 3, causal=causal, bias=bias)
    twin = torch.nn.MultiheadAttention(12, 3, bias=bias, batch_first=True).double()
    with torch.no_grad():
        twin.in_proj_weight.copy_(layer.projection.weight)
        twin.out_proj.weight.copy_(layer.output.weight)
        if bias:
            twin.in_proj_bias.copy_(layer.projection.bias.normal_())
            twin.out_proj.bias.copy_(layer.output.bias.normal_())
    x, lengths = rows(3, 7, 12), torch.tensor([7, 4, 1])
    hidden = torch.ones(7, 7, dtype=torch.bool).triu(1) if causal else None
    padding = torch.arange(7) >= lengths[:, None]
    wanted, _ = twin(x, x, x, attn_mask=hidden, need_weights=False)
    assert (layer(x) - wanted).abs().max() <= 1e-14
    wanted, _ = twin(x, x, x, padding, attn_mask=hidden, need_weights=False)
    wanted = wanted.masked_fill(padding[..., None], 0)
    assert (layer(x, lengths=lengths) - wanted).abs().max() <= 1e-14


@EACH
@pytest.mark.parametrize("causal", [True, False])
def test_grouped_heads_are_repeated_heads(position, causal):
    one = made(8, 2, position, causal, n_kv_heads=1)
    full = made(8, 2, copy.deepcopy(position), causal)
    with torch.no_grad():
        q, k, v = one.projection.weight.split((8, 4, 4))
        full.projection.weight.copy_(torch.cat((q, k, k, v, v)))
        full.output.weight.copy_(one.output.weight)
    x = rows(2, 6, 8)
    for options in ({}, {"lengths": [6, 3]}):
        assert (one(x, **options) - full(x, **options)).abs().max() <= 1e-14
    assert one(x, return_state=True)[1].keys.shape == (2, 1, 6, 4)


def test_heads_of_other_sizes():
    layer = made(6, 3, head_dim=4, value_dim=5, n_kv_heads=1)
    assert layer.projection.weight.shape == (3 * 4 + 4 + 5, 6)
    assert layer.output.weight.shape == (6, 15)
    assert layer(rows(2, 4, 6)).shape == (2, 4, 6)


@EACH
def test_pairs_by_hand(position):
    """Which query attends to which key, causal or not, and with padding."""
    x, generator = rows(2, 6, 8), torch.Generator().manual_seed(1)
    pairs = torch.rand(2, 6, 6, generator=generator) < 0.5
    pairs[0, 3] = False  # a query that attends to nothing
    for causal in (True, False):
        layer = made(8, 2, position, causal)
        found = layer(x, keep=pairs)
        assert (found[0, 3] == 0).all()
        for b in range(2):
            for n in range(6):
                kept = pairs[b, n] & (torch.arange(6) <= n) if causal else pairs[b, n]
                if not kept.any():
                    assert (found[b, n] == 0).all()
                    continue
                at = torch.cat((kept.nonzero().flatten(), torch.tensor([n])))
                # The query stands last, a pair with itself only where it is one of the kept.
                own = torch.ones(1, len(at), len(at), dtype=torch.bool)
                own[..., -1] = False
                free = made(8, 2, position, causal=False)
                alone = free(x[b : b + 1, at], keep=own, positions=at)
                assert (alone[0, -1] - found[b, n]).abs().max() <= 1e-13
        lengths = [6, 4]
        padded = layer(x, keep=pairs, lengths=lengths)
        inside = pairs & (torch.arange(6) < torch.tensor(lengths)[:, None])[:, None]
        wanted = layer(x, keep=inside)
        assert (padded[0] - wanted[0]).abs().max() <= 1e-14
        assert (padded[1, :4] - wanted[1, :4]).abs().max() <= 1e-14
        assert (padded[1, 4:] == 0).all()


@EACH
def test_packed_documents_go_on_from_the_cache(position):
    """A packed row cut in two: pairs of the second call name the keys of the first."""
    layer = made(8, 2, position)
    parts, x = [2, 3, 3], rows(1, 8, 8)
    keep, at = packed(parts)
    whole = layer(x, keep=keep, positions=at)
    alone = torch.cat([layer(part) for part in x.split(parts, 1)], 1)
    assert (whole - alone).abs().max() <= 1e-13
    first, state = layer(x[:, :4], keep=keep[:, :4, :4], positions=at[:, :4], return_state=True)
    rest = layer(x[:, 4:], state, keep=keep[:, 4:], positions=at[:, 4:])
    assert (torch.cat((first, rest), 1) - whole).abs().max() <= 1e-13


@EACH
def test_dropout_is_drawn_from_the_seed_in_training_only(position):
    layer, x = made(8, 2, position, dropout=0.5), rows(2, 6, 8)
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(layer(x))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert (layer.eval()(x) - made(8, 2, position)(x)).abs().max() <= 1e-15
    torch.manual_seed(0)
    layer.train()
    mean = layer(x[:1].expand(3000, 6, 8)).mean(0)
    assert (mean - layer.eval()(x)[0]).abs().max() <= 0.1


# ---- the cache ------------------------------------------------------------------------------


@EACH
def test_file(tmp_path, position):
    layer, x = made(8, 2, position), rows(2, 5, 8)
    keep = torch.tensor([[False, True, True, True, True], [True] * 5])
    for options in ({}, {"lengths": [5, 3]}, {"keep": keep}):
        _, state = layer(x, layer.start(2, 4), return_state=True, **options)
        state.save(tmp_path / "s")
        back = KeyValueState.load(tmp_path / "s")
        assert isinstance(back, AttentionState)
        assert repr(back) == repr(state)
        assert back.position.tolist() == state.position.tolist()
        assert torch.equal(layer(x, back), layer(x, state))
        assert back.owner is None  # a layer does not take what it is given for its own


def test_damaged_files(tmp_path):
    count = torch.zeros(1, dtype=torch.int64)
    heads = torch.zeros(1, 2, 3, 4)
    right = {"keys": heads, "values": heads, "at": torch.arange(3), "count": count}
    right["origin"] = count
    wrong = {
        "keys must be finite": right | {"keys": heads / 0},
        "values must be finite": right | {"values": count},
        "at must be": right | {"at": heads},
        "keep must be": right | {"keep": count},
        "count must be": {name: x for name, x in right.items() if name != "count"},
        "keys and values must have the axes": right | {"at": torch.arange(4)},
        "keep must have the shape": right | {"keep": torch.ones(1, 4, dtype=torch.bool)},
    }
    for message, tensors in wrong.items():
        write_tensors("test", tmp_path / "s", "trivium.key_value_state/1", tensors, {})
        with pytest.raises(ModelError, match=message):
            KeyValueState.load(tmp_path / "s")
    write_tensors("test", tmp_path / "s", "trivium.linear_state/1", right, {})
    with pytest.raises(ModelError, match=r"must hold trivium\.key_value_state/1"):
        KeyValueState.load(tmp_path / "s")


@EACH
@pytest.mark.parametrize("lengths", [None, [5, 2, 4]])
def test_select_follows_beams(position, lengths):
    layer, x, token = made(8, 2, position), rows(3, 5, 8), rows(3, 8, seed=1)
    _, state = layer(x, lengths=lengths, return_state=True)
    picked = state.select(torch.tensor([2, 0, 2]))
    found, after = layer.step(token, picked)
    for row, source in enumerate((2, 0, 2)):
        n = 5 if lengths is None else lengths[source]
        alone = torch.cat((x[source, :n], token[row : row + 1]))[None]
        assert (found[row] - layer(alone)[0, -1]).abs().max() <= 1e-13
        assert after.count[row] == n + 1
    for wrong in (torch.tensor([3]), torch.tensor([-1]), torch.tensor([0.0]), torch.tensor(0)):
        with pytest.raises(ArgumentError, match=r"select: index must be whole numbers from 0 to 2"):
            state.select(wrong)


def test_detach_cuts_the_history():
    layer, x = made(8, 2), rows(1, 4, 8).requires_grad_()
    _, state = layer(x, return_state=True)
    cut = state.detach()
    out = layer(rows(1, 2, 8, seed=1), cut).sum()
    assert torch.autograd.grad(out, x, allow_unused=True) == (None,)
    out = layer(rows(1, 2, 8, seed=1), state).sum()
    assert torch.autograd.grad(out, x)[0].abs().max() > 0


def test_states_join_and_move():
    layer, x = made(8, 2, Sinusoidal(8)), rows(2, 7, 8)
    parts = [
        layer(x[:, lo:hi], layer.start(2, lo), return_state=True)[1]
        for lo, hi in ((0, 2), (2, 3), (3, 7))
    ]
    joined = sum(parts)
    assert len(joined) == 7
    assert repr(joined) == "KeyValueState(2 × 2 heads of 4 and 4, [7, 7] tokens, torch.float64)"
    wanted = layer(x, return_state=True)[1]
    assert torch.equal(joined.to("cpu").mask(), wanted.mask())
    assert (layer(x, joined) - layer(x, wanted)).abs().max() <= 1e-13
    assert joined.to("meta").keys.is_meta


def test_copies_own_their_states():
    layer, x = made(8, 2), rows(1, 4, 8)
    _, state = layer(x, return_state=True)
    twin = copy.deepcopy(layer)
    with pytest.raises(ArgumentError, match="state must be of this layer; got one of another"):
        twin(x, state)


# ---- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "given"),
    [
        ("d_model must be an integer, positive; got 0", {"d_model": 0}),
        ("n_heads must be an integer, positive; got 1.5", {"n_heads": 1.5}),
        ("n_heads must divide d_model, 8; got 3. Or give head_dim", {"n_heads": 3}),
        ("head_dim must be an integer, positive; got -1", {"head_dim": -1}),
        ("value_dim must be an integer, positive; got 0", {"value_dim": 0}),
        ("n_kv_heads must be an integer, positive; got 0", {"n_kv_heads": 0}),
        ("n_kv_heads must divide n_heads, 4; got 3", {"n_heads": 4, "n_kv_heads": 3}),
        ("dropout must be a number, in .0, 1.; got 1.2", {"dropout": 1.2}),
        ("position must be a trivium.position.Position; got 'rotary'", {"position": "rotary"}),
        ("position must be a trivium.position.Position; got <class", {"position": NoPosition}),
    ],
)
def test_layers_that_cannot_be(message, given):
    with pytest.raises(ArgumentError, match=f"^Attention: {message}"):
        Attention(**({"d_model": 8, "n_heads": 2} | given))


TRUE = torch.ones(2, 5, dtype=torch.bool)


@pytest.mark.parametrize(
    ("error", "message", "given"),
    [
        (ArgumentError, "keep must be a boolean tensor on cpu; got torch.float32", TRUE.float()),
        (ArgumentError, "keep must be a boolean tensor on cpu; got 1", 1),
        (ShapeError, r"keep must have the shape \(2, 5\) for tokens or \(2, 5, 5\)", TRUE[:1]),
        (ShapeError, r"keep must have the shape .*; got \(3, 5, 5\)", TRUE[0].expand(3, 5, 5)),
    ],
)
def test_keep_that_does_not_fit(error, message, given):
    with pytest.raises(error, match=message):
        made(8, 2)(rows(2, 5, 8), keep=given)


@pytest.mark.parametrize(
    ("error", "message", "given"),
    [
        (ArgumentError, "positions must be whole numbers; got torch.float32", torch.rand(5)),
        (ArgumentError, "positions must be whole numbers; got 'now'", "now"),
        (ShapeError, r"positions must have the shape \(5,\) or \(2, 5\); got \(4,\)", range(4)),
        (ShapeError, r"positions must have the shape .*; got \(1, 5\)", [list(range(5))]),
    ],
)
def test_positions_that_do_not_fit(error, message, given):
    given = list(given) if isinstance(given, range) else given
    with pytest.raises(error, match=message):
        made(8, 2)(rows(2, 5, 8), positions=given)


def test_calls_that_cannot_be():
    layer, x = made(8, 2), rows(2, 5, 8)
    with pytest.raises(ArgumentError, match=r"keep must be pairs \(b, s, t\) beside lengths"):
        layer(x, keep=TRUE, lengths=[5, 5])
    with pytest.raises(ArgumentError, match=r"x must be a floating tensor; got torch\.int64"):
        layer(x.long())
    with pytest.raises(ArgumentError, match="the layer must be causal; got causal=False"):
        made(8, 2, causal=False).step(x[:, 0])
    with pytest.raises(ArgumentError, match=r"state must have the dtype torch\.float64; got"):
        layer(x, Attention(8, 2).start(2))
    with pytest.raises(ShapeError, match="state must have the sizes"):
        layer(x, layer.start(3))
    with pytest.raises(ArgumentError, match="batch_size must be an integer, positive; got 0"):
        layer.start(0)
    with pytest.raises(ArgumentError, match="position must be an integer, non-negative; got -1"):
        layer.start(1, -1)
    with pytest.raises(ArgumentError, match="state must be a KeyValueState; got int"):
        layer.start(1).merge(3)
    with pytest.raises(TypeError):
        1 + layer.start(1)


def test_scores_of_an_offset_are_asked_where_it_has_its_own():
    """A subclass that adds to the bias is not bypassed by the table of its curve."""

    class More(Linear):
        def score(self, q, k, i, j, keep):
            bias = super().score(q, k, i, j, keep)
            return bias + (j == 0).to(q.dtype)[..., None, None, :]

    x = rows(2, 6, 8)
    plain, more = made(8, 2, Linear(2)), made(8, 2, More(2))
    at = torch.arange(6).expand(2, 6)
    assert (more(x) - more(x, positions=at)).abs().max() <= 1e-14
    assert (more(x) - plain(x)).abs().max() > 1e-3
