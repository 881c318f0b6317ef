"""The picture: what stands in each panel, with a clock and without."""

from dataclasses import dataclass

import pytest

from trivium._core.errors import ArgumentError
from trivium.cost import Asked, Lengths, Machine, TransformerShape, cost_report

pyplot = pytest.importorskip("matplotlib.pyplot")
from trivium.cost.picture import draw  # noqa: E402

BERT = TransformerShape.from_config("bert-base-uncased")
GPT2 = TransformerShape.from_config("gpt2")
ROWS = Lengths((100,) * 9 + (3000,))


@dataclass(frozen=True)
class Steady:
    """A clock of so many FLOPs a second, sure to a share of what it says."""

    rate: float = 1e9
    spread: float = 0.0

    def seconds(self, table):
        middle = table.flops / self.rate
        return middle * (1 - self.spread), middle, middle * (1 + self.spread)


class Partly(Steady):
    """A clock that was not calibrated for linear attention."""

    def seconds(self, table):
        if any(row.group == "state" for row in table.rows):
            raise ArgumentError("Machine: kind must be one of linear, product; got 'state'")
        return super().seconds(table)


class Refusing:
    def seconds(self, table):
        raise ArgumentError("clock: mode must be forward; got 'train'")


@pytest.fixture(autouse=True)
def closed():
    pyplot.switch_backend("Agg")
    yield
    pyplot.close("all")


def listed(axes):
    """The list of crossings beside the memory."""
    return axes[2].texts[-1].get_text().split("\n")


def letters(axes):
    return {text.get_text(): text.xy[0] for text in axes.texts}


def test_shares_crossings_memory_and_rows():
    axes = draw(cost_report(BERT, [128], ["sdpa", "linear:h/4"], ROWS))
    shares, costs, memory, rows = axes
    legend = [text.get_text() for text in shares.get_legend().get_texts()]
    assert legend == ["pooler", "ffn", "quadratic", "projections"]
    top = shares.collections[-1].get_paths()[0].vertices[:, 1].max()
    assert top == pytest.approx(1.0)
    assert letters(shares) == {"A": 1536.0, "B": pytest.approx(4608.01, abs=0.01), "C": 256.0}
    assert listed(axes) == [
        *("A  ffn = attention:", "     n = 1,536"),
        *("B  quadratic = rest:", "     n = 4,608.01"),
        *("C  eager = linear:h/4:", "     n = 256"),
    ]
    assert costs.get_ylabel() == "FLOPs a token (no clock given)"
    names = [text.get_text() for text in costs.get_legend().get_texts()]
    assert names == ["eager", "sdpa", "linear:h/4"]
    eager, _, linear = (line for line in costs.lines if len(line.get_xdata()) > 2)
    ahead = eager.get_ydata() > linear.get_ydata()
    assert next(n for n, more in zip(eager.get_xdata(), ahead, strict=True) if more) >= 256
    peaks = memory.lines[0]
    at = list(peaks.get_xdata()).index(peaks.get_xdata()[10])
    assert peaks.get_ydata()[at] == BERT.peak(int(peaks.get_xdata()[at])).total
    assert sum(bar.get_height() for bar in rows.patches) == ROWS.tokens


def test_a_clock_brings_seconds_bands_and_crossings_in_time():
    report = cost_report(BERT, [128], ["linear:h/4"], ROWS)
    sure = draw(report, Steady())
    assert sure[1].get_ylabel() == "seconds a token"
    # At a steady rate the seconds cross where the FLOPs do.
    assert listed(sure)[1] == "     n = 1,536, 1,536 in seconds"
    (band, _) = draw(report, Steady(spread=0.1))[1].collections
    (path,) = band.get_paths()
    at = sorted(y for x, y in path.vertices if x == path.vertices[5][0])
    assert at[-1] / at[0] == pytest.approx(1.1 / 0.9)
    wide = draw(report, Steady(spread=0.1))
    assert "to" in listed(wide)[1]
    assert "A" in letters(wide[1])
    dots = [line for line in wide[1].lines if line.get_marker() == "o"]
    assert float(dots[0].get_xdata()[0]) == pytest.approx(1536)


def test_the_machine_of_a_report_is_its_clock():
    machine = Machine.datasheet("core-avx512")
    report = cost_report(BERT, [128], ["sdpa"], ROWS, Asked(machine=machine))
    axes = draw(report)
    assert axes[1].get_ylabel() == "seconds a token"
    places = {(each.a, each.b): each.crossings[0] for each in report.timed.crossovers[:1]}
    assert listed(axes)[1] == f"     n = 1,536, {places['ffn', 'attention']} in seconds"


def test_designs_without_a_crossing_in_flops_are_held_against_each_other_in_seconds():
    # Designs that no crossing in FLOPs is told of are held against each other in seconds alone.
    axes = draw(cost_report(BERT, [128], ["sdpa"], ROWS, Asked(mode="train")), Steady())
    assert any(line.endswith("in seconds") for line in listed(axes))


def test_a_design_that_the_clock_does_not_know_is_named():
    axes = draw(cost_report(BERT, [128], ["sdpa", "linear:h/4"], ROWS), Partly())
    names = [text.get_text() for text in axes[1].get_legend().get_texts()]
    assert names == ["eager", "sdpa", "linear:h/4: not calibrated"]
    # Its crossing is known in FLOPs alone, and its memory is drawn.
    assert listed(axes)[5] == "     n = 256"
    assert sum(len(line.get_xdata()) > 2 for line in axes[2].lines) == 3


def test_a_cache_is_drawn_where_there_is_one():
    report = cost_report(GPT2, [512], ["sdpa"], None, Asked(mode="decode"))
    _, costs, memory, rows = draw(report)
    (legend,) = memory.get_legend().get_texts()
    assert legend.get_text() == "cache alone"
    lines = [line for line in memory.lines if len(line.get_xdata()) > 2]
    n, last = lines[1].get_xdata()[-1], lines[1].get_ydata()[-1]
    assert last == GPT2.table(1, mode="decode", context=int(n)).total("cache")
    assert rows.get_xlabel() == "tokens in the cache"
    assert [text.get_text() for text in costs.get_legend().get_texts()] == ["eager", "sdpa"]
    assert draw(cost_report(BERT, [512]))[2].get_legend() is None


def test_letters_that_would_touch_stand_in_steps():
    report = cost_report(BERT, [128], ["linear:4d", "linear:4d:c64"], ROWS)
    heights = {text.get_text(): text.xyann[1] for text in draw(report)[0].texts}
    assert len({heights["C"], heights["D"]}) == 2


def test_ticks_have_units():
    axes = draw(cost_report(BERT, [128]), Steady())
    tell = axes[1].yaxis.get_major_formatter()
    assert [tell(value, 0) for value in (0.002, 0, 3.0, 1500.0)] == ["2 ms", "0", "3 s", "1.5 ks"]
    tell = axes[2].yaxis.get_major_formatter()
    assert tell(1e10, 0) == "10 GB"


def test_what_it_cannot_draw():
    with pytest.raises(ArgumentError, match="196 patches"):
        draw(cost_report(TransformerShape.from_config("vit-base-patch16-224"), []))
    with pytest.raises(ArgumentError, match="mode must be forward"):
        draw(cost_report(BERT, [128]), Refusing())
