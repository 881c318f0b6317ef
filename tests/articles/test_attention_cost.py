"""The articles on linear attention: what "n > d" and "the FFN dominates" say, and leave out."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from trivium.cost import CostModel, Machine, TransformerShape, compare, crossover

# Heads, size of a head: BERT-base, BERT-large, and one whose sizes share nothing.
SHAPES = [(12, 64), (16, 64), (7, 10)]


def shape_of(heads, size, layers=2):
    width = heads * size
    return TransformerShape.from_config(
        {
            "model_type": "bert",
            "vocab_size": 101,
            "hidden_size": width,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "intermediate_size": 4 * width,
        }
    )


@pytest.mark.parametrize(("h", "d"), SHAPES)
@pytest.mark.parametrize("n", [1, 128, 513])
def test_the_formulas_are_exact(h, d, n):
    """Per layer 4nh²d² + 2n²hd for attention and 8nh²d² for the feed-forward layer."""
    table = shape_of(h, d).table(n)
    assert table.total("macs", "attention") == 2 * (4 * n * h * h * d * d + 2 * n * n * h * d)
    assert table.total("macs", "ffn") == 2 * 8 * n * h * h * d * d
    assert table.macs == table.total("macs", "attention+ffn") + (h * d) ** 2


class Bert(nn.Module):
    """BERT written out: layers of attention and feed-forward, and the pooler."""

    def __init__(self, h, d, layers):
        super().__init__()
        width = h * d
        self.h, self.d = h, d
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [nn.Linear(width, width) for _ in range(4)]
                + [nn.Linear(width, 4 * width), nn.Linear(4 * width, width)]
            )
            for _ in range(layers)
        )
        self.pooler = nn.Linear(width, width)

    def forward(self, x):
        split = (*x.shape[:2], self.h, self.d)
        for query, key, value, output, up, down in self.layers:
            q, k, v = (part(x).view(split).transpose(1, 2) for part in (query, key, value))
            weights = (q @ k.transpose(-1, -2)).softmax(-1)
            x = x + output((weights @ v).transpose(1, 2).flatten(2))
            x = x + down(nn.functional.gelu(up(x)))
        return self.pooler(x[:, 0])


@pytest.mark.parametrize(("h", "d"), SHAPES)
def test_torch_counts_the_same_to_the_last_flop(h, d):
    with torch.device("meta"):
        model = Bert(h, d, 2)
    for n in (1, 128, 513):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.zeros(3, n, h * d, device="meta"))
        assert shape_of(h, d).table(n, 3).flops == counter.get_total_flops()


@pytest.mark.parametrize(("h", "d"), SHAPES)
def test_the_ffn_dominates_until_2hd_and_the_square_beyond_6hd(h, d):
    shape = shape_of(h, d)
    assert crossover(shape, "ffn", "attention").at == 2 * h * d
    assert crossover(shape, "quadratic", "projections+ffn").at == 6 * h * d


def test_of_bert_base_these_are_1536_and_4608():
    shape = TransformerShape.from_config("bert-base-uncased")
    assert crossover(shape, "ffn", "attention").at == 1536
    assert crossover(shape, "quadratic", "projections+ffn").at == 4608


@pytest.mark.parametrize(("h", "d"), SHAPES)
def test_linear_attention_pays_from_n_above_d_at_equal_heads(h, d):
    """2nhd² against 2n²hd."""
    shape = shape_of(h, d)
    found = crossover(shape, "eager", "linear")
    assert found.at == d
    assert found.crossings[0].larger == "eager"


@pytest.mark.parametrize(("h", "d"), [(12, 64), (16, 64), (8, 10)])
def test_four_times_the_head_forgets_the_projections(h, d):
    """Not 16d but 6hd + 16d with h heads of 4d; 4d with h/4 heads of 4d."""
    shape = shape_of(h, d)
    wide = crossover(shape, "eager", "linear:4d").at
    assert wide == 6 * h * d + 16 * d
    assert wide != 16 * d
    assert crossover(shape, "eager", "linear:h/4").at == 4 * d


def test_of_bert_base_these_are_5632_and_256_not_1024():
    shape = TransformerShape.from_config("bert-base-uncased")
    assert crossover(shape, "eager", "linear:4d").at == 5632
    assert crossover(shape, "eager", "linear:h/4").at == 256


@pytest.mark.parametrize("width", [2, 3, 8])
def test_four_is_no_constant(width):
    """Any width can be asked: 4nh²d²w + 2nhw²d² against 4nh²d² + 2n²hd."""
    h, d = 12, 64
    found = crossover(shape_of(h, d), "eager", f"linear:{width}d").at
    assert found == 2 * h * d * (width - 1) + width * width * d


def test_no_design_is_better_before_its_quality_is_measured():
    shape = TransformerShape.from_config("bert-base-uncased")
    found = compare((shape, ["sdpa", "linear:h/4"]), [4096])
    assert found["linear:h/4"].flops < found["sdpa"].flops
    assert [entry.best for entry in found.entries] == [None, None]
    assert [entry.quality for entry in found.entries] == [None, None]


@pytest.mark.parametrize(("n", "percent"), [(512, 10), (4608, 50)])
def test_what_counters_miss_of_fused_attention(n, percent):
    """A tenth of BERT-base at 512 tokens; at 6hd = 4,608 half of it, but for the pooler."""
    table = TransformerShape.from_config("bert-base-uncased").table(n, attention="sdpa")
    missed = 12 * 2 * n * n * 768
    assert table.total("macs", "quadratic") == missed
    assert table.macs == missed + 12 * 12 * n * 768**2 + 768**2
    assert float(table.share("quadratic")) == pytest.approx(percent / 100, abs=1e-4)


def test_the_cpu_counter_misses_fused_attention():
    q = torch.zeros(1, 2, 16, 8)
    with FlopCounterMode(display=False) as counter:
        nn.functional.scaled_dot_product_attention(q, q, q)
    assert counter.get_total_flops() == 0
    table = shape_of(2, 8, 1).table(16, attention="sdpa")
    assert table.total("flops", "quadratic") == 2 * 2 * 2 * 16 * 16 * 8


@pytest.mark.parametrize("n", [128, 512, 1536, 4608])
def test_the_share_of_each_part(n):
    """4hd, 2n and 8hd of 12hd + 2n, but for the pooler, which is one ten-thousandth at most."""
    table = TransformerShape.from_config("bert-base-uncased").table(n)
    whole = 12 * 768 + 2 * n
    for part, size in (("projections", 4 * 768), ("quadratic", 2 * n), ("ffn", 8 * 768)):
        assert float(table.share(part)) == pytest.approx(size / whole, rel=1e-3)


@pytest.mark.parametrize(
    ("pair", "flops"), [(("ffn", "attention"), 1536), (("quadratic", "projections+ffn"), 4608)]
)
def test_a_crossing_in_time_is_no_crossing_in_flops(pair, flops):
    """The softmax and the bytes of the scores take seconds and no FLOPs: it comes earlier."""
    shape = TransformerShape.from_config("bert-base-uncased")
    clock = CostModel(shape, Machine.datasheet("core-avx512"))
    (time,) = crossover(shape, *pair, "time", clock=clock).crossings
    assert crossover(shape, *pair).at == flops
    assert time.low <= time.estimate <= time.high
    assert time.estimate < 0.6 * flops
    fused = crossover(shape, *pair, "time", clock=clock, attention="sdpa").crossings
    assert all(time.estimate < place.estimate for place in fused)


def test_the_pairs_fill_the_memory_before_they_fill_the_time():
    """At 512 tokens the quadratic term is a tenth of the FLOPs, but most of what is saved."""
    shape = TransformerShape.from_config("bert-base-uncased")
    table = shape.table(512, 8, "train")
    assert float(table.share("quadratic")) == pytest.approx(0.1, abs=1e-3)
    assert float(table.share("quadratic", "saved")) > 0.5
    eager, fused = (shape.peak(512, 8, "train", attention=each) for each in ("eager", "sdpa"))
    assert fused.total < 0.6 * eager.total
