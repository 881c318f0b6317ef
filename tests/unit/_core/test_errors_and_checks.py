"""Each guard trips, each error is also a builtin and names its exit code."""

import numpy as np
import pytest
import torch

from trivium._core import errors
from trivium._core.checks import check_choice, check_finite, check_number, check_shapes, require


def test_every_error_is_a_builtin_with_an_exit_code() -> None:
    classes = [
        value
        for name in errors.__all__
        if issubclass(value := getattr(errors, name), errors.TriviumError)
        and value is not errors.TriviumError
    ]
    assert len(classes) >= 9
    for cls in classes:
        others = [base for base in cls.__mro__ if base.__module__ == "builtins"]
        assert others[0] is not Exception, cls
        assert cls.exit_code in {1, 2, 3, 5}
        assert cls.default_code.startswith("E-")


def test_error_text_has_what_where_and_remedy() -> None:
    error = errors.DataError("f: x must be y; got z", where="row 3", remedy="Do w.", code="E-Q")
    assert str(error) == "f: x must be y; got z (row 3). Do w."
    assert error.as_dict() == {
        "code": "E-Q",
        "what": "f: x must be y; got z",
        "where": "row 3",
        "remedy": "Do w.",
        "exit_code": 3,
    }


def test_choice_lists_the_choices() -> None:
    assert check_choice("f", "mode", "a", ("a", "b")) == "a"
    with pytest.raises(errors.ArgumentError, match=r"f: mode must be one of 'a', 'b'; got 'c'"):
        check_choice("f", "mode", "c", ("a", "b"))
    with pytest.raises(errors.ArgumentError):
        check_choice("f", "mode", ["a"], ("a", "b"))


@pytest.mark.parametrize(
    ("value", "rule", "integer"),
    [
        (0, "positive", False),
        (-1, "non-negative", False),
        (1.0, "in (0, 1)", False),
        (1.1, "in [0, 1]", False),
        (float("nan"), "finite", False),
        (float("inf"), "positive", True),
        (1.5, "positive", True),
        (True, "finite", False),
        ("x", "finite", False),
        ("1", "finite", False),
        (b"1", "finite", False),
        (None, "finite", False),
    ],
)
def test_number_breaks_its_rule(value: object, rule: str, integer: bool) -> None:
    with pytest.raises(errors.ArgumentError, match="f: n must be"):
        check_number("f", "n", value, rule, integer=integer)


def test_number_keeps_its_rule() -> None:
    assert check_number("f", "n", np.int64(3), "positive", integer=True) == 3
    assert check_number("f", "n", 0.5, "in (0, 1)") == 0.5


def test_shapes_name_axis_and_both_arguments() -> None:
    with pytest.raises(
        errors.ShapeError, match=r"hsic: axis n is 3 in x but 4 in y \(shapes \(3, 2\), \(4, 1\)\)"
    ):
        check_shapes("hsic", {"x": (torch.zeros(3, 2), "n d"), "y": (torch.zeros(4, 1), "n e")})
    with pytest.raises(errors.ShapeError, match=r"x must have the axes \(n, d\); got shape \(3,\)"):
        check_shapes("f", {"x": (torch.zeros(3), "n d")})
    with pytest.raises(errors.ShapeError, match="axis 2 is 2 in the rule but 3 in x"):
        check_shapes("f", {"x": (torch.zeros(3), "2")})
    assert check_shapes("f", {"x": (torch.zeros(5, 4, 3), "... n")}) == {"n": 3}


def test_finite_names_the_first_place() -> None:
    x = torch.zeros(3, 2)
    check_finite("f", "x", x)
    check_finite("f", "x", torch.full((2,), 3e38))  # its sum overflows, its values do not
    x[1, 1] = float("nan")
    with pytest.raises(errors.DataError, match=r"got nan and 0 more \(row 1, column 1\)"):
        check_finite("f", "x", x)


def test_missing_package_names_the_extra() -> None:
    with pytest.raises(errors.MissingExtraError, match=r"pip install 'trivium\[plot\]'"):
        require("no_such_package_here", "plot", "f")
