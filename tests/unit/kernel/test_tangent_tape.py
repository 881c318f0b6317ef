"""Per-row gradients by the tape are those of autograd, row by row, on every kind of net."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.kernel import Tangents, TangentTape, register_layer, tangents_of

TOLERANCE = 1e-12


class Attention(nn.Module):
    """Attention of linear layers, by hand."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pack, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.pack(self.norm(x)).chunk(3, -1)
        return x + self.out(torch.softmax(q @ k.mT / 3, -1) @ v)


class Text(nn.Module):
    """Tokens, positions and a class token; the output layer shares the embedding's weights."""

    def __init__(self, *, tied: bool = True, direct: bool = False) -> None:
        super().__init__()
        self.embed, self.position = nn.Embedding(11, 8), nn.Embedding(6, 8)
        self.cls = nn.Parameter(torch.randn(1, 1, 8))
        self.attend, self.out = Attention(8), nn.Linear(8, 11, bias=False)
        self.direct = direct
        if tied:
            self.out.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens) + self.position(torch.arange(tokens.shape[1]))
        x = self.attend(torch.cat([self.cls.expand(len(x), 1, 8), x], 1))
        if self.direct:
            return nn.functional.linear(x, self.embed.weight).sin()
        return self.out(x)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory, self.out = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.memory(x)[0][:, -1])


class Twice(nn.Module):
    """One layer that is called on the two halves of a row."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.inner(x[:, :4]).tanh(), self.inner(x[:, 4:]).tanh()
        folded = self.inner(torch.stack([one[:, :4], two[:, :4]], 1).reshape(-1, 4))
        return self.out(one * two + folded.reshape(len(x), 2, 6).sum(1))


class Checkpointed(nn.Module):
    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.first, self.inner = nn.Linear(4, 6), nn.Sequential(nn.Linear(6, 6), nn.GELU())
        self.out, self.reentrant = nn.Linear(6, 2), reentrant

    def forward(self, x: Tensor) -> Tensor:
        hidden = checkpoint(self.inner, self.first(x), use_reentrant=self.reentrant)
        return self.out(hidden)


def mlp(activation: Callable[[], nn.Module]) -> nn.Module:
    return nn.Sequential(
        nn.Linear(8, 16), activation(), nn.Linear(16, 16), activation(), nn.Linear(16, 3)
    )


def frozen() -> nn.Module:
    net = mlp(nn.Tanh)
    net[0].weight.requires_grad_(False)
    net[2].bias.requires_grad_(False)
    return net


def normed() -> nn.Module:
    norms = nn.utils.parametrizations.weight_norm(nn.Linear(8, 5))
    return nn.Sequential(norms, nn.Tanh(), nn.Linear(5, 2))


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    return nn.TransformerEncoder(layer, 2)


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.GroupNorm(2, 8),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3),
        nn.Flatten(),
        nn.Linear(32, 3),
    )


ROWS, TOKENS = (7, 8), (6, 6)
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp relu": (lambda: mlp(lambda: nn.ReLU(inplace=True)), ROWS),
    "mlp gelu": (lambda: mlp(nn.GELU), ROWS),
    "frozen": (frozen, ROWS),
    "cnn": (cnn, (7, 1, 8, 8)),
    "batch norm": (lambda: nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4)).eval(), ROWS),
    "text": (lambda: Text(tied=False), TOKENS),
    "tied": (Text, TOKENS),
    "tied by use": (lambda: Text(tied=False, direct=True), TOKENS),
    "encoder": (encoder, (6, 5, 8)),
    "encoder eval": (lambda: encoder().eval(), (6, 5, 8)),
    "recurrent": (Recurrent, (6, 5, 4)),
    "twice": (Twice, ROWS),
    "weight norm": (normed, ROWS),
    "checkpoint": (lambda: Checkpointed(reentrant=False), (6, 4)),
    "reentrant": (lambda: Checkpointed(reentrant=True), (6, 4)),
}


@pytest.fixture(autouse=True)
def _double() -> object:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def build(name: str) -> tuple[nn.Module, Tensor]:
    make, shape = NETS[name]
    net = make()
    x = torch.randint(0, 11, shape) if shape is TOKENS else torch.randn(shape)
    if name == "reentrant":
        x.requires_grad_()
    return net, x


def quantity(out: Tensor) -> Tensor:
    return out.flatten(1).sin().sum(1)


def by_rows(net: nn.Module, value: Tensor) -> Tensor:
    """The oracle: one backward pass a row."""
    parameters = [p for p in net.parameters() if p.requires_grad]
    rows = []
    for one in value:
        one.backward(retain_graph=True)
        rows.append(
            torch.cat(
                [
                    torch.zeros_like(p).reshape(-1) if p.grad is None else p.grad.reshape(-1)
                    for p in parameters
                ]
            )
        )
        net.zero_grad()
    return torch.stack(rows)


def close(found: Tensor, wanted: Tensor) -> None:
    assert found.shape == wanted.shape
    gap = float((found - wanted).abs().max() / wanted.abs().max())
    assert gap <= TOLERANCE, gap


def taped(net: nn.Module, x: Tensor) -> Tangents:
    with TangentTape(net) as tape:
        quantity(net(x)).sum().backward()
        found = tape.tangents(len(x))
    net.zero_grad()
    return found


@pytest.mark.parametrize("name", NETS)
def test_gradients_are_those_of_autograd(name: str) -> None:
    net, x = build(name)
    wanted = by_rows(net, quantity(net(x)))
    found = taped(net, x)
    close(found.dense(), wanted)
    n, p = wanted.shape
    half = found.rows(slice(1, n, 2))
    close(half.dense(), wanted[1::2])
    close(found.gram(half), wanted @ wanted[1::2].mT)
    for count in (1, 3):
        directions, weights = torch.randn(count, p), torch.randn(count, n)
        close(found.products(directions), directions @ wanted.mT)
        close(found.combine(weights), weights @ wanted)
        close(half.products(directions), directions @ wanted[1::2].mT)


@pytest.mark.parametrize("name", [name for name in NETS if name != "reentrant"])
def test_a_pull_needs_no_backward(name: str) -> None:
    net, x = build(name)
    wanted = by_rows(net, quantity(net(x)))
    with TangentTape(net) as tape:
        out = net(x)
        first = tape.pull(quantity(out), retain_graph=True)
        second = tape.pull(3 * quantity(out))
    close(first.dense(), wanted)
    close(second.dense(), 3 * wanted)
    assert all(p.grad is None for p in net.parameters())


def test_layers_add_up_and_stand_in_order() -> None:
    net, x = build("text")
    found = taped(net, x)
    wanted, directions = found.dense(), torch.randn(2, found.layout.n_parameters)
    by_layer = found.products_by_layer(directions)
    assert found.layout.layers == (
        "cls",
        "embed",
        "position",
        "attend.pack",
        "attend.out",
        "attend.norm",
        "out",
    )
    for number, layer in enumerate(found.layout.layers):
        own = torch.zeros(found.layout.n_parameters, dtype=torch.bool)
        for name, place in zip(found.layout.names, found.layout.slices, strict=True):
            own[place] = name.rpartition(".")[0] == layer or name == layer
        close(by_layer[number], (directions * own) @ wanted.mT)


def test_parameters_of_the_model_itself_are_layers_of_their_own() -> None:
    net, x = nn.Linear(8, 3), torch.randn(7, 8)
    found = taped(net, x)
    directions = torch.randn(2, 27)
    assert found.layout.layers == ("weight", "bias")
    weight, bias = found.products_by_layer(directions)
    close(weight, directions[:, :24] @ found.dense()[:, :24].mT)
    close(bias, directions[:, 24:] @ found.dense()[:, 24:].mT)


@pytest.mark.parametrize("name", ["mlp gelu", "encoder", "tied"])
def test_a_batch_loss_gives_each_row_its_part(name: str) -> None:
    net, x = build(name)
    y = torch.arange(len(x)) % 3
    with TangentTape(net) as tape:
        loss = nn.functional.cross_entropy(net(x).flatten(1)[:, :3], y)
        loss.backward()
        found = tape.tangents(len(x))
    total = torch.cat([p.grad.reshape(-1) for p in net.parameters()])
    close(found.combine(torch.ones(1, len(x)))[0], total)
    net.zero_grad()
    per_row = nn.functional.cross_entropy(net(x).flatten(1)[:, :3], y, reduction="none")
    close(found.dense(), by_rows(net, per_row) / len(x))


def test_dropout_draws_the_same_numbers_again() -> None:
    """Attention's own weights are repeated with the generator's noted state."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, batch_first=True)
    x = torch.randn(6, 5, 8)
    torch.manual_seed(3)
    wanted = by_rows(layer, quantity(layer(x)))
    torch.manual_seed(3)
    with TangentTape(layer) as tape:
        out = layer(x)
        state = torch.get_rng_state()
        found = tape.pull(quantity(out))
    assert torch.equal(torch.get_rng_state(), state)
    close(found.dense(), wanted)


def test_parameters_may_be_swapped() -> None:
    net, x = build("text")
    other = {name: torch.randn_like(p).requires_grad_() for name, p in net.named_parameters()}
    with TangentTape(net) as tape:
        found = tape.pull(quantity(functional_call(net, other, (x,))))
    again, _ = build("text")
    again.load_state_dict(other)
    close(found.dense(), by_rows(again, quantity(again(x))))


def test_batch_norm_in_training_credits_activations() -> None:
    """The rows' parts add up to the batch's gradient, which the batch's moments mix."""
    net = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2))
    x = torch.randn(7, 8)
    with TangentTape(net) as tape:
        quantity(net(x)).sum().backward()
        found = tape.tangents(7)
    total = torch.cat([p.grad.reshape(-1) for p in net.parameters()])
    close(found.combine(torch.ones(1, 7))[0], total)
    assert int(net[1].num_batches_tracked) == 1


def test_the_model_is_left_as_it_was() -> None:
    net, x = build("encoder")
    calls: list[str] = []
    net.register_forward_hook(lambda *_: calls.append("mine"))
    kept = torch.full_like(net.layers[0].linear1.weight, 2.0)
    net.layers[0].linear1.weight.grad = kept
    hooks = [len(module._forward_hooks) for module in net.modules()]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with TangentTape(net) as tape:
        tape.pull(quantity(net(x)))
    assert calls == ["mine"]
    assert net.layers[0].linear1.weight.grad is kept
    assert bool((kept == 2).all())
    assert hooks == [len(module._forward_hooks) for module in net.modules()]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training


def test_hooks_that_change_outputs_are_part_of_the_model() -> None:
    net, x = build("mlp gelu")
    net[0].register_forward_hook(lambda _m, _a, out: out * 2)
    net[2].register_forward_pre_hook(lambda _m, args: (args[0] + 1,))
    close(taped(net, x).dense(), by_rows(net, quantity(net(x))))


def test_unused_layers_have_no_gradient() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused, self.alone = nn.Linear(8, 2), nn.Linear(8, 2), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            self.alone(x)
            return self.used(x)

    net, x = Half(), torch.randn(7, 8)
    found = taped(net, x)
    assert found.dense()[:, 18:].abs().max() == 0
    close(found.dense(), by_rows(net, quantity(net(x))))


# ---- what cannot be done --------------------------------------------------------------------


def test_no_module_and_nothing_to_train_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"TangentTape: model must be a torch.nn.Module"):
        TangentTape(lambda x: x)
    with pytest.raises(ArgumentError, match="must have a trainable parameter"):
        TangentTape(nn.Linear(2, 1).requires_grad_(False))
    mixed = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).float())
    with pytest.raises(ArgumentError, match="must share one dtype and device"):
        TangentTape(mixed)


def test_a_backward_pass_must_come_first() -> None:
    net, x = build("mlp gelu")
    with TangentTape(net) as tape:
        net(x)
        with pytest.raises(ArgumentError, match="must come first"):
            tape.tangents(7)
    with TangentTape(net) as tape, pytest.raises(ArgumentError, match="n_rows must be"):
        tape.tangents(0)
    with TangentTape(net) as tape, pytest.raises(ArgumentError, match="must depend on"):
        tape.pull(x.sum(1))


def test_rows_on_another_axis_are_refused() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)  # (tokens, rows, width)
    x = torch.randn(5, 4, 8)
    out_of = lambda: layer(x).sin().sum((0, 2))  # noqa: E731
    with TangentTape(layer) as tape, pytest.raises(ArgumentError, match="leading axis must be"):
        tape.pull(out_of())


def test_rows_that_see_each_other_are_refused_where_they_are_repeated() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(8))

        def forward(self, x: Tensor) -> Tensor:
            return self.scale * (x - x.mean(0))

    net, x = Mixed(), torch.randn(7, 8)
    with TangentTape(net) as tape, pytest.raises(ArgumentError, match="same output alone"):
        tape.pull(quantity(net(x)))


def test_batch_norm_in_training_cannot_be_repeated() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.scale = nn.BatchNorm1d(8), nn.Parameter(torch.ones(8))

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x) * self.scale

    net, x = Scaled(), torch.randn(7, 8)
    with TangentTape(net) as tape, pytest.raises(ArgumentError, match="batch norm in training"):
        tape.pull(quantity(net(x)))
    net.eval()
    close(taped(net, x).dense(), by_rows(net, quantity(net(x))))


def test_weights_must_be_those_of_the_forward() -> None:
    net, x = build("encoder")
    with TangentTape(net) as tape:
        quantity(net(x)).sum().backward()
        with torch.no_grad():
            net.layers[0].self_attn.in_proj_weight.mul_(2)
        with pytest.raises(ArgumentError, match="changed in place"):
            tape.tangents(6)


def test_parts_of_a_model_called_alone_cannot_explain_its_own_parameters() -> None:
    net = Text(tied=False)
    with TangentTape(net) as tape, pytest.raises(ArgumentError, match="'cls' is used outside"):
        tape.pull(quantity(net.out(torch.randn(6, 8))))


def test_products_check_their_arguments() -> None:
    net, x = build("mlp gelu")
    found = taped(net, x)
    p = found.layout.n_parameters
    with pytest.raises(ShapeError, match="products"):
        found.products(torch.zeros(2, p - 1))
    with pytest.raises(ArgumentError, match=r"directions must be .*float64"):
        found.products(torch.zeros(2, p, dtype=torch.float32))
    with pytest.raises(ShapeError, match="combine"):
        found.combine(torch.zeros(2, 6))
    with pytest.raises(ArgumentError, match="other must be Tangents"):
        found.gram(found.dense())
    with pytest.raises(ArgumentError, match="same parameters"):
        found.gram(taped(nn.Linear(8, 2), x))
    with pytest.raises(ArgumentError, match=r"other must be .*float64"):
        found.gram(taped(mlp(nn.GELU).float(), x.float()))


@pytest.mark.parametrize("token", [2, 40])
def test_forms_of_one_layer_may_differ(token: int) -> None:
    """Few tokens stay factored and many are written out; their product is the same."""
    net = nn.Sequential(nn.Linear(8, 9), nn.Tanh(), nn.Linear(9, 2))
    x, y = torch.randn(5, token, 8), torch.randn(4, 3, 8)
    left, right = taped(net, x), taped(net, y)
    close(left.gram(right), left.dense() @ right.dense().mT)


def test_a_layer_cut_up_in_two_ways_still_meets_itself() -> None:
    """Consecutive token numbers look like positions, and are repeated instead."""

    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.out = nn.Embedding(9, 4), nn.Linear(4, 2)

        def forward(self, index: Tensor) -> Tensor:
            return self.out(self.embed(index))

    net = Words()
    left, right = taped(net, torch.arange(5)), taped(net, torch.tensor([3, 1, 1, 4]))
    assert {k for k, _ in left.parts} == {k for k, _ in right.parts}
    close(left.gram(right), left.dense() @ right.dense().mT)


# ---- in one call ----------------------------------------------------------------------------


def test_one_call_takes_tensors_tuples_and_dicts() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(8, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
            return {"out": self.one(x) * self.two(y).exp()}

    net, x, y = Two(), torch.randn(7, 8), torch.randn(7, 4)
    wanted = by_rows(net, quantity(net(x, y)["out"]))
    for inputs in ((x, y), {"y": y, "x": x}):
        with torch.no_grad():
            found = tangents_of(net, inputs, lambda out: quantity(out["out"]))
        close(found.dense(), wanted)
    single = mlp(nn.Tanh)
    close(tangents_of(single, x, quantity).dense(), by_rows(single, quantity(single(x))))


@pytest.mark.parametrize(
    ("inputs", "kind", "message"),
    [
        (3, ArgumentError, "inputs must hold a tensor; got int"),
        ((torch.zeros(3, 8), torch.zeros(4, 8)), ShapeError, "inputs must have one leading axis"),
        (torch.tensor(1.0), ShapeError, "inputs must have one leading axis"),
        (torch.zeros(0, 8), DataError, "inputs must have at least one row"),
        (torch.zeros(3, 8, dtype=torch.float32), ArgumentError, "inputs must be .*float64"),
    ],
)
def test_bad_inputs_are_refused(inputs: object, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=f"tangents_of: {message}"):
        tangents_of(mlp(nn.Tanh), inputs, quantity)


def test_a_quantity_must_be_one_number_a_row() -> None:
    with pytest.raises(ShapeError, match=r"of must return one number a row, \(7,\); got \(7, 3\)"):
        tangents_of(mlp(nn.Tanh), torch.zeros(7, 8), lambda out: out)
    with pytest.raises(ShapeError, match="got float"):
        tangents_of(mlp(nn.Tanh), torch.zeros(7, 8), lambda out: 1.0)


def test_only_a_kind_can_be_registered() -> None:
    with pytest.raises(ArgumentError, match="register_layer: kind must be a LayerKind"):
        register_layer(nn.Linear)
