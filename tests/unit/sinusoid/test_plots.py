"""The pictures hold what they say."""

import sys
from typing import Any

import pytest
import torch

from trivium._core.errors import ArgumentError, MissingExtraError, ShapeError
from trivium.kernel import Gaussian
from trivium.kernel.spectral import Geometric, Quantiles, Uniform
from trivium.sinusoid import decay, plot_decay, plot_relativity, relativity


@pytest.fixture
def pyplot() -> Any:
    found = pytest.importorskip("matplotlib.pyplot")
    found.switch_backend("Agg")
    yield found
    found.close("all")


def test_the_decay_is_drawn_with_the_place_where_it_stops(pyplot: Any) -> None:
    plans = {"ours": Geometric(), "bell": Quantiles(Gaussian(50.0)), "even": Uniform()}
    left, right = plot_decay(plans, n_frequencies=16, near=32)
    curves = {line.get_label(): line for line in right.lines}
    x, y = (torch.as_tensor(each) for each in curves["ours"].get_data())
    assert torch.equal(y, decay(x))
    marks = [line for line in right.lines if line.get_marker() == "o"]
    solid = [float(m.get_xdata()[0]) for m in marks if m.get_markerfacecolor() != "white"]
    assert solid == pytest.approx([6166.0, 3.1416], rel=1e-3)  # a Gaussian has none
    said = {text.get_text() for text in right.texts}
    assert said == {"stops at 6,166", "stops at 3.14"}
    assert left.get_xlim()[1] > 32
    assert right.get_xscale() == "log"
    assert [t.get_text() for t in right.get_legend().get_texts()][:2] == ["±1/√d", "ours"]
    alone = plot_decay()[1]
    assert [t.get_text() for t in alone.get_legend().get_texts()] == [repr(Geometric())]


def test_each_head_is_drawn_with_its_share(pyplot: Any) -> None:
    torch.manual_seed(0)
    P, H = torch.randn(12, 6), torch.randn(2, 6, 6)
    grid = plot_relativity(P, H)
    assert grid.shape == (2, 3)
    share = float(relativity(P, H)[1])
    assert grid[1][2].get_title() == f"{100 * share:.3g} % of the variance is Toeplitz"
    drawn = torch.as_tensor(grid[1][1].images[0].get_array())
    assert torch.allclose(drawn, (P @ H[1] @ P.mT).double(), atol=1e-5)
    assert plot_relativity(P).shape == (1, 3)


def test_bad_input_is_refused(pyplot: Any) -> None:
    with pytest.raises(
        ArgumentError, match=r"plot_decay: far must be above near, 64, and 1; got 9"
    ):
        plot_decay(far=9)
    with pytest.raises(ArgumentError, match="plot_decay: near must be a number, positive"):
        plot_decay(near=0)
    with pytest.raises(ArgumentError, match="hessian must have at most 8 heads; got 9"):
        plot_relativity(torch.ones(3, 2), torch.ones(9, 2, 2))
    with pytest.raises(ShapeError, match="hessian must have the axes"):
        plot_relativity(torch.ones(3, 2), torch.ones(2, 2, 2, 2))


def test_a_picture_without_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("matplotlib", "matplotlib.pyplot"):
        monkeypatch.setitem(sys.modules, name, None)
    for call in (plot_decay, lambda: plot_relativity(torch.ones(3, 2))):
        with pytest.raises(MissingExtraError, match=r"pip install 'trivium\[plot\]'"):
            call()
