"""Labels that the training contradicts, and the bar that shows its progress."""

import copy
import io
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim import SGD, Adam

from trivium._core.errors import ArgumentError, DataError, ModelError
from trivium.pathkernel import LabelIssues, label_issues
from trivium.pathkernel.progress import Ticker


def flipped(lab, n=120):
    x, y = lab.data(n=n, dtype=torch.float32)
    x[torch.arange(n), y] += 3.0  # three clusters
    wrong = torch.arange(0, n, 10)
    noisy = y.clone()
    noisy[wrong] = (y[wrong] + 1) % 3
    return x, noisy, y, wrong


@pytest.fixture(scope="module")
def recorded(lab):
    x, noisy, y, wrong = flipped(lab)
    net = lab.mlp(torch.float32, nn.ReLU)
    optimizer = SGD(net.parameters(), lr=0.3)
    recording, _ = lab.trained(net, optimizer, x, noisy, steps=240, batch=24)
    return recording, noisy, y, wrong


def auc(found, wrong):
    rank = found.scores.argsort().argsort().double()
    bad = torch.isin(torch.tensor(found.ids), wrong)
    above = (rank[bad][:, None] > rank[~bad][None]).double().mean()
    return float(above)


@pytest.mark.parametrize(("score", "least"), [("margin", 0.95), ("support", 0.95), ("self", 0.85)])
def test_flipped_labels_come_first(recorded, score, least):
    recording, noisy, y, wrong = recorded
    found = label_issues(recording, score)
    assert auc(found, wrong) > least
    shuffled = LabelIssues(found.ids, found.scores.flip(0), found.labels, found.suggested, score)
    assert auc(shuffled, wrong) < 0.75  # the check can fail
    place = torch.tensor(found.ids)
    assert torch.equal(found.labels, noisy[place])
    suspects = torch.isin(place, wrong)
    right = (found.suggested == y[place])[suspects].double().mean()
    assert float(right) > 0.7


def test_support_is_what_the_others_made_on_average_over_the_run(lab, monkeypatch):
    monkeypatch.setattr(sys.modules["trivium.pathkernel.label_issues"], "_CHORD", 1)
    x, y = lab.data(n=60)
    net = lab.mlp()
    start = copy.deepcopy(net)
    recording, batches = lab.trained(net, SGD(net.parameters(), lr=0.2), x, y, steps=8)
    ids = torch.tensor(recording.ids)
    calls = []
    found = label_issues(
        recording,
        "support",
        budget=7000,
        progress=lambda done, total: calls.append((done, total)),
    )

    def margins(model):
        out = model(x[ids])
        own = out.gather(1, y[ids, None])[:, 0]
        return own - out.scatter(1, y[ids, None], -torch.inf).logsumexp(1)

    hand = lab.ByHand(start, x, y, batches, lr=0.2)
    hand.contributions(margins)
    expected = 0.0
    for number, made in enumerate(hand.by_step):
        others = made.sum(1) - made[torch.arange(len(ids)), ids]
        expected = expected + (1 - number / 8) * others
    torch.testing.assert_close(-found.scores, expected)
    n_blocks = -(-len(ids) // (7000 // (8 * len(ids))))
    assert n_blocks > 1
    assert calls[-1] == (8 * n_blocks, 8 * n_blocks)


def test_margin_is_the_average_over_the_run(lab):
    x, y = lab.data(n=20)
    net = lab.mlp()
    recording, _ = lab.trained(net, Adam(net.parameters(), lr=0.05), x, y, steps=12, stride=1)
    ids = torch.tensor(recording.ids)
    found = label_issues(recording)
    margins = []
    with torch.no_grad():
        for checkpoint in recording.checkpoints.held[1:]:
            nn.utils.vector_to_parameters(checkpoint.weights, net.parameters())
            out = net(x[ids])
            own = out.gather(1, y[ids, None])[:, 0]
            rest = out.scatter(1, y[ids, None], -torch.inf).logsumexp(1)
            margins.append(own - rest)
    torch.testing.assert_close(-found.scores, torch.stack(margins).mean(0))


def test_few_checkpoints_are_replayed(lab):
    x, y = lab.data(n=20)
    scores = []
    for stride in (1, 12):
        net = lab.mlp()
        optimizer = SGD(net.parameters(), lr=0.2)
        recording, _ = lab.trained(net, optimizer, x, y, steps=12, stride=stride)
        assert (len(recording.checkpoints.held) == 13) == (stride == 1)
        scores.append(label_issues(recording).scores)
    torch.testing.assert_close(*scores)


def test_binary_targets(lab):
    x, _ = lab.data(n=60)
    y = (x[:, :1] > 0).double()
    y[3] = 1 - y[3]
    net = lab.mlp(c=1)
    loss = functional.binary_cross_entropy_with_logits
    recording, _ = lab.trained(net, SGD(net.parameters(), lr=0.5), x, y, loss=loss, steps=80)
    found = label_issues(recording)
    assert found.ranked[0] == 3
    assert int(found.suggested[recording.ids.index(3)]) == 1 - int(y[3])


def test_what_it_shows_and_keeps(recorded, tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    found = label_issues(recorded[0])
    ax = found.plot(6)
    assert len(ax.get_yticklabels()) == 6
    assert ax.get_yticklabels()[0].get_text().startswith(f"{found.ranked[0]}: ")
    pyplot.close(ax.get_figure())
    frame = found.to_frame("pyarrow")
    assert frame["id"].to_pylist() == found.ranked
    assert frame["score"].to_pylist() == sorted(frame["score"].to_pylist(), reverse=True)
    assert "a ranking, without a threshold" in repr(found)
    found.save(tmp_path / "issues")
    again = LabelIssues.load(tmp_path / "issues")
    assert again.ranked == found.ranked
    assert again.score == found.score
    recorded[0].made(torch.zeros(1, 6)).save(tmp_path / "made")
    with pytest.raises(ModelError):
        LabelIssues.load(tmp_path / "made")
    with pytest.raises(ArgumentError, match="backend"):
        found.to_frame("excel")
    with pytest.raises(ArgumentError, match="k must be"):
        found.plot(0)


def test_guards(lab):
    x, y = lab.data(n=20)
    net = lab.mlp()
    recording, _ = lab.trained(net, SGD(net.parameters(), lr=0.1), x, y, steps=2)
    with pytest.raises(ArgumentError, match="score must be one of"):
        label_issues(recording, "loss")
    net = lab.mlp()
    optimizer = SGD(net.parameters(), lr=0.1)
    recording, _ = lab.trained(net, optimizer, x, y, steps=2, augmented=True)
    with pytest.raises(DataError, match="must keep its rows"):
        label_issues(recording)
    net = lab.mlp(c=1)
    recording, _ = lab.trained(
        net, SGD(net.parameters(), lr=0.1), x, x[:, :1], loss=nn.MSELoss(), steps=2
    )
    with pytest.raises(ArgumentError, match="one class a row"):
        label_issues(recording)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_on_a_terminal_and_silence_elsewhere(monkeypatch):
    for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr("trivium.pathkernel.progress._PATIENCE", 0.0)
        with Ticker("made", 2) as ticker:
            ticker.tick(1)
            ticker.tick(1)
        assert ("made" in stream.getvalue()) == shown
    quick = Terminal()
    monkeypatch.setattr(sys, "stderr", quick)
    monkeypatch.setattr("trivium.pathkernel.progress._PATIENCE", 60.0)
    with Ticker("made", 1) as ticker:
        ticker.tick(1)
    assert quick.getvalue() == ""
