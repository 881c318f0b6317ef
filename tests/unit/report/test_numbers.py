"""How numbers are written."""

import math

import pytest

from trivium.report import numbers
from trivium.report.numbers import NA

BAD = [None, float("nan"), float("inf"), float("-inf"), "7", True, b"1", object(), 10**400]


@pytest.mark.parametrize(
    "write",
    [
        numbers.count, numbers.number, numbers.fixed, numbers.percent, numbers.share,
        numbers.points, numbers.p_value, numbers.clock, numbers.size,
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", BAD, ids=[str(value)[:8] for value in BAD])
def test_what_is_not_a_finite_number_is_said_to_be_none(write, value):
    assert write(value) == NA


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (numbers.count(1797), "1,797"),
        (numbers.count(-2), "\u22122"),
        (numbers.number(0.0001), "0.000100"),
        (numbers.number(1234567.0), "1.2\u00a0×\u00a010⁶"),
        (numbers.number(-0.5), "\u22120.500"),
        (numbers.number(27.3, 2), "27"),
        (numbers.percent(0.8412), "84.1\u202f%"),
        (numbers.percent(0.99999), "> 99.9\u202f%"),
        (numbers.percent(1.0), "100.0\u202f%"),
        (numbers.share(1.0), "100\u202f%"),
        (numbers.share(0.0), "0\u202f%"),
        (numbers.points(-0.0071), "\u22120.7"),
        (numbers.points(-0.00001), "0.0"),
        (numbers.p_value(0.0), "< 0.001"),
        (numbers.p_value(0.04999), "0.050"),
        (numbers.p_value(1.0), "1.00"),
        (numbers.clock(0.0), "0\u202fms"),
        (numbers.clock(0.0034), "3.4\u202fms"),
        (numbers.clock(200), "3\u202fmin 20\u202fs"),
        (numbers.size(512), "512\u202fB"),
        (numbers.size(1_234_567), "1.2\u202fMB"),
        (numbers.size(5e12), "5,000\u202fGB"),
    ],
)
def test_numbers_are_written_without_false_precision(written, expected):
    assert written == expected


@pytest.mark.parametrize(
    ("mean", "low", "high", "style", "expected"),
    [
        (0.841, 0.829, 0.853, "percent", ("84.1\u202f%", "82.9 to 85.3")),
        (0.5, 0.3, 0.7, "percent", ("50\u202f%", "30 to 70")),
        (0.9871, 0.9869, 0.9873, "percent", ("98.71\u202f%", "98.69 to 98.73")),
        (0.431, 0.41, 0.452, "number", ("0.431", "0.410 to 0.452")),
        (12.3, 2.0, 24.0, "number", ("12", "2 to 24")),
        (-0.0071, -0.0175, 0.0033, "points", ("\u22120.7", "\u22121.8 to +0.3")),
        (0.84, None, None, "percent", ("84.0\u202f%", "")),
        (math.nan, 0.1, 0.2, "percent", (NA, "")),
        (0.5, math.nan, 0.2, "percent", ("50.0\u202f%", "")),
        (0.0, 0.0, 0.0, "points", ("0.0", "0.0 to 0.0")),
    ],
)
def test_an_interval_sets_the_decimals(mean, low, high, style, expected):
    assert numbers.interval(mean, low, high, style) == expected
