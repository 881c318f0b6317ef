"""The charts: where the marks stand, and that odd numbers break none."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from scipy.stats import binomtest

from trivium.report.charts import (
    FunctionPair,
    Scale,
    Side,
    band_line,
    bar,
    diverging,
    histogram,
    multiples,
    reliability,
    shade,
    step,
    whisker,
)
from trivium.report.charts.functions import function_pair
from trivium.report.charts.reliability import wilson
from trivium.report.charts.svg import element


def attributes(markup, name):
    return [float(value) for value in re.findall(rf'\b{name}="(-?[\d.]+)%?"', markup)]


def test_elements_escape_text_and_attributes():
    assert element("text", "<&", x='"') == '<text x="&#34;">&lt;&amp;</text>'
    assert element("rect", x=math.nan, y=1 / 3) == '<rect x="0" y="0.33"/>'


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=6))
def test_an_axis_holds_its_numbers_between_round_ticks(values):
    scale = Scale.around(values)
    slack = 1e-9 * max(abs(scale.low), abs(scale.high))
    assert scale.low - slack <= min(values)
    assert max(values) <= scale.high + slack
    assert list(scale.ticks) == sorted(set(scale.ticks))
    assert all(0 <= scale.place(value) <= 1 for value in values)


@pytest.mark.parametrize("values", [[], [None], [math.nan], [0.0], [5.0, 5.0], [1.0]])
def test_an_axis_of_nothing_or_of_one_number_is_still_an_axis(values):
    scale = Scale.around(values, bounds=(0.0, 1.0)) if values == [1.0] else Scale.around(values)
    assert scale.low < scale.high


def test_an_axis_of_shares_stays_between_zero_and_one():
    scale = Scale.around([0.97, 0.995, 1.02], bounds=(0.0, 1.0))
    assert scale.high == 1.0


def test_a_bar_has_its_length_and_is_hollow_inside_the_band():
    assert attributes(bar(0.25, 0.5, 0.1), "width")[1:] == [20.0, 50.0]
    assert 'class="bar"' in bar(0.25, 0.5, 0.1)
    assert 'class="bar weak"' in bar(0.05, 0.5, 0.1)
    assert "rect" not in bar(None, 1.0)


def test_a_dot_off_the_axis_becomes_an_arrow():
    scale = Scale(0.8, 0.9, (0.8, 0.9))
    assert attributes(whisker(scale, 0.85, 0.82, 0.88), "cx") == [50.0]
    assert "\u25c2" in whisker(scale, 0.5, 0.4, 0.6)
    assert "\u25b8" in whisker(scale, 0.95, 0.9, 1.0)
    assert "circle" not in whisker(scale, None, None, None)


def test_signed_bars_leave_the_middle_to_their_own_side():
    assert attributes(diverging(0.5, 1.0), "x")[-1] == 50.0
    assert attributes(diverging(-0.5, 1.0), "x")[-1] == 25.0
    assert "against" in diverging(-0.5, 1.0)
    assert "rect" not in diverging(None, 1.0)
    assert "rect" not in diverging(1.0, 0.0)


def test_a_step_begins_where_the_last_one_ended():
    scale = Scale(0.0, 2.0, (0.0, 2.0))
    first, second = step(scale, 0.0, 1.5), step(scale, 1.5, 0.5)
    assert attributes(first, "width")[-1] == 75.0
    assert attributes(second, "x")[-1] == 25.0
    assert "against" in second


def test_a_histogram_counts_every_value_once():
    markup = histogram([0.0, 0.05, 0.1, 0.999, 1.0, 3.0], title="t", even=True)
    spoken = re.search(r"<desc>(.*?)</desc>", markup).group(1)
    assert sum(int(n) for n in re.findall(r": (\d+)", spoken)) == 6
    assert spoken.startswith("0 to 0.1: 2, 0.1 to 0.2: 1")
    assert histogram([], title="t").count("<rect") == 10


def test_a_line_goes_through_its_points_inside_the_plot():
    points = [(0.0, 0.0, None, None), (5.0, 1.0, 0.5, 1.5), (10.0, 2.0, 1.0, 3.0)]
    markup = band_line(points, title="t", across="n", write=str)
    assert markup.count("<circle") == 3
    assert markup.count("<polygon") == 1
    assert all(0 <= x <= 100 for x in attributes(markup, "cx"))
    assert "polyline" not in band_line(points[:1], title="t", across="n", write=str)


@pytest.mark.parametrize(("share", "rows"), [(0.0, 5), (0.5, 100), (0.93, 41), (1.0, 2)])
def test_wilson_intervals_agree_with_scipy(share, rows):
    expected = binomtest(round(share * rows), rows).proportion_ci(method="wilson")
    low, high = wilson(round(share * rows) / rows, rows)
    assert low == pytest.approx(expected.low, abs=1e-12)
    assert high == pytest.approx(expected.high, abs=1e-12)


def test_a_reliability_diagram_puts_the_diagonal_on_the_diagonal():
    markup = reliability([(0.25, 0.25, 4.0), (0.75, 0.75, 0.0)], title="t")
    x, y = attributes(markup, "cx"), attributes(markup, "cy")
    assert x[1] - x[0] == pytest.approx(y[0] - y[1])
    assert markup.count("whisker") == 1  # no interval without rows


def test_shades_grow_with_the_part_of_the_row():
    assert shade(1.0, correct=True) == "right-8"
    assert shade(None, correct=False) == shade(0.0, correct=False) == ""


def pair_of(column, label):
    return FunctionPair(Markup("<b>x</b>"), Markup("rises"), "f and g of <x>", column, label)


def test_a_pair_of_functions_is_a_curve_and_a_stem_for_each_level():
    curve = Side("f", (0.0, 1.0, 2.0), (-1.0, 1.0, 0.0))
    levels = Side("g", ("no", "yes"), (0.5, -0.5), levels=True)
    markup = function_pair(pair_of(curve, levels))
    points = re.search(r'points="([^"]*)"', markup).group(1).split()
    # From floor (-1) to top (1), in the middle at 0.
    assert points == ["0.0,96.0", "50.0,18.0", "100.0,57.0"]
    assert markup.count("<circle") == 2
    assert attributes(markup, "cx") == pytest.approx([63 + 37 / 4, 63 + 3 * 37 / 4])
    assert attributes(markup, "cy") == [18.0, 96.0]
    assert ">no</text>" in markup
    assert "f is lowest at 0 and highest at 1.00. g is lowest at yes and highest at no" in markup
    assert "&lt;x&gt;" in markup


def test_names_that_do_not_fit_are_left_to_the_extremes():
    curve = Side("f", (0.0, 1.0), (0.0, 1.0))

    def names(*places):
        heights = [0.1 * i for i in range(len(places))]
        markup = function_pair(pair_of(curve, Side("g", places, heights, levels=True)))
        height = float(re.search(r'role="img" width="100%" height="([\d.]+)"', markup).group(1))
        return height, [p for p in places if f">{p or 'missing'}</text>" in markup]

    assert names("a", "b", None) == (130.0, ["a", "b", None])
    assert names("a", "b", "c") == (116.0, ["a", "b", "c"])
    assert names("first one", "second", "third", "the last") == (130.0, ["first one", "the last"])
    # Wide characters need twice the room.
    assert names("\u597d\u8bc4\u4e2d", "\u4e2d\u8bc4\u4e2d", "\u5dee\u8bc4\u4e2d")[0] == 130.0
    assert names("abc", "abd", "abe")[0] == 116.0


def test_dates_of_a_function_are_written_as_days():
    dates = Side("f", (0.0, 365.0), (0.0, 1.0), dates=True)
    far = Side("f", (-1e12, 1e12), (0.0, 1.0), dates=True)
    levels = Side("g", ("a", "b"), (0.0, 0.0), levels=True)
    assert ">1970-01-01</text>" in function_pair(pair_of(dates, levels))
    assert "10\u00b9\u00b2</text>" in function_pair(pair_of(far, levels))
    assert multiples([pair_of(dates, levels)] * 3).count('class="multiple"') == 3
