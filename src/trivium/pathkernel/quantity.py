"""What is asked about: one number for each row of a model's output."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, ShapeError

__all__ = ["Quantity", "quantity"]

Quantity = Callable[..., Tensor]
_CHOICES = ("logit", "margin", "loss")


def quantity(
    caller: str,
    of: str | Quantity,
    output: Any,
    y: Tensor | None,
    loss: Callable[..., Tensor] | None,
) -> Quantity:
    r"""Return a function from a model's output to one number a row.

    Args:
        caller: The public name that was called.
        of: `"logit"`: that of class `y`, by default of the class that the trained model predicts
            (for a single output, the output itself); `"margin"`: the log-odds of that class,
            $o_y - \log \sum_{c \ne y} e^{o_c}$; `"loss"`: the training loss of each row against
            `y`; or any function `of(output)`, or `of(output, y)` where y is given, that returns
            one number a row from that row's output and target alone.
        output: The trained model's output on the rows asked about.
        y: Classes or targets of these rows.
        loss: The training loss.

    Raises:
        ArgumentError: An unknown choice, or `"loss"` without `y`.
        ShapeError: The output has other axes than the choice needs, or the function does not
            return one number a row.
    """
    if callable(of):
        asked = of
        return _checked(caller, asked if y is None else lambda out: asked(out, y))
    if of not in _CHOICES:
        listed = ", ".join(repr(one) for one in _CHOICES)
        raise ArgumentError(f"{caller}: of must be one of {listed} or a function; got {of!r}")
    if of == "loss":
        if y is None or loss is None:
            raise ArgumentError(f'{caller}: of="loss" needs y, the rows\' targets; got none')
        per_row = row_loss(caller, loss)
        return _checked(caller, lambda out: per_row(first_tensor(out), y))
    found = first_tensor(output)
    if found.ndim == 1 or (found.ndim == 2 and found.shape[1] == 1):
        sign = _sign(caller, found.reshape(-1), y) if of == "margin" else torch.ones(())
        return _checked(caller, lambda out: first_tensor(out).reshape(-1) * sign.to(found))
    if found.ndim != 2:
        raise ShapeError(
            f"{caller}: of={of!r} needs an output of shape (rows, classes); "
            f"got {tuple(found.shape)}",
            remedy="Pass of=a function of the model's output that returns one number a row.",
        )
    return _checked(caller, _class_quantity(caller, of, found, y))


def first_tensor(output: Any) -> Tensor:
    """Return the first tensor of a model's output."""
    return next(leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor))


def row_loss(caller: str, loss: Callable[..., Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss as one number a row.

    Raises:
        ArgumentError: It has no `reduction` to turn off.
    """
    if isinstance(loss, nn.Module):
        if not hasattr(loss, "reduction"):
            raise ArgumentError(
                f"{caller}: loss must have a reduction, to be read row by row; "
                f"got {type(loss).__name__}",
                remedy="Pass of=a function of the model's output instead.",
            )

        def by_module(output: Tensor, target: Tensor) -> Tensor:
            kept = loss.reduction
            setattr(loss, "reduction", "none")  # noqa: B010 - a module's attribute
            try:
                return _rows(loss(output, target))
            finally:
                setattr(loss, "reduction", kept)  # noqa: B010

        return by_module
    try:
        has = "reduction" in inspect.signature(loss).parameters
    except (TypeError, ValueError):
        has = False
    if has:
        return lambda output, target: _rows(loss(output, target, reduction="none"))
    return lambda output, target: torch.stack(
        [loss(output[i : i + 1], target[i : i + 1]) for i in range(len(output))]
    )


def _rows(value: Tensor) -> Tensor:
    return value.flatten(1).sum(1) if value.ndim > 1 else value


def _sign(caller: str, found: Tensor, y: Tensor | None) -> Tensor:
    if y is None:
        return torch.where(found >= 0, 1.0, -1.0)
    flat = torch.as_tensor(y, device=found.device).reshape(-1)
    if flat.shape != found.shape or bool(((flat != 0) & (flat != 1)).any()):
        raise ArgumentError(
            f'{caller}: y must be {len(found)} classes, 0 or 1, for of="margin" of a single '
            f"output; got {flat.tolist()!r:.80}"
        )
    return flat * 2.0 - 1.0


def _class_quantity(caller: str, of: str, found: Tensor, y: Tensor | None) -> Quantity:
    chosen = found.argmax(1) if y is None else torch.as_tensor(y, device=found.device).reshape(-1)
    whole = not chosen.is_floating_point() and not chosen.is_complex()
    if len(chosen) != len(found) or not whole:
        raise ShapeError(
            f"{caller}: y must be {counted(len(found), 'class number')}; got shape "
            f"{tuple(chosen.shape)} "
            f"of {chosen.dtype}"
        )
    if bool(((chosen < 0) | (chosen >= found.shape[1])).any()):
        raise ArgumentError(
            f"{caller}: y must be classes in [0, {found.shape[1]}); got {int(chosen.max())}"
        )
    column = chosen.long()[:, None]

    def logit(out: Any) -> Tensor:
        return first_tensor(out).gather(1, column).squeeze(1)

    def margin(out: Any) -> Tensor:
        others = first_tensor(out).scatter(1, column, -torch.inf)
        return logit(out) - others.logsumexp(1)

    return logit if of == "logit" else margin


def _checked(caller: str, function: Quantity) -> Quantity:
    def checked(out: Any) -> Tensor:
        value = function(out)
        rows = len(first_tensor(out))
        if not isinstance(value, Tensor) or value.shape != (rows,):
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ShapeError(f"{caller}: of must give one number a row, ({rows},); got {got}")
        return value

    return checked
