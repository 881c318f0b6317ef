"""The index against a forward unrolling by hand in float64, and its door."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, AdamW

from trivium._core.errors import ArgumentError, ModelError, ResourceError
from trivium._core.tensor_file import write_tensors
from trivium.pathkernel import Index, record

N, STEPS, BATCH = 20, 23, 8
ALL = 10**6
ADAM = (0.9, 0.999, 1e-8)
RUNS = {
    "sgd": (SGD, {"lr": 0.1}),
    "nesterov": (SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    "adam": (Adam, {"lr": 0.01, "weight_decay": 0.01}),
    "adamw": (AdamW, {"lr": 0.01, "weight_decay": 0.1}),
}


def rows(dtype=torch.float64):
    """Return N training rows and their classes."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(N, 5, generator=generator, dtype=dtype)
    return x, torch.randint(3, (N,), generator=generator)


def trained(optimizer, options, clip=None, every=1, dtype=torch.float64, seed=0):
    """Record a small training."""
    torch.manual_seed(seed)
    x, y = rows(dtype)
    net = nn.Sequential(nn.Linear(5, 6), nn.GELU(), nn.Linear(6, 3)).to(dtype)
    steps = optimizer(net.parameters(), **options)
    with record(net, steps, cross_entropy, every=every, stride=5) as recording:
        for _ in range(STEPS):
            ids = torch.randperm(N)[:BATCH]
            recording.batch(ids)
            steps.zero_grad()
            cross_entropy(net(x[ids]), y[ids]).backward()
            if clip:
                nn.utils.clip_grad_norm_(net.parameters(), clip)
            steps.step()
    return recording, x, y


def margins(out: Tensor, chosen: Tensor) -> Tensor:
    """Return the log-odds of chosen classes."""
    own = out.gather(1, chosen[:, None])
    return own[:, 0] - out.scatter(1, chosen[:, None], -torch.inf).logsumexp(1)


class ByHand:
    """Every row's derivative carried forward through each step: Gauss-Newton, dense matrices."""

    def __init__(self, recording, options, clip):
        self.recording, self.options, self.clip = recording, options, clip
        self.net = recording.model
        self.shapes = {name: p.shape for name, p in self.net.named_parameters()}

    def forward(self, flat, x):
        """Return the outputs at flat weights."""
        parts, start = {}, 0
        for name, shape in self.shapes.items():
            parts[name] = flat[start : start + shape.numel()].reshape(shape)
            start += shape.numel()
        return functional_call(self.net, parts, (x,))

    def batch(self, flat, x, y):
        """Return the rows' gradients and the Gauss-Newton matrix of a mean loss."""
        b = len(x)
        gradients = jacrev(lambda v: cross_entropy(self.forward(v, x), y, reduction="none") / b)(
            flat
        )
        outer = jacrev(lambda v: self.forward(v, x))(flat)
        inner = torch.stack(
            [
                jacrev(jacrev(lambda o, c=c: cross_entropy(o[None], c[None]) / b))(out)
                for out, c in zip(self.forward(flat, x), y, strict=True)
            ]
        )
        return gradients, torch.einsum("ncp,ncd,ndq->pq", outer, inner, outer)

    def clipped(self, gradient, slopes):
        """Clip by norm, and its derivative."""
        norm = gradient.norm()
        factor = self.clip / (norm + 1e-6)
        if factor >= 1:
            return gradient, slopes
        along = torch.outer(gradient, gradient @ slopes) / (norm * (norm + 1e-6))
        return factor * gradient, factor * (slopes - along)

    def run(self, x, y):
        """Return the derivative of the trained weights by each row's weight, `(p, n)`."""
        flat = self.recording.checkpoints.held[0].weights.clone()
        p, n, o = len(flat), len(self.recording.ids), self.options
        moved, held = flat.new_zeros(p, n), flat.new_zeros(p, n)
        speed, square = flat.new_zeros(p), flat.new_zeros(p)
        adam, decay = "momentum" not in o and o["lr"] == 0.01, o.get("weight_decay", 0)
        decoupled = adam and decay == 0.1
        for number, note in enumerate(self.recording.notes):
            places = note.pieces[0].places
            ids = torch.tensor([self.recording.ids[i] for i in places])
            own, curved = self.batch(flat, x[ids], y[ids])
            gradient = own.sum(0)
            slopes = (curved @ moved).index_add(1, places, own.T.contiguous())
            if self.clip:
                gradient, slopes = self.clipped(gradient, slopes)
            if decoupled:
                flat, moved = flat * (1 - o["lr"] * decay), moved * (1 - o["lr"] * decay)
            else:
                gradient, slopes = gradient + decay * flat, slopes + decay * moved
            if adam:
                b1, b2, eps = ADAM
                speed, held = b1 * speed + (1 - b1) * gradient, b1 * held + (1 - b1) * slopes
                square = b2 * square + (1 - b2) * gradient**2
                scale = square.sqrt() / (1 - b2 ** (number + 1)) ** 0.5 + eps
                rate = o["lr"] / (1 - b1 ** (number + 1))
                flat, moved = flat - rate * speed / scale, moved - rate * held / scale[:, None]
                continue
            mu = o.get("momentum", 0)
            speed, held = mu * speed + gradient, mu * held + slopes
            flat = flat - o["lr"] * (gradient + mu * speed if mu else gradient)
            moved = moved - o["lr"] * (slopes + mu * held if mu else slopes)
        assert torch.allclose(flat, self.recording.checkpoints.held[-1].weights, atol=1e-12)
        return flat, moved


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("name", RUNS)
def test_all_directions_at_every_step_are_the_unrolled_gauss_newton(name, clip):
    optimizer, options = RUNS[name]
    recording, x, y = trained(optimizer, options, clip)
    hand = ByHand(recording, options, clip)
    flat, moved = hand.run(x, y)
    chosen = hand.forward(flat, x[:3]).argmax(1)
    wanted = jacrev(lambda v: margins(hand.forward(v, x[:3]), chosen))(flat) @ moved
    found = recording.index(ALL, stride=1).contributions(x[:3], "margin")
    assert float((found - wanted).norm() / wanted.norm()) < 1e-12
    held = recording.index(ALL, stride=STEPS).contributions(x[:3], "margin")
    assert float((held - wanted).norm() / wanted.norm()) > 1e-3  # the check can fail


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("name", RUNS)
def test_made_in_all_directions_is_the_accounting_of_one_chord(name, clip):
    recording, x, _ = trained(*RUNS[name], clip, every=f"chord:{STEPS}")
    made = recording.made(x[:3], "margin")
    index = recording.index(ALL, "made", stride=1)
    found = index.contributions(x[:3], "margin")
    assert float((found - made.contributions).norm() / found.norm()) < 1e-12
    assert index.query(x[:3], of="margin").completeness_error < 1e-12
    few = recording.index(2, "made", stride=1)
    assert few.query(x[:3], of="margin").completeness_error > 1e-4


def test_directions_are_the_principal_ones_of_what_rows_moved():
    recording, *_ = trained(*RUNS["sgd"])
    moved = recording.index(ALL, "made", stride=1).members[0].rows  # all of p: displacements
    _, sizes, right = torch.linalg.svd(moved, full_matrices=False)
    member = recording.index(4, "made", stride=1).members[0]
    share = float(sizes[:4].square().sum() / sizes.square().sum())
    assert member.captured == pytest.approx(share, rel=1e-6)
    inside = (right[:4] @ member.basis.T).square().sum()
    assert float(inside) == pytest.approx(4, rel=1e-6)
    eye = torch.eye(4, dtype=torch.float64)
    assert torch.allclose(member.basis @ member.basis.T, eye, atol=1e-12)


def test_gathering_keeps_each_batch_form():
    """Batches of two sizes, a row twice in one, and dropout: exact at every step."""
    x, y = rows()
    torch.manual_seed(5)
    net = nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.3), nn.Linear(4, 3)).double()
    steps = SGD(net.parameters(), lr=0.1)
    with record(net, steps, cross_entropy, every="chord:6") as recording:
        for ids in ([0, 1, 2], [3, 4, 5], [1, 1, 2], [0, 6], [7, 8], [2, 4, 6]):
            recording.batch(ids)
            steps.zero_grad()
            cross_entropy(net(x[ids]), y[ids]).backward()
            steps.step()
    made = recording.made(x[:3]).contributions
    found = recording.index(ALL, "made", stride=1).contributions(x[:3])
    assert float((found - made).norm() / made.norm()) < 1e-12


def test_a_stretch_takes_gradients_in_its_middle():
    """With weights that hardly move, one evaluation a stretch is that of every step."""
    recording, x, _ = trained(SGD, {"lr": 1e-7})
    every = recording.index(ALL, stride=1).contributions(x[:3])
    once = recording.index(ALL, stride=10).contributions(x[:3])
    assert float((once - every).norm() / every.norm()) < 1e-5


def test_same_seed_same_bits_and_saved_and_loaded_the_same(tmp_path):
    recording, x, y = trained(*RUNS["sgd"], dtype=torch.float32)
    a = recording.index(6, stride=5, seed=1)
    b = recording.index(6, stride=5, seed=1)
    assert torch.equal(a.contributions(x[:3]), b.contributions(x[:3]))
    for kind in ("counterfactual", "made", "similar"):
        index = recording.index(6, kind, stride=5)
        index.save(tmp_path / kind)
        fresh = nn.Sequential(nn.Linear(5, 6), nn.GELU(), nn.Linear(6, 3))
        again = Index.load(tmp_path / kind, fresh, cross_entropy)
        assert again.ids == index.ids
        for of in ("logit", "loss"):
            wanted = index.contributions(x[:3], of, y[:3])
            assert torch.equal(again.contributions(x[:3], of, y[:3]), wanted)
    write_tensors("t", tmp_path / "other", "other/1", {"a": torch.ones(1)}, {})
    with pytest.raises(ModelError, match=r"must hold trivium\.index"):
        Index.load(tmp_path / "other", fresh)
    with pytest.raises(ArgumentError, match="load: model must have the 57 trainable weights"):
        Index.load(tmp_path / "made", nn.Linear(5, 3))
    with pytest.raises(ArgumentError, match="needs the training loss"):
        Index.load(tmp_path / "made", fresh).contributions(x[:3], "loss", y[:3])


def test_parts_merge_into_the_whole_and_runs_average():
    recording, x, y = trained(*RUNS["sgd"])
    whole = recording.index(6, stride=5)
    ids = recording.ids
    parts = [recording.index(6, stride=5, rows=part) for part in (ids[7:], ids[:7])]
    merged = parts[0].merge(parts[1])
    assert len(merged.members) == 1
    order = [merged.ids.index(one) for one in ids]
    assert torch.equal(merged.contributions(x[:3])[:, order], whole.contributions(x[:3]))
    with pytest.raises(ArgumentError, match="parts of one run must hold different rows"):
        parts[0].merge(whole)
    other = trained(*RUNS["sgd"], seed=9)[0].index(6, stride=5)
    both = whole.merge(other)
    columns = [other.ids.index(one) for one in both.ids]
    parts = [one.contributions(x[:3], y=y[:3]) for one in (whole, other)]
    mean = (parts[0] + parts[1][:, columns]) / 2
    assert torch.allclose(both.contributions(x[:3], y=y[:3]), mean, rtol=0, atol=1e-14)
    with pytest.raises(ArgumentError, match="of one kind"):
        whole.merge(recording.index(6, "made"))
    net = nn.Linear(5, 3).double()
    steps = SGD(net.parameters(), lr=0.1)
    with record(net, steps, cross_entropy) as small:
        small.batch(range(N))
        cross_entropy(net(x), y).backward()
        steps.step()
    less = small.index(4)
    with pytest.raises(ArgumentError, match="of one architecture"):
        whole.merge(less)


def test_a_query_names_rows_and_says_what_it_is():
    recording, x, _ = trained(*RUNS["sgd"])
    index = recording.index(6, stride=5)
    all_rows = index.contributions(x[:2])
    found = index.query(x[:2], top=3)
    for row in range(2):
        order = all_rows[row].abs().argsort(descending=True)[:3]
        assert found.ids[row] == [index.ids[int(i)] for i in order]
        assert torch.equal(found.values[row], all_rows[row][order])
    assert torch.equal(found.net, all_rows.sum(1))
    assert torch.equal(found.absolute, all_rows.abs().sum(1))
    assert found.completeness_error is None
    assert "not exact" in repr(found)
    assert "counterfactual" in repr(index)
    similar = recording.index(6, "similar", stride=5)
    assert float(similar.contributions(x[:2]).abs().max()) <= 1 + 1e-12
    assert torch.all(similar.query(x[:2], top=2).values[:, 0] > 0)
    made = recording.index(6, "made", stride=5).query(x[:6])
    assert "Completeness error" in repr(made)
    assert "and 1 more" in repr(made)


def test_bad_input_is_named():
    recording, x, _ = trained(*RUNS["sgd"])
    for arguments, message in (
        ({"k": 0}, "index: k must be an integer, positive"),
        ({"kind": "near"}, "index: kind must be one of"),
        ({"stride": 0}, "index: stride must be"),
        ({"rows": [-1]}, "index: rows must be ids that were recorded; got -1"),
    ):
        with pytest.raises(ArgumentError, match=message):
            recording.index(**arguments)
    with pytest.raises(ResourceError, match=r"got a budget of 0\.0 MB"):
        recording.index(4, budget=100)
    index = recording.index(4)
    with pytest.raises(ArgumentError, match="query: top must be"):
        index.query(x, top=0)
    recording.rows.ids[0] = (1, 2)
    with pytest.raises(ArgumentError, match="ids must be integers or strings"):
        recording.index(4).save("nowhere")


def test_rows_coupled_by_batch_normalisation_are_refused():
    x, y = rows()
    net = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).double()
    steps = SGD(net.parameters(), lr=0.1)
    with record(net, steps, cross_entropy) as recording:
        recording.batch(range(N))
        cross_entropy(net(x), y).backward()
        steps.step()
    with pytest.raises(ArgumentError, match="got batch normalization"):
        recording.index(4)
