"""Training without gradients: exact restoring, the same bits however cut, nothing else touched."""

import copy
import json

import pytest
import torch
from torch import nn

from trivium._core.errors import ArgumentError, DataError
from trivium._core.exact_json import digest, from_json, to_json
from trivium.expectation import Linear
from trivium.objective import History, ZerothOrderStep, replay, seeded_noise
from trivium.testing.live_bytes import LiveBytes

CHUNKS = (7, 100, 2**18)


class Small(nn.Module):
    """A small language model: tied weight, attention, norms, dropout, a buffer that counts."""

    def __init__(self):
        super().__init__()
        self.look = nn.Embedding(50, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.head = nn.Linear(16, 50)
        self.head.weight = self.look.weight
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, places):
        self.calls += 1
        return self.head(self.layer(self.look(places)))


def small(dtype=torch.float32):
    torch.manual_seed(0)
    return Small().to(dtype)


def loss_of(module):
    places = torch.arange(15).reshape(3, 5)
    return lambda: nn.functional.cross_entropy(
        module(places).float().flatten(0, 1), places.flatten()
    )


def same_bits(module, state):
    return all(torch.equal(state[name], value) for name, value in module.state_dict().items())


def test_noise_does_not_depend_on_how_it_is_cut():
    cpu = torch.device("cpu")
    size = 40_003
    whole = seeded_noise(3, 1, (0, size), size, cpu)
    for bounds in ((0, 5), (16_380, 16_390), (16_384, 32_768), (32_760, size), (size - 1, size)):
        assert torch.equal(seeded_noise(3, 1, bounds, size, cpu), whole[slice(*bounds)])
    assert abs(float(whole.mean())) < 4 / size**0.5
    assert abs(float(whole.var()) - 1) < 4 * (2 / size) ** 0.5
    assert not torch.equal(seeded_noise(3, 2, (0, 99), size, cpu), whole[:99])
    assert not torch.equal(seeded_noise(4, 1, (0, 99), size, cpu), whole[:99])


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_evaluation_sees_the_moved_parameters(dtype, chunk):
    """f at θ ± std u, with u made whole from the seed and added by hand."""
    module = small(dtype).eval()
    zeroth = ZerothOrderStep(module, 0.1, 0.1, seed=0, chunk=chunk)
    found = zeroth.pair(5, loss_of(module))
    for value, scale in zip(found, (0.1, -0.1), strict=True):
        moved = copy.deepcopy(module)
        with torch.no_grad():
            trained = [p for p in moved.parameters() if p.requires_grad]
            for stream, p in enumerate(trained):
                u = seeded_noise(5, stream, (0, p.numel()), p.numel(), p.device).view(p.shape)
                p.copy_(u * scale + p)
        tolerance = {torch.float64: 1e-6, torch.float32: 1e-5}.get(dtype, 0.02)
        assert float(loss_of(moved)().detach()) == pytest.approx(value, rel=tolerance)
    assert abs(found[0] - found[1]) > 1e-4


def test_a_thousand_perturbations_in_half_precision_leave_no_trace():
    module = nn.Sequential(nn.Embedding(20, 8), nn.Linear(8, 8), nn.LayerNorm(8)).bfloat16()
    before = copy.deepcopy(module.state_dict())
    places = torch.arange(20)
    zeroth = ZerothOrderStep(module, 1e-3, 0.1)
    for seed in range(500):
        zeroth.pair(seed, lambda: module(places).float().sum())
    assert same_bits(module, before)
    # Adding and taking away, the usual way, does leave one: this check can fail.
    weight = before["1.weight"].clone()
    for seed in range(500):
        u = seeded_noise(seed, 1, (0, 64), 64, weight.device).view(8, 8).bfloat16()
        weight.add_(1e-3 * u).sub_(2e-3 * u).add_(1e-3 * u)
    assert not torch.equal(weight, before["1.weight"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_replay_has_the_same_bits(tmp_path, dtype):
    start = small(dtype)
    trained = copy.deepcopy(start)
    zeroth = ZerothOrderStep(trained, 0.01, Linear(0.1, 0.05, 5), directions=2, seed=3, chunk=50)
    torch.manual_seed(1)
    for _ in range(5):
        zeroth.step(loss_of(trained))
        zeroth.lr.step()
    state = trained.state_dict()
    assert not torch.equal(state["head.weight"], start.head.weight)
    zeroth.history.save(tmp_path / "history.json")
    history = History.load(tmp_path / "history.json")
    assert history == zeroth.history
    assert len(history) == 5
    for chunk in CHUNKS:
        again = copy.deepcopy(start)
        replay(again, history, chunk)
        assert same_bits(again, state)
    assert list(tmp_path.iterdir()) == [tmp_path / "history.json"]


def test_noncontiguous_parameters_move_too():
    layer = nn.Linear(6, 4)
    layer.weight = nn.Parameter(layer.weight.detach().mT.contiguous().mT)
    plain = copy.deepcopy(layer)
    plain.weight = nn.Parameter(layer.weight.detach().contiguous())
    for module in (layer, plain):
        ZerothOrderStep(module, 0.1, 0.1, chunk=5).apply(((7, 0.5),))
    assert torch.equal(layer.weight, plain.weight)
    assert not layer.weight.is_contiguous()


def test_only_seeds_and_numbers_travel():
    """A replica evaluates, another learns of it from the history: all end on the same bits."""
    here, there, alone = small(), small(), small()
    leader = ZerothOrderStep(here, 0.01, 0.05, directions=3, seed=1)
    worker = ZerothOrderStep(there, 0.01, 0.05, directions=3, seed=1)
    single = ZerothOrderStep(alone, 0.01, 0.05, directions=3, seed=1)
    for m in (here, there, alone):
        m.eval()
    for _ in range(3):
        value = leader.step(
            evaluate=lambda seeds: [
                worker.pair(s, loss_of(there)) for s in json.loads(str([*seeds]))
            ]
        )
        worker.apply(leader.history.moves[-1])
        assert single.step(loss_of(alone)) == value
    assert same_bits(there, here.state_dict())
    assert same_bits(alone, here.state_dict())


def test_only_some_parameters():
    module = small().eval()
    before = copy.deepcopy(module.state_dict())
    zeroth = ZerothOrderStep(module, 0.1, 0.1, seed=0, names=["layer.linear1", "head.bias"])
    assert [name for name, _ in zeroth.history.shapes] == [
        "layer.linear1.weight",
        "layer.linear1.bias",
        "head.bias",
    ]
    zeroth.step(loss_of(module))
    moved = {n for n, value in module.state_dict().items() if not torch.equal(value, before[n])}
    assert moved == {name for name, _ in zeroth.history.shapes}
    again = small()
    replay(again, zeroth.history)
    assert same_bits(again, module.state_dict())


def test_a_run_that_stopped_goes_on_with_the_same_bits():
    whole, start = small().eval(), small().eval()
    straight = ZerothOrderStep(whole, 0.01, 0.05, directions=2, seed=4)
    for _ in range(5):
        straight.step(loss_of(whole))
    replay(start, History(straight.history.shapes, straight.history.moves[:2]))
    again = ZerothOrderStep(start, 0.01, 0.05, directions=2, seed=4)
    again.history = History(straight.history.shapes, straight.history.moves[:2])
    for _ in range(3):
        again.step(loss_of(start))
    assert same_bits(start, whole.state_dict())
    assert again.history == straight.history


def test_step_is_the_estimate():
    """One step on a linear f: θ moves by −lr (g·u) u, with the value of f at θ returned."""
    weight = nn.Linear(5, 1, bias=False).double()
    before, g = weight.weight.detach().clone(), torch.arange(5.0).double()
    zeroth = ZerothOrderStep(weight, 0.3, 0.1, directions=2, seed=9)
    us = [seeded_noise(s, 0, (0, 5), 5, g.device).double() for s in zeroth.seeds()]
    value = zeroth.step(lambda: weight(g).sum())
    expected = before - 0.1 * sum((g @ u) * u for u in us) / 2
    assert torch.allclose(weight.weight, expected, rtol=1e-6)
    assert value == pytest.approx(float((before * g).sum()), rel=1e-6)


def test_it_is_unbiased():
    """The mean step on a linear f, 4 errors at 1,000 directions; half of it would be seen."""
    layer = nn.Linear(4, 1, bias=False)
    zeroth = ZerothOrderStep(layer, 0.5, 1.0, directions=1000, seed=2)
    before = layer.weight.detach().clone()
    zeroth.step(lambda: layer(torch.tensor([1.0, -2.0, 0.5, 0.0])).sum())
    step = (before - layer.weight.detach())[0]
    error = 4 * (5.25 * 2 / 1000) ** 0.5
    assert torch.allclose(step, torch.tensor([1.0, -2.0, 0.5, 0.0]), atol=error)


def test_both_evaluations_see_the_same_dropout():
    module = nn.Sequential(nn.Linear(4, 400, bias=False), nn.Dropout(0.5))
    masks = []

    def loss():
        masks.append(module(torch.ones(4)) == 0)
        return 0.0

    zeroth = ZerothOrderStep(module, 1e-3, 0.1)
    zeroth.pair(0, loss)
    zeroth.pair(0, loss)
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[1], masks[2])


def test_nothing_else_is_touched():
    module = small()
    module.frozen.grad = torch.full((3,), 7.0)
    before = copy.deepcopy(module.state_dict())
    zeroth = ZerothOrderStep(module, 0.01, 0.1)

    def fails():
        loss_of(module)()
        raise ValueError("no")

    def nan():
        return loss_of(module)() * float("nan")

    for bad, error in ((fails, ValueError), (nan, DataError), (lambda: "low", ArgumentError)):
        with pytest.raises(error):
            zeroth.step(bad)
        assert same_bits(module, before)
        assert not zeroth.history.moves
    zeroth.step(loss_of(module))
    assert all(p.grad is None for p in module.parameters() if p.requires_grad)
    assert torch.equal(module.frozen.grad, torch.full((3,), 7.0))
    assert torch.equal(module.calls, before["calls"])
    assert torch.equal(module.frozen, before["frozen"])
    assert module.training
    assert all(type(p) is nn.Parameter for p in module.parameters())
    assert torch.is_grad_enabled()


def test_memory_is_that_of_inference():
    """A wide layer: what is alive besides the module stays at chunks, never at a weight."""
    layer = nn.Sequential(nn.Embedding(4000, 64), nn.Linear(64, 4000, bias=False))
    places = torch.arange(8)
    weight = layer[1].weight.numel() * 4

    def loss():
        return layer(places).sum()

    zeroth = ZerothOrderStep(layer, 0.01, 0.1, chunk=2**14)
    with LiveBytes() as live:
        zeroth.step(loss)
    with torch.no_grad(), LiveBytes() as inference:
        loss()
    assert live.peak < inference.peak + 8 * 4 * 2**14
    assert live.peak < weight


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ZerothOrderStep(torch.zeros(2), 0.1, 0.1), "module must be a torch module"),
        (lambda: ZerothOrderStep(nn.Linear(1, 1), 0, 0.1), "std must be a number, positive"),
        (lambda: ZerothOrderStep(nn.Linear(1, 1), 0.1, -1), "lr must be a number, positive"),
        (lambda: ZerothOrderStep(nn.Linear(1, 1), 0.1, 0.1, 0), "directions must be an integer"),
        (lambda: ZerothOrderStep(nn.Linear(1, 1), 0.1, 0.1, chunk=0), "chunk must be an integer"),
        (lambda: ZerothOrderStep(nn.Linear(1, 1), 0.1, 0.1, seed=-1), "random_state must be"),
        (
            lambda: ZerothOrderStep(nn.Linear(1, 1), 0.1, 0.1, names=["bia"]),
            "module must have 'bia'; got no such parameter",
        ),
        (
            lambda: ZerothOrderStep(nn.Linear(1, 1), 0.1, 0.1, names="bias"),
            r"names must be a list of names; got 'bias'. Give \['bias'\]",
        ),
        (lambda: ZerothOrderStep(nn.Linear(1, 1), 0.1, 0.1, names=[]), "at least one parameter"),
        (
            lambda: ZerothOrderStep(nn.Linear(1, 1, dtype=torch.complex64), 0.1, 0.1),
            "weight must be of real numbers; got torch.complex64",
        ),
        (lambda: replay(nn.Linear(1, 1), [((1, 0.5),)]), "must be a torch module and a History"),
        (lambda: replay(nn.Linear(1, 1), History((), []), 0), "chunk must be an integer"),
        (lambda: ZerothOrderStep(nn.ReLU(), 0.1, 0.1), "something to train; got no such parameter"),
        (lambda: ZerothOrderStep(nn.LazyLinear(1), 0.1, 0.1), "got a lazy parameter"),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ArgumentError, match=message):
        build()


def test_bad_use_is_named():
    module = nn.Linear(2, 2)
    before = copy.deepcopy(module.state_dict())
    zeroth = ZerothOrderStep(module, 0.1, 0.1)
    with pytest.raises(ArgumentError, match="one of loss and evaluate must be given"):
        zeroth.step()
    with pytest.raises(ArgumentError, match="evaluate must return 1 pair; got 0"):
        zeroth.step(evaluate=lambda _: [])
    with pytest.raises(ArgumentError, match=r"loss must return one number; got shape \(2,\)"):
        zeroth.step(lambda: torch.zeros(2))
    with pytest.raises(ArgumentError, match="loss must return one number; got None"):
        zeroth.step(lambda: None)
    with pytest.raises(ArgumentError, match=r"loss must return one number; got '1\.0'"):
        zeroth.step(lambda: "1.0")
    for bad in ([(1.0,)], [3.0], None, [("a", 1.0)], 7):
        with pytest.raises(ArgumentError, match="evaluate must return 1 pair of numbers"):
            zeroth.step(evaluate=lambda _, bad=bad: bad)
    # What a history could not be read back with is not applied either.
    for move in (((1, float("inf")),), ((-1, 0.5),), (("a", 0.5),), ((True, 0.5),), ((1, "2"),), 3):
        with pytest.raises(ArgumentError, match=r"move must be pairs \(seed, coefficient\)"):
            zeroth.apply(move)
    assert not zeroth.history.moves
    assert same_bits(module, before)


def signed(text):
    """The text with a right checksum, where it can have one, as a forger would give it."""
    try:
        found = from_json(text)
        found.pop("sha256")
        return to_json(found | {"sha256": digest(found)})
    except (DataError, AttributeError):
        return text


def test_bad_histories_are_named(tmp_path):
    zeroth = ZerothOrderStep(nn.Linear(2, 2), 0.1, 0.1)
    zeroth.apply(((1, 0.5),))
    path = tmp_path / "history.json"
    zeroth.history.save(path)
    text = path.read_text()
    with pytest.raises(ArgumentError, match="module must have the parameters of the history"):
        replay(nn.Linear(3, 2), zeroth.history)
    changes = [("0.5", '"0.5"'), ("[2, 2]", "[2, -2]"), ("[2, 2]", "[2, 2.5]"), ("{", "[" * 10**5)]
    changes += [("0.5", '"much"'), ("0.5", "1e999"), ("[1, ", "[-1, "), ("16384", "4"), ("{", "")]
    for old, new in changes:
        path.write_text(signed(text.replace(old, new, 1)))
        with pytest.raises(DataError, match="path must hold a history that this version wrote"):
            History.load(path)
