"""Counts and peaks of a BERT written out in plain torch; needs nothing but torch."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from trivium.cost import TransformerShape

sys.path.insert(0, str(Path(__file__).parent))
from memory_tracker import Tracker

sys.path.pop(0)

WIDTH, HEADS, INNER, LAYERS, WORDS, PLACES = 96, 4, 384, 3, 499, 256
SHAPE = {
    "vocab_size": WORDS,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": INNER,
    "max_position_embeddings": PLACES,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


class Encoder(nn.Module):
    """A layer, normalized behind each sublayer; softmax written out, or in torch's kernel."""

    def __init__(self, *, fused):
        super().__init__()
        self.fused = fused
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def attend(self, x):
        split = (*x.shape[:2], HEADS, WIDTH // HEADS)
        q, k, v = (f(x).view(split).transpose(1, 2) for f in (self.query, self.key, self.value))
        if self.fused:
            mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            weights = (q @ k.transpose(-1, -2)) * split[-1] ** -0.5
            weights = weights.softmax(-1)
            mixed = weights @ v
        mixed = self.out(mixed.transpose(1, 2).flatten(2))
        return self.first(x + mixed), None if self.fused else weights

    def forward(self, x):
        # The weights live to the end of the layer, as they do in transformers.
        x, _weights = self.attend(x)
        inner = self.up(x)
        inner = nn.functional.gelu(inner)
        return self.second(x + self.down(inner))


class Bert(nn.Module):
    """Words and places, layers, the vector of a row."""

    def __init__(self, *, fused):
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(PLACES, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.layers = nn.ModuleList(Encoder(fused=fused) for _ in range(LAYERS))
        self.pooler = nn.Linear(WIDTH, WIDTH)

    def forward(self, ids):
        x = first = self.norm(self.words(ids) + self.places(torch.arange(ids.shape[1])))
        for layer in self.layers:
            x = layer(x)
        del first
        return x, self.pooler(x[:, 0]).tanh()


def peak_of(fused, ids, *, train):
    model = Bert(fused=fused)
    with torch.set_grad_enabled(train), Tracker(list(model.parameters()), ids) as tracker:
        out, pooled = model(ids)
        if train:
            (out.sum() + pooled.sum()).backward()
    return tracker.peak


@pytest.fixture
def shape():
    return TransformerShape.from_config({**SHAPE, "model_type": "bert", "type_vocab_size": 0})


@pytest.mark.parametrize("n", [16, 64, 256])
def test_counts(shape, n):
    model = Bert(fused=False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(2, n, dtype=torch.long))
    assert shape.table(n, 2).flops == counter.get_total_flops()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("mode", ["forward", "train"])
@pytest.mark.parametrize("n", [16, 64, 256])
def test_peaks(shape, mode, attention, n):
    ids = torch.zeros(2, n, dtype=torch.long)
    theirs = peak_of(attention == "sdpa", ids, train=mode == "train")
    ours = shape.peak(n, 2, mode, attention=attention)
    assert ours.total == pytest.approx(theirs, rel=0.03), ours


def test_the_designs_differ(shape):
    """The comparison sees the matrix of pairs: each design is far from the other's peak."""
    theirs = peak_of(False, torch.zeros(2, 256, dtype=torch.long), train=True)
    other = shape.peak(256, 2, "train", attention="sdpa").total
    assert other < 0.8 * theirs


def test_the_tracker_sees_what_goes():
    with Tracker() as tracker:
        one = torch.zeros(1000)
        two = one + 1
        del one
        three = two + 1
        view = three[1:]
    assert tracker.now == 8000
    assert tracker.peak == 8000
    del two, three
    assert tracker.now == 4000
    del view
    assert tracker.now == 0
