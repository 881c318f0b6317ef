"""H of heads against scores, H of losses against the dense Hessian of autograd."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from trivium._core.errors import ArgumentError, ShapeError
from trivium.sinusoid import LossHessian, head_hessian, hessian


class Decoder(nn.Module):
    """A causal model with learned positions, three layers deep if asked for."""

    def __init__(self, n: int, d: int, n_heads: int, n_layers: int, vocabulary: int = 11) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(vocabulary, d), nn.Embedding(n, d)
        layer = nn.TransformerEncoderLayer(
            d, n_heads, 4 * d, dropout=0.3, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, n_layers, enable_nested_tensor=False)
        self.head = nn.Linear(d, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        z = self.token(x) + self.position(torch.arange(x.shape[1]))
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=z.dtype)
        return self.head(self.layers(z, mask=mask, is_causal=True))


def decoder(n: int = 5, d: int = 4, n_heads: int = 2, n_layers: int = 1) -> Decoder:
    torch.manual_seed(0)
    return Decoder(n, d, n_heads, n_layers).double()


TOKENS = torch.randint(0, 11, (3, 5), generator=torch.Generator().manual_seed(1))


def loss(net: Callable[..., Tensor]) -> Tensor:
    return cross_entropy(net(TOKENS)[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten())


def dense(model: Decoder, at: Tensor) -> Tensor:
    """The whole Hessian, by moving the table itself."""

    def function(table: Tensor) -> Tensor:
        found = torch.func.functional_call(model, {"position.weight": table}, (TOKENS,))
        return cross_entropy(found[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten())

    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            return torch.autograd.functional.hessian(function, at)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
        model.train()


@pytest.mark.parametrize("batched", [True, False])
def test_the_loss_has_the_dense_hessian(batched: bool) -> None:
    model = decoder()
    P = model.position.weight.detach()
    whole = dense(model, P)
    found = hessian(model, loss, "position")
    found._together = batched
    assert (found.n_positions, found.width) == (5, 4)
    assert torch.allclose(found.terms(P), torch.einsum("md,mdne,ne->mn", P, whole, P), atol=1e-12)
    other = torch.randn_like(P)
    mixed = torch.einsum("md,mdne,ne->mn", P, whole, other)
    assert torch.allclose(found.terms(P, other), mixed, atol=1e-12)
    for m, n in ((3, 1), (1, 3), (2, 2)):
        assert torch.allclose(found.block(m, n), whole[m, :, n], atol=1e-12)
    v = torch.randn(20, 5, 4, dtype=torch.float64)
    assert torch.allclose(found.product(v), torch.einsum("mdne,kne->kmd", whole, v), atol=1e-12)
    assert found.product(v[:0]).shape == (0, 5, 4)
    pairs = [whole[m, :, n] for m in range(5) for n in range(5) if m != n]
    exact = torch.stack(pairs).mean(0)
    assert torch.allclose(found.mean(None), exact, atol=1e-12)
    assert not torch.allclose(found.mean(None), whole.sum((0, 2)) / 25, atol=1e-6)  # with m = n
    few = [found.mean(1, random_state=seed) for seed in range(40)]
    assert torch.allclose(torch.stack(few).mean(0), exact, atol=0.3 * float(exact.abs().max()))
    assert model.training  # as it was
    assert found.value == pytest.approx(loss(model.eval()).item(), abs=1e-12)
    assert found.gradient.shape == (5, 4)


def test_the_origin_is_where_derivatives_are_taken() -> None:
    model = decoder()
    P = model.position.weight.detach()
    zero = hessian(model, loss, model.position, origin=-P)
    assert torch.allclose(
        zero.terms(P), torch.einsum("md,mdne,ne->mn", P, dense(model, 0 * P), P), atol=1e-12
    )
    assert not torch.allclose(zero.terms(P), hessian(model, loss, "position").terms(P), atol=1e-9)


def test_a_batched_output_takes_the_vectors_in_every_row() -> None:
    """After the sum with tokens the derivative is the same one."""
    model = decoder()
    model.sum = nn.Identity()
    model.forward = lambda x: model.head(model.layers(model.sum(  # type: ignore[method-assign]
        model.token(x) + model.position(torch.arange(x.shape[1])))))  # fmt: skip
    P = model.position.weight.detach()
    one, two = (hessian(model, loss, at).terms(P) for at in ("sum", "position"))
    assert torch.allclose(one, two, atol=1e-13)


def test_a_linear_loss_has_none() -> None:
    model = nn.Sequential(nn.Embedding(3, 2))
    found = hessian(model, lambda net: net(torch.arange(3)).sum(), "0")
    assert found.terms(torch.ones(3, 2)).eq(0).all()
    assert found.mean(None).eq(0).all()


def scores_of(model: nn.Module, x: Tensor) -> list[Tensor]:
    """q kᵀ of each call to torch's attention."""
    seen = []
    real = torch.nn.functional.scaled_dot_product_attention

    def spy(q: Tensor, k: Tensor, v: Tensor, *more: Any, **options: Any) -> Tensor:
        seen.append(q @ k.mT)
        return real(q, k, v, *more, **options)

    torch.nn.functional.scaled_dot_product_attention = spy
    try:
        model(x)
    finally:
        torch.nn.functional.scaled_dot_product_attention = real
    return seen


def test_heads_of_torchs_layer_give_its_scores() -> None:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(8, 2, batch_first=True, bias=False)
    x = torch.randn(1, 5, 8)
    (found,) = hessian(layer).values()
    seen = scores_of(lambda y: layer(y, y, y, need_weights=False), x)[0]
    assert torch.allclose((x @ found @ x.mT), seen[0], atol=1e-5)
    three = hessian(decoder(n_layers=3))
    assert list(three) == [f"layers.layers.{i}.self_attn" for i in range(3)]
    apart = nn.MultiheadAttention(8, 2, vdim=5, bias=False)
    assert hessian(apart)["MultiheadAttention"].shape == (2, 8, 8)


class SideBySide(nn.Module):
    def __init__(self, names: tuple[str, str], heads: dict[str, Any], groups: int = 2) -> None:
        super().__init__()
        for name, rows in zip(names, (8, 4 * groups), strict=True):
            setattr(self, name, nn.Linear(6, rows, bias=False))
        self.names = names
        for name, value in heads.items():
            setattr(self, name, value)


@pytest.mark.parametrize(
    ("names", "heads", "groups"),
    [
        (("q_proj", "k_proj"), {"config": type("C", (), {"num_attention_heads": 2})()}, 1),
        (("q_proj", "k_proj"), {"head_dim": 4}, 2),
        (("query", "key"), {"num_attention_heads": 2}, 2),
        (("q", "k"), {"n_heads": 2}, 1),
    ],
)
def test_heads_under_usual_names(names: tuple[str, str], heads: dict, groups: int) -> None:
    torch.manual_seed(0)
    layer = SideBySide(names, heads, groups)
    x = torch.randn(5, 6)
    q = getattr(layer, names[0])(x).unflatten(1, (2, 4)).transpose(0, 1)
    k = getattr(layer, names[1])(x).unflatten(1, (groups, 4)).transpose(0, 1)
    assert torch.allclose(x @ hessian(layer)["SideBySide"] @ x.mT, q @ k.mT, atol=1e-5)


class Conv1D(nn.Module):
    """As transformers' GPT-2 has it: inputs first."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 24))


@pytest.mark.parametrize("name", ["c_attn", "qkv", "projection", "query_key_value"])
def test_heads_of_fused_layers(name: str) -> None:
    torch.manual_seed(0)
    layer = nn.Module()
    layer.n_heads = 2
    setattr(layer, name, Conv1D() if name == "c_attn" else nn.Linear(8, 24, bias=False))
    x = torch.randn(5, 8)
    fused = getattr(layer, name).weight
    y = x @ fused if name == "c_attn" else x @ fused.mT
    if name == "query_key_value":
        q, k, _ = y.unflatten(1, (2, 3, 4)).unbind(2)
    else:
        q, k, _ = y.unflatten(1, (3, 2, 4)).unbind(1)
    wanted = q.transpose(0, 1) @ k.transpose(0, 1).mT
    assert torch.allclose(x @ hessian(layer)["Module"] @ x.mT, wanted, atol=1e-5)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("kind", ["Attention", "LinearAttention"])
def test_heads_of_triviums_layers_give_their_scores(kind: str, groups: int) -> None:
    from trivium import attention

    torch.manual_seed(0)
    layer = getattr(attention, kind)(8, 4, head_dim=3, n_kv_heads=groups)
    x = torch.randn(1, 5, 8)
    # Scores of the layer itself, whatever the order of its rows: those of its queries and keys.
    given = (x,) if kind == "Attention" else (x, torch.arange(5))
    q, k = layer._projected(*given)[:2]
    wanted = (q @ k.repeat_interleave(4 // groups, 1).mT)[0]
    assert torch.allclose(x[0] @ hessian(layer)[kind] @ x[0].mT, wanted, atol=1e-5)


def test_heads_of_a_fused_layer_that_are_shared() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 8)
    grouped = nn.Module()  # four heads of queries, two of keys and values
    grouped.n_heads, grouped.n_kv_heads, grouped.head_dim = 4, 2, 3
    grouped.projection = nn.Linear(8, 24)
    q, k, _ = (x @ grouped.projection.weight.mT).split([12, 6, 6], 1)
    q, k = (each.unflatten(1, (-1, 3)).transpose(0, 1) for each in (q, k))
    wanted = q @ k.repeat_interleave(2, 0).mT
    assert torch.allclose(x @ hessian(grouped)["Module"] @ x.mT, wanted, atol=1e-5)


class Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return 2 * g * ctx.saved_tensors[0]


class OnceOnly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(3, 2)

    def forward(self) -> Tensor:
        return Fused.apply(self.table(torch.arange(3))).sum()


def test_fused_attention_is_differentiated_twice() -> None:
    """Its CPU kernel has no second derivative; the layer is told to take the other path."""
    table = nn.Embedding(4, 8)

    def attend(net: nn.Module) -> Tensor:
        x = net(torch.arange(4)).unflatten(1, (2, 4)).transpose(0, 1)[None]
        return scaled_dot_product_attention(x, x, x).square().sum()

    model = nn.Sequential(table)
    assert hessian(model, attend, "0").terms(table.weight).abs().max() > 0


class Cube(torch.autograd.Function):
    """x³ whose second backward pass looks at a number, which cannot be done for a batch."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return CubeSlope.apply(ctx.saved_tensors[0], g)


class CubeSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, g: Tensor) -> Tensor:
        ctx.save_for_backward(x, g)
        return 3 * x**2 * g

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor, Tensor]:
        x, g = ctx.saved_tensors
        assert v.sum().item() is not None
        return 6 * x * g * v, 3 * x**2 * v


def test_products_that_cannot_be_batched_are_made_one_by_one() -> None:
    table = nn.Embedding(3, 2)
    found = hessian(nn.Sequential(table), lambda net: Cube.apply(net(torch.arange(3))).sum(), "0")
    v = torch.randn(4, 3, 2)
    assert torch.allclose(found.product(v), 6 * table.weight * v, atol=1e-5)
    assert not found._together


class Hidden(nn.Module):
    """A loss that makes its own gradient: one of two terms has no second derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(3, 2)

    def forward(self, share: float) -> Tensor:
        x = self.table(torch.arange(3))
        return share * Fused.apply(x).sum() + (1 - share) * x.square().sum()


def test_a_hidden_second_derivative_is_seen_by_differences() -> None:
    model = Hidden()
    gaps = [hessian(model, lambda net, a=a: net(a), "table").gap() for a in (0.0, 0.25)]
    assert gaps[0] < 1e-3
    assert gaps[1] == pytest.approx(0.25, abs=1e-3)
    assert hessian(decoder(), loss, "position").gap(1e-4) < 1e-5


def flash(net: Callable[..., Tensor]) -> Tensor:
    """The kernel without a second derivative, insisted on."""
    x = net(torch.arange(3))[None, None]
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.FLASH_ATTENTION):
        return scaled_dot_product_attention(x, x, x).square().sum()


def two(net: Callable[..., Tensor]) -> Tensor:
    return net(TOKENS) + net(TOKENS)


CASES: list[tuple[Any, type[Exception], str]] = [
    (lambda: hessian(nn.Linear(2, 2)), ArgumentError, "model must hold attention layers"),
    (lambda: hessian(nn.MultiheadAttention(8, 2, kdim=5)), ArgumentError, "found none in M"),
    (lambda: hessian(decoder(), loss), ArgumentError, "loss and at must be given together"),
    (lambda: hessian(decoder(), at="position"), ArgumentError, "loss and at must be given"),
    (lambda: hessian(decoder(), loss, "nothing"), ArgumentError, "at must be a module of the"),
    (lambda: hessian(decoder(), loss, nn.Linear(1, 1)), ArgumentError, "at must be a module of"),
    (lambda: hessian(decoder(), two, "position"), ArgumentError, "vectors .* once a call"),
    (lambda: hessian(nn.ModuleDict({"a": nn.LSTM(2, 2)}), lambda net: net["a"](torch.ones(3, 2)),
                     "a"), ArgumentError, r"LSTM gave \['tuple'\]|a gave \['tuple'\]"),
    (lambda: hessian(decoder(), lambda net: net(TOKENS), "position"), ArgumentError, "one number"),
    (lambda: hessian(decoder(), lambda net: net(TOKENS).detach().sum(), "position"),
     ArgumentError, "one number that depends"),
    (lambda: hessian(decoder(), loss, "position", torch.zeros(2, 4)), ShapeError, "origin must"),
    (lambda: hessian(OnceOnly(), lambda net: net(), "table"), ArgumentError, "second derivative"),
    (lambda: found().gap(0.0), ArgumentError, "step must be a number, positive"),
    (lambda: hessian(OnceOnly(), lambda net: net().exp(), "table"), ArgumentError, "second der"),
    (lambda: hessian(nn.Sequential(nn.Embedding(3, 8)), flash, "0").block(0, 1),
     ArgumentError, "second derivative; derivative for"),
    (lambda: found().block(5, 0), ArgumentError, "m must be below 5; got 5"),
    (lambda: found().block(0, -1), ArgumentError, "n must be an integer, non-negative"),
    (lambda: found().mean(0), ArgumentError, "n_splits must be an integer, positive"),
    (lambda: found().terms(torch.ones(4, 4)), ShapeError, "axis 5 is 5"),
    (lambda: found().product(torch.ones(5, 4)), ShapeError, "vectors must have the axes"),
    (lambda: single().mean(), ShapeError, "two positions are needed"),
    (lambda: head_hessian(torch.ones(8, 4), torch.ones(8, 5), 2), ShapeError, "axis d is 4"),
    (lambda: head_hessian(torch.ones(8, 4), torch.ones(4, 4), 2), ShapeError, "heads of query"),
    (lambda: head_hessian(torch.ones(8, 4), torch.ones(8, 4), 3), ArgumentError, "must divide the"),
    (lambda: head_hessian(torch.ones(8, 4), torch.ones(8, 4), 0), ArgumentError, "n_heads must be"),
]  # fmt: skip


def found() -> LossHessian:
    return hessian(decoder(), loss, "position")


def single() -> LossHessian:
    model = nn.Sequential(nn.Embedding(1, 2))
    return hessian(model, lambda net: net(torch.arange(1)).square().sum(), "0")


@pytest.mark.parametrize(("call", "error", "said"), CASES)
def test_bad_input_is_refused(call: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        call()


def test_three_layers_take_under_five_seconds() -> None:
    import time

    from trivium.sinusoid import relativity, toeplitz_share

    torch.manual_seed(0)
    model = Decoder(64, 64, 4, 3)
    x = torch.randint(0, 11, (4, 64))
    P = model.position.weight

    def long(net: Callable[..., Tensor]) -> Tensor:
        return cross_entropy(net(x)[:, :-1].flatten(0, 1), x[:, 1:].flatten())

    start = time.process_time()
    shares = [relativity(P, each) for each in hessian(model).values()]
    share = toeplitz_share(hessian(model, long, "position").terms(P), diagonal=False)
    assert time.process_time() - start < 5 * 4  # four times the figure: machines differ
    assert len(shares) == 3
    assert 0 < share < 1
