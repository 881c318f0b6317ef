"""The state: merge, file, selection; the layer: steps, positions, training, copies."""

import copy

import pytest
import torch

from trivium._core.errors import ModelError
from trivium._core.tensor_file import write_tensors
from trivium.attention import AttentionState, Favor, LinearAttention, LinearState, linear_attention
from trivium.moment import prefix


def rows(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def test_is_the_causal_moment_step_by_step():
    q, k, v = rows(3, 1, 1, 7, 4).abs()
    out, state = linear_attention(q, k, v, feature_map=torch.abs, return_state=True)
    states = list(prefix(k[0, 0], v[0, 0]))
    read = torch.stack([s.read(row) for s, row in zip(states, q[0, 0], strict=True)])
    assert (read - out[0, 0]).abs().max() <= 1e-12
    assert (states[-1].products - state.products[0, 0]).abs().max() <= 1e-12
    assert (states[-1].mass - state.mass[0, 0]).abs().max() <= 1e-12


@pytest.mark.parametrize("decay", [None, "scalar", "channel"])
def test_file(tmp_path, decay):
    layer = LinearAttention(8, 2, decay=decay)
    x = rows(2, 6, 8, dtype=torch.float32)
    _, state = layer(x, layer.start(2, 5), lengths=[6, 3], return_state=True)
    state.save(tmp_path / "s")
    back = LinearState.load(tmp_path / "s")
    assert isinstance(back, AttentionState)
    assert back.position.tolist() == [11, 8]
    assert repr(back) == repr(state)
    assert torch.equal(layer(x, back), layer(x, state))


def test_damaged_files(tmp_path):
    count = torch.zeros(1, dtype=torch.int64)
    right = {"sums": torch.zeros(1, 2, 3, 4), "count": count, "origin": count}
    wrong = {
        "sums must be finite": right | {"sums": right["sums"] / 0},
        "sums must be": right | {"sums": count},
        "log_decay must be": right | {"log_decay": torch.zeros(1, 2) / 0},
        "count must be": {"sums": right["sums"], "origin": count},
        "origin must be": right | {"origin": torch.zeros(1)},
        "sums must have the axes": right | {"count": count.repeat(2), "origin": count.repeat(2)},
        "log_decay must have": right | {"log_decay": torch.zeros(2, 2)},
        "count and origin must be": right | {"origin": count - 1},
    }
    for message, tensors in wrong.items():
        write_tensors("test", tmp_path / "s", "trivium.linear_state/1", tensors, {"features": "E"})
        with pytest.raises(ModelError, match=message):
            LinearState.load(tmp_path / "s")
    write_tensors("test", tmp_path / "s", "trivium.linear_state/1", right, {})
    with pytest.raises(ModelError, match="features must be a text"):
        LinearState.load(tmp_path / "s")
    write_tensors("test", tmp_path / "s", "trivium.moments/1", right, {"features": "E"})
    with pytest.raises(ModelError, match=r"must hold trivium\.linear_state/1"):
        LinearState.load(tmp_path / "s")


def test_select_follows_beams():
    layer = LinearAttention(8, 2, decay="channel").double()
    x = rows(3, 5, 8)
    _, state = layer(x, return_state=True)
    picked = state.select(torch.tensor([2, 0, 2]))
    token = rows(3, 8, seed=1)
    wanted = layer(torch.cat((x[[2, 0, 2]], token[:, None]), 1))[:, -1]
    assert (layer.step(token, picked)[0] - wanted).abs().max() <= 1e-12


def test_detach_cuts_the_history():
    layer = LinearAttention(8, 2, decay="scalar")
    x = rows(1, 5, 8, dtype=torch.float32).requires_grad_()
    _, state = layer(x, return_state=True)
    assert state.sums.requires_grad
    cut = state.detach()
    assert not cut.sums.requires_grad
    assert not cut.log_decay.requires_grad
    assert state.sums.requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_state_dtype(dtype):
    layer = LinearAttention(8, 2, decay="scalar").to(dtype)
    out, state = layer(rows(1, 5, 8, dtype=dtype), return_state=True)
    again, state = layer.step(out[:, -1], state)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert (out.dtype, again.dtype, state.sums.dtype) == (dtype, dtype, wide)


def test_positions_go_on_where_the_state_ends():
    seen = []

    def note(x, positions):
        seen.append(positions.tolist())
        return x

    layer = LinearAttention(8, 2, position=note)
    x = rows(2, 3, 8, dtype=torch.float32)
    _, state = layer(x, layer.start(2, 4), lengths=[3, 1], return_state=True)
    layer.step(x[:, 0], state)
    assert seen[0] == [[4, 5, 6]] * 2
    assert seen[-1] == [[7], [5]]


def test_copies_own_their_states():
    layer = LinearAttention(8, 2)
    _, state = layer(rows(1, 3, 8, dtype=torch.float32), return_state=True)
    twin = copy.deepcopy(layer)
    assert twin._token is not layer._token
    assert state.owner is layer._token


def test_decay_starts_with_a_spread_of_half_lives():
    layer = LinearAttention(8, 4, decay="scalar")
    lives = -torch.log(torch.tensor(2.0)) / torch.nn.functional.logsigmoid(layer.fading.bias)
    assert torch.allclose(lives, torch.tensor([8.0, 32.0, 128.0, 512.0]), rtol=1e-3)


@pytest.mark.parametrize("feature_map", ["favor", "hedgehog"])
def test_a_saved_layer_is_the_same_layer(feature_map):
    one = LinearAttention(8, 2, feature_map=feature_map)
    two = LinearAttention(8, 2, feature_map=feature_map)
    two.load_state_dict(one.state_dict())
    x = rows(1, 4, 8, dtype=torch.float32)
    assert torch.equal(one(x), two(x))


def test_favor_is_unbiased():
    """The mean over 400 seeds is within 5 standard errors; exp(qᵀk) without √d is not."""
    q, k = 0.7 * rows(2, 1, 1, 1, 8).abs()
    exact = ((q * k).sum() / 8**0.5).exp()
    maps = [Favor(8, 16, seed) for seed in range(400)]
    found = torch.stack([(phi(q) * phi(k)).sum() for phi in maps])
    error = found.std() / 20
    assert (found.mean() - exact).abs() <= 5 * error
    assert (found.mean() - (q * k).sum().exp()).abs() > 5 * error


def test_it_learns_to_recall():
    """A layer with decay finds the value that followed a marked token."""
    torch.manual_seed(0)
    layer = torch.nn.Sequential(
        torch.nn.Linear(5, 16), LinearAttention(16, 2, decay="scalar"), torch.nn.Linear(16, 4)
    )
    optimizer = torch.optim.Adam(layer.parameters(), 1e-2)
    losses = []
    for _ in range(200):
        code = torch.randint(4, (32,))
        x = torch.zeros(32, 12, 5)
        place = torch.randint(8, (32,))
        x[torch.arange(32), place, code] = 1
        x[torch.arange(32), place, 4] = 1
        loss = torch.nn.functional.cross_entropy(layer(x)[:, -1], code)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] > 1.2
    assert sum(losses[-10:]) / 10 < 0.2
