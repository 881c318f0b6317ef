"""What a fitted classifier needs to score new rows, and how it is written down and read back."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, ModelError
from trivium.closedform.prior import floor_log_odds

__all__ = ["Head", "Quadratic", "add_floor", "head_from_state", "head_state"]


def add_floor(logits: Tensor, total: float) -> Tensor:
    """Give each class without rows (logit -inf) the odds 1 : (n + K - 1) against all others."""
    empty = torch.isneginf(logits)
    if not bool(empty.any()):
        return logits
    level = logits.logsumexp(1, keepdim=True) + floor_log_odds(total, logits.shape[1])
    return torch.where(empty, level, logits)


@dataclass(frozen=True)
class Quadratic:
    """A quadratic rule: logits `bias_k - ½ ‖(z basis - means_k) factors_k‖²`.

    Args:
        basis: Directions in which the factors live.
        means: Class means there.
        factors: For each class a factor F with `F Fᵀ` the scaled precision.
        quadratic_bias: Bias with the log-prior, -inf for a class without rows.
    """

    basis: Float[Tensor, "d r"]
    means: Float[Tensor, "c r"]
    factors: Float[Tensor, "c r r"]
    quadratic_bias: Float[Tensor, " c"]

    def logits(self, moved: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Logits of rows that are scaled and centered already; -inf for classes without rows."""
        coordinates = moved @ self.basis
        away = [
            ((coordinates - mean) @ factor).square().sum(1)
            for mean, factor in zip(self.means, self.factors, strict=True)
        ]
        logits = self.quadratic_bias - 0.5 * torch.stack(away, 1)
        present = ~torch.isneginf(self.quadratic_bias)
        return logits - logits[:, present].mean(1, keepdim=True)


@dataclass(frozen=True)
class Head:
    """A linear rule on `z = x / unit - center`: logits `z weightᵀ + bias`.

    Args:
        weight: Weight of each class; for a quadratic rule its linear projection.
        bias: Bias with the log-prior, -inf for a class without rows.
        center: Grand mean of the training rows, in units of `unit`.
        unit: Power of two by which rows are divided.
        total: Weight of the training rows, which decides the floor of a class without rows.
        quadratic: The quadratic rule that is used instead, if any.
    """

    weight: Float[Tensor, "c d"]
    bias: Float[Tensor, " c"]
    center: Float[Tensor, " d"]
    unit: float
    total: float
    quadratic: Quadratic | None = None

    @property
    def linear(self) -> bool:
        """Whether the rule is linear."""
        return self.quadratic is None

    def logits(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Logits of rows, prior included, with mean zero over the classes with rows."""
        moved = rows / self.unit - self.center
        if self.quadratic is None:
            return add_floor(moved @ self.weight.mT + self.bias, self.total)
        return add_floor(self.quadratic.logits(moved), self.total)


def head_state(head: Head, classes: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Split a head and its classes into arrays and what JSON can hold.

    Raises:
        ArgumentError: Labels that JSON cannot hold (only text, whole numbers, floats, bools).
    """
    held = {"weight": head.weight, "bias": head.bias, "center": head.center}
    if head.quadratic is not None:
        rule = head.quadratic
        held |= {field.name: getattr(rule, field.name) for field in fields(rule)}
    tensors = {name: np.ascontiguousarray(value.numpy()) for name, value in held.items()}
    labels = classes.tolist()
    if not all(isinstance(label, str | int | float) for label in labels):
        raise ArgumentError(f"ClosedFormClassifier.state: labels must be plain; got {labels}")
    dtype = "object" if classes.dtype == object else classes.dtype.str
    return tensors, {"unit": head.unit, "total": head.total, "classes": labels, "dtype": dtype}


def _check_shapes(tensors: dict[str, Tensor]) -> None:
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    c, d = shapes["weight"] if len(shapes["weight"]) == 2 else (0, 0)
    wanted: dict[str, tuple[int, ...]] = {"bias": (c,), "center": (d,)}
    if "factors" in shapes:
        r = shapes["factors"][-1] if shapes["factors"] else 0
        wanted |= {"basis": (d, r), "means": (c, r), "factors": (c, r, r), "quadratic_bias": (c,)}
    wrong = {name for name, shape in wanted.items() if shapes.get(name) != shape}
    if c < 2 or wrong or set(shapes) - set(wanted) - {"weight"}:
        raise ModelError(f"closedform: tensors must fit together; got shapes {shapes}")


def head_from_state(
    tensors: dict[str, np.ndarray], numbers: dict[str, Any]
) -> tuple[Head, np.ndarray]:
    """Put a head and its classes together again; its logits are the same bits.

    Raises:
        ModelError: Something is missing, of the wrong shape, or not finite.
    """
    try:
        unit, total = float(numbers["unit"]), float(numbers["total"])
        classes = np.array(numbers["classes"], dtype=np.dtype(numbers["dtype"]))
        held = {
            name: torch.from_numpy(np.array(value, dtype=np.float64))
            for name, value in tensors.items()
        }
        _check_shapes(held)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"closedform: the state must be complete; {error!r}") from error
    finite = all(
        bool(torch.isfinite(value).all()) or name.endswith("bias") for name, value in held.items()
    )
    biases = [value for name, value in held.items() if name.endswith("bias")]
    if (
        not finite
        or not unit > 0
        or any(bool((b.isnan() | (b == torch.inf)).any()) for b in biases)
    ):
        raise ModelError("closedform: the state must hold finite numbers; got others")
    if classes.shape != tuple(held["bias"].shape):
        raise ModelError(
            f"closedform: the state must name {counted(len(held['bias']), 'class')}; "
            f"got {len(classes)}"
        )
    linear = held.pop("weight"), held.pop("bias"), held.pop("center")
    return Head(*linear, unit, total, Quadratic(**held) if held else None), classes
