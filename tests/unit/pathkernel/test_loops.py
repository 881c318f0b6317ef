"""Loops of many kinds are recorded, and what they cannot be held to is named."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's own habit
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from trivium._core.errors import ArgumentError, DataError, ResourceError, ShapeError
from trivium.kernel.tangent_tape import TangentTape
from trivium.pathkernel import record
from trivium.pathkernel.products import traced

X = torch.randn(24, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.arange(24) % 3


def net(*extra):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), *extra, nn.Tanh(), nn.Linear(8, 3)).double()


def sgd(model, lr=0.1, **settings):
    return torch.optim.SGD(model.parameters(), lr=lr, **settings)


def run(loss=F.cross_entropy, body=None, model=None, steps=7, optimizer=None, **settings):
    """Record a few steps; `body(recording, model, ids)` returns the loss."""
    model = model or net()
    optimizer = optimizer or sgd(model)
    draw = torch.Generator().manual_seed(1)
    with record(model, optimizer, loss, stride=3, **settings) as recording:
        for step in range(steps):
            ids = torch.randperm(24, generator=draw)[:6]
            recording.batch(ids)
            optimizer.zero_grad()
            if body is None:
                recording.loss(model(X[ids]), Y[ids]).backward()
            else:
                body(recording, model, ids, step)
            optimizer.step()
    return recording


def complete(recording, x=X[:4]):
    made = recording.made(x, of="margin")
    assert made.completeness_error < 1e-12
    assert float(made.contributions.abs().max()) > 1e-6
    return made


WEIGHTS = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
LOSSES = {
    "weights": nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.1),
    "ignored": nn.CrossEntropyLoss(ignore_index=2),
    "sum": nn.CrossEntropyLoss(reduction="sum"),
    "lambda": lambda out, y: F.cross_entropy(out, y) + out.square().mean(),
    "function": F.cross_entropy,
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_may_be(name):
    optimizer = {"lr": 0.01} if name == "sum" else {}
    model = net()
    complete(run(LOSSES[name], model=model, optimizer=sgd(model, **optimizer)))


def none_then_mean(recording, model, ids, step):
    F.cross_entropy(model(X[ids]), Y[ids], reduction="none").mean().backward()


def two_forwards(recording, model, ids, step):
    half = ids[:3], ids[3:]
    outs = []
    for one in half:
        recording.batch(one)
        outs.append(model(X[one]))
    sum(F.cross_entropy(out, Y[one]) for out, one in zip(outs, half, strict=True)).backward()


def accumulated(recording, model, ids, step):
    for one in ids.split(2):
        recording.batch(one.tolist())
        (F.cross_entropy(model(X[one]), Y[one]) / 3).backward()


def repeated(recording, model, ids, step):
    ids = torch.cat([ids, ids[:2]])
    recording.batch(ids)
    F.cross_entropy(model(X[ids]), Y[ids]).backward()


def evaluated(recording, model, ids, step):
    out = model(X[ids])
    with torch.no_grad():
        F.cross_entropy(model(X[:9]), Y[:9])
    F.cross_entropy(out, Y[ids])  # for the log alone
    F.cross_entropy(out, Y[ids]).backward()


def half_trained(recording, model, ids, step):
    F.cross_entropy(model(X[ids]), Y[ids]).backward()
    if step % 2:
        model[0].weight.grad = None


def clipped(recording, model, ids, step):
    F.cross_entropy(model(X[ids]), Y[ids]).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.05)


BODIES = [none_then_mean, two_forwards, accumulated, repeated, evaluated, half_trained, clipped]


@pytest.mark.parametrize("body", BODIES)
def test_a_step_may_be(body):
    model = net()
    groups = [{"params": model[0].parameters(), "lr": 0.2}, {"params": model[2].parameters()}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.5)
    complete(run(body=body, model=model, optimizer=optimizer))


def test_dropout_a_frozen_layer_and_a_compiled_model():
    complete(run(model=net(nn.Dropout(0.3))))
    model = net()
    model[0].requires_grad_(False)
    complete(run(model=model))
    complete(run(model=torch.compile(net(), backend="eager")))


def test_batch_norm():
    recording = run(model=net(nn.BatchNorm1d(8)))
    recording.model.eval()  # as users do when the training is over
    assert recording.couples_rows
    made = recording.made(X[:3], of="margin")
    assert made.completeness_error < 1e-12
    assert "running statistics" in made.remainders


def test_logits_of_a_language_model_are_flattened_or_transposed():
    tokens = torch.randint(7, (24, 4), generator=torch.Generator().manual_seed(3))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.embed, self.head = nn.Embedding(7, 5), nn.Linear(5, 7)

        def forward(self, tokens):
            return {"logits": self.head(self.embed(tokens).tanh()), "other": 1}

    def flat(recording, model, ids, step):
        out = model(tokens[ids])["logits"]
        F.cross_entropy(out.reshape(-1, 7), tokens[ids].roll(1, 1).reshape(-1)).backward()

    def turned(recording, model, ids, step):
        out = model(tokens[ids])["logits"]
        F.cross_entropy(out.transpose(1, 2), tokens[ids].roll(1, 1)).backward()

    found = []
    for body in (flat, turned):
        made = run(body=body, model=Model().double()).made(
            tokens[:3], of=lambda out: out["logits"][:, 0, 1]
        )
        assert made.completeness_error < 1e-12
        found.append(made.contributions)
    torch.testing.assert_close(*found)


def test_a_scaler_that_skips_steps_is_not_counted():
    model, skipping = net().float(), [0, 1, 4]
    optimizer, x = sgd(model), X.float()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    with record(model, optimizer, F.cross_entropy) as recording:
        for step in range(8):
            ids = torch.arange(6) + step
            recording.batch(ids)
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = F.cross_entropy(model(x[ids]).float(), Y[ids])
            scaler.scale(loss).backward()
            if step in skipping:
                model[0].weight.grad[0, 0] = torch.inf
            scaler.step(optimizer)
            scaler.update()
    assert recording.n_steps == 5
    assert recording.skipped == {0: 2, 2: 1}
    made = recording.made(x[:3], of="margin")
    assert made.completeness_error < 1e-2  # half precision
    only = made.contributions[:, recording.ids.index(0)]  # its one batch was thrown away
    assert not only.any()


def test_a_loader_gives_the_same_batches_and_their_ids():
    data = TensorDataset(X, Y, torch.arange(24))
    given = {"batch_sampler": [[3, 4], [9], [4, 4]]}
    for settings in (
        {"batch_size": 5, "shuffle": True},
        {"batch_size": 7, "num_workers": 1},
        given,
    ):
        recording = record(model := net(), sgd(model), F.cross_entropy)
        torch.manual_seed(0)
        plain = [batch[2].tolist() for batch in DataLoader(data, **settings)]
        torch.manual_seed(0)
        ids = []
        recording.batch = ids.append
        noted = [batch[2].tolist() for batch in recording.loader(DataLoader(data, **settings))]
        assert noted == plain == ids
    skipped = recording.loader(DataLoader(data, batch_size=5), skip=3)
    assert [batch[2].tolist()[0] for batch in skipped] == [15, 20]
    assert [batch[2].tolist()[0] for batch in skipped] == [0, 5, 10, 15, 20]


def test_loaders_without_ids_are_refused():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(X)

    recording = record(model := net(), sgd(model), F.cross_entropy)
    with pytest.raises(ArgumentError, match="IterableDataset"):
        recording.loader(DataLoader(Stream()))
    with pytest.raises(ArgumentError, match="must be a torch"):
        recording.loader([1, 2])
    whole = recording.loader(DataLoader(TensorDataset(X, Y), batch_size=None))
    with pytest.raises(ArgumentError, match="batch_size=None"):
        next(iter(whole))


# ---- bad input -------------------------------------------------------------------------------


def not_noted(recording, model, ids, step):
    recording._live.listener.expect(None)
    F.cross_entropy(model(X[ids]), Y[ids]).backward()


def not_heard(recording, model, ids, step):
    F.nll_loss(F.log_softmax(model(X[ids]), 1), Y[ids]).backward()


def changed(recording, model, ids, step):
    F.cross_entropy(model(X[ids]), Y[ids]).backward()
    with torch.no_grad():
        model[0].weight.mul_(0.9)


def augmented(recording, model, ids, step):
    F.cross_entropy(model(X[ids] + step), Y[ids]).backward()


def two_losses(recording, model, ids, step):
    out = model(X[ids])
    (F.cross_entropy(out, Y[ids]) + F.cross_entropy(out, Y[ids].flip(0))).backward()


def wrong_rows(recording, model, ids, step):
    recording.batch(ids[:3])
    F.cross_entropy(model(X[ids]), Y[ids]).backward()


IN_THE_LOOP = {
    not_noted: "rows of a step must be noted",
    not_heard: "loss must be called on what the model returned",
    changed: r"change of 0\.weight outside",
    augmented: "a row must stay what it was",
    two_losses: "a forward must have one loss",
    wrong_rows: "must have the 3 rows",
}


@pytest.mark.parametrize("body", IN_THE_LOOP)
def test_a_loop_is_told(body):
    model = net()
    with pytest.raises(DataError, match=IN_THE_LOOP[body]):
        run(body=body, model=model)
    assert not model._forward_hooks
    assert not model._forward_pre_hooks
    assert torch._C._len_torch_function_stack() == 0


def by_data(recording, model, ids, step):
    F.cross_entropy(model(X[ids]), Y[ids]).backward()
    model[0].weight.data *= 0.9 if step == 4 else 1.0


def by_value(recording, model, ids, step):
    F.cross_entropy(model(X[ids]), Y[ids]).backward()
    nn.utils.clip_grad_value_(model.parameters(), 0.01)


def penalised(recording, model, ids, step):
    (F.cross_entropy(model(X[ids]), Y[ids]) + model[0].weight.square().sum()).backward()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (by_data, r"weights changed outside the optimizer \(by \.data"),
        (by_value, "clipped by value"),
        (penalised, "second loss or regularizer"),
    ],
)
def test_a_replay_tells(body, said):
    recording = run(body=body)
    with pytest.raises(DataError, match=said):
        recording.made(X[:2])


def test_augmented_rows_can_be_kept():
    complete(run(body=augmented, augmented=True))


def test_losses_and_steps_of_another_form_are_told():
    with pytest.raises(ArgumentError, match="one tensor; got tuple"):
        run(lambda out, y: (F.cross_entropy(out, y), 1))
    with pytest.raises(ArgumentError, match=r"tensors first; got Tensor and int"):
        run(lambda out, y: out.sum(), lambda r, m, ids, s: r.loss(m(X[ids]), 3))
    model = net()
    optimizer = sgd(model)
    with record(model, optimizer, F.cross_entropy) as recording:
        recording.batch([0])
        F.cross_entropy(model(X[:1]), Y[:1]).backward()
        with pytest.raises(ArgumentError, match="without a closure"):
            optimizer.step(lambda: 1.0)
        with pytest.raises(ArgumentError, match="still open"):
            recording.made(X[:1])
        with (
            pytest.raises(ArgumentError, match="one recording at a time"),
            record(model, optimizer, F.cross_entropy),
        ):
            pass
        with pytest.raises(ArgumentError, match="ids must be"):
            recording.batch(torch.randn(3))
    with pytest.raises(ArgumentError, match="entered once"):
        recording.__enter__()
    with pytest.raises(DataError, match="must have a step"):
        recording.made(X[:1])


def test_sparse_gradients_and_unfrozen_weights_are_named():
    model = nn.Sequential(nn.Embedding(5, 3, sparse=True))
    optimizer = sgd(model)
    with record(model, optimizer, F.mse_loss) as recording:
        recording.batch([0, 1])
        F.mse_loss(model(torch.tensor([1, 2])), torch.zeros(2, 3)).backward()
        with pytest.raises(DataError, match=r"sparse one for 0\.weight"):
            optimizer.step()
    model = net()
    model[0].requires_grad_(False)
    with pytest.raises(DataError, match=r"gradient for 0\.weight"):
        run(model=model, body=lambda r, m, ids, s: (
            m[0].requires_grad_(True), F.cross_entropy(m(X[ids]), Y[ids]).backward()
        ))  # fmt: skip


def test_rows_of_two_shapes_are_told():
    lengths = nn.Sequential(nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(4, 3)).double()

    def body(recording, model, ids, step):
        F.cross_entropy(model(X[ids][:, None, : 5 - step]), Y[ids]).backward()

    with pytest.raises(ShapeError, match=r"one shape and dtype; got \(1, 4\)"):
        run(body=body, model=lengths)


def test_an_exception_in_the_loop_leaves_the_steps_before_it():
    def body(recording, model, ids, step):
        if step == 5:
            raise KeyError("mine")
        F.cross_entropy(model(X[ids]), Y[ids]).backward()

    kept = []
    with pytest.raises(KeyError, match="mine"):
        run(body=lambda r, *rest: (kept.append(r), body(r, *rest)))
    assert kept[0].n_steps == 5
    complete(kept[0])


def test_unknown_optimizers_and_settings_are_named():
    model = net()
    with pytest.raises(ArgumentError, match=r"got Rprop.*register_recurrence\(Rprop"):
        record(model, torch.optim.Rprop(model.parameters()), F.cross_entropy)
    with pytest.raises(ArgumentError, match="steps none of them"):
        record(model, sgd(net()), F.cross_entropy)
    with pytest.raises(ArgumentError, match="chord:k"):
        record(model, sgd(model), F.cross_entropy, every="chord:0")
    with pytest.raises(ArgumentError, match="keep must hold"):
        record(model, sgd(model), F.cross_entropy, keep={"a": 1})


def test_memory_is_told_at_the_start_or_thinned():
    model = net()
    size = sum(p.nbytes for p in model.parameters())
    with pytest.raises(ResourceError, match="two checkpoints"):
        record(model, sgd(model), F.cross_entropy, budget=size)
    with pytest.raises(ResourceError, match=r'11 of .* MB each.*every="chord:50"'):
        record(model, sgd(model), F.cross_entropy, stride=10, steps=100, budget=3 * size)
    record(model, sgd(model), F.cross_entropy, stride=10, steps=100, budget=11 * size)
    record(model, sgd(model), F.cross_entropy, every="chord:50", steps=100, budget=3 * size)
    thin = run(steps=40, budget=3 * size)
    assert len(thin.checkpoints.held) <= 3
    assert thin.checkpoints.held[-1].step == 40
    whole = run(steps=40)
    assert len(whole.checkpoints.held) == 15
    a, b = complete(thin), complete(whole)
    assert torch.equal(a.contributions, b.contributions)  # whatever is kept


def test_a_long_span_is_gone_through_in_parts():
    size = sum(p.nbytes for p in net().parameters())
    for chord in (1, 4):
        kept = []
        for budget in (10**9, 40 * size):
            recording = run(steps=60, every=f"chord:{chord}", budget=budget)
            recording.checkpoints._memory[1:-1] = []
            lengths: list[int] = []
            run_ = recording.run("test")
            with TangentTape(run_.replay.model) as tape:
                lengths += [len(steps) for steps, _ in run_.backwards(traced(tape))]
            assert sum(lengths) == 60
            kept.append((max(lengths), recording.made(X[:2], of="margin").contributions))
        assert kept[0][0] == 60
        assert kept[1][0] < 20
        assert torch.equal(kept[0][1], kept[1][1])
