"""Laws that every description of an optimizer's step keeps; yours is held to the same."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own habit
from torch.optim import Optimizer

from trivium.pathkernel.record import record
from trivium.pathkernel.recording import Recording
from trivium.pathkernel.recurrence import Recurrence, diagonals, recurrence_of

__all__ = ["RECURRENCE_LAWS", "RecurrenceCase", "check_recurrence"]

_STEPS = 30
_EXACT = {torch.float64: 1e-12, torch.float32: 1e-5}
_COMPLETE = {torch.float64: 1e-12, torch.float32: 2e-5}  # adding a step rounds it
_NUDGE = 1e-5  # of a row's weight, for finite differences
_NEAR = 1e-5  # what they leave over, with the optimizer's own epsilon in the way


def _net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 3))


def _rows() -> Tensor:
    return torch.randn(20, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@dataclass(frozen=True)
class RecurrenceCase:
    """A training that a recurrence is held to.

    Args:
        optimizer: The optimizer's class.
        settings: What it is built with.
        model: Makes the model.
        x: Its training rows, `(n, ...)`.
        dtype: Of model and rows.
    """

    optimizer: type[Optimizer]
    settings: Mapping[str, Any]
    model: Callable[[], nn.Module] = _net
    x: Tensor = field(default_factory=_rows)
    dtype: torch.dtype = torch.float64

    def built(self) -> tuple[nn.Module, Optimizer]:
        """Return the model and its optimizer, the same each time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = self.model().to(self.dtype)
        return model, self.optimizer(model.parameters(), **self.settings)

    def trained(
        self, weight: Tensor | None = None, steps: int = 12, recorded: bool = False
    ) -> tuple[nn.Module, Recording | None]:
        """Train over batches of 5 rows, each row's loss times its weight, and record it."""
        model, optimizer = self.built()
        x = self.x.to(self.dtype) if self.x.is_floating_point() else self.x
        y = torch.arange(len(x)) % 3
        recording = record(model, optimizer, F.cross_entropy, stride=5) if recorded else None
        order = torch.Generator().manual_seed(2)

        def loop() -> None:
            for _ in range(steps):
                ids = torch.randperm(len(x), generator=order)[:5]
                optimizer.zero_grad()
                if recording is not None:
                    recording.batch(ids)
                    F.cross_entropy(model(x[ids]), y[ids]).backward()
                else:
                    terms = F.cross_entropy(model(x[ids]), y[ids], reduction="none")
                    (terms if weight is None else terms * weight[ids]).mean().backward()
                optimizer.step()

        if recording is None:
            loop()
        else:
            with recording:
                loop()
        return model, recording


Law = Callable[[Recurrence, RecurrenceCase], None]


def check_recurrence(
    optimizer: type[Optimizer],
    settings: Mapping[str, Any],
    dtype: torch.dtype = torch.float64,
) -> None:
    """Hold the description of an optimizer's step to every law.

    Args:
        optimizer: Its class: one that is known, or described by `register_recurrence`.
        settings: What it is built with: `{"lr": 0.1}`.
        dtype: What it trains in.

    Raises:
        ArgumentError: The optimizer is not known.
        AssertionError: A law is broken; the message says which and by how much.

    Cost: seven trainings of a net of 51 weights over twelve steps.

    Example:
        >>> import torch
        >>> check_recurrence(torch.optim.SGD, {"lr": 0.1, "momentum": 0.9})
    """
    case = RecurrenceCase(optimizer, settings, dtype=dtype)
    recurrence = recurrence_of(case.built()[1], "check_recurrence")
    for law in RECURRENCE_LAWS:
        law(recurrence, case)


def step_is_the_optimizers(recurrence: Recurrence, case: RecurrenceCase) -> None:
    """Weights and declared states are the optimizer's own, step by step."""
    for before, after, inputs, options in _watched(recurrence, case):
        weight, state = recurrence.advance(
            inputs["weight"],
            inputs["gradient"],
            inputs["pull"],
            {k: inputs[k] for k in inputs if k not in ("weight", "gradient", "pull")},
            options,
            torch.Tensor.detach,
        )
        moved = float((after["weight"] - before["weight"]).norm())
        _holds(
            _gap(weight, after["weight"]) <= _EXACT[case.dtype] * max(moved, 1.0),
            case,
            f"step {options['step']} must lead to the optimizer's weights; it misses them by "
            f"{_gap(weight, after['weight']):.1e} after a step of {moved:.1e}",
        )
        for name in set(recurrence.states) & set(after):
            _holds(
                name in state and _gap(state[name], after[name]) <= _EXACT[case.dtype],
                case,
                f"the state {name!r} after step {options['step']} must be the optimizer's",
            )


def step_is_linear(recurrence: Recurrence, case: RecurrenceCase) -> None:
    """With what is marked as given held, a step is a linear map of gradient, pull and state."""
    for _, _, inputs, options in _watched(recurrence, case):
        found = diagonals(recurrence, inputs, options, frozen=True)
        state = {k: v for k, v in inputs.items() if k not in ("weight", "gradient", "pull")}
        weight, after = recurrence.advance(
            inputs["weight"],
            inputs["gradient"],
            inputs["pull"],
            state,
            options,
            torch.Tensor.detach,
        )
        outputs = {"weight": weight, **after}
        for out in {"weight", *(name for one, name in found if one == "weight" and name in after)}:
            made = sum(
                (slope * inputs[name] for (one, name), slope in found.items() if one == out),
                torch.zeros_like(weight),
            )
            gap = _gap(made, outputs[out])
            _holds(
                gap <= _EXACT[case.dtype] * max(1.0, float(outputs[out].norm())),
                case,
                f"{out} after step {options['step']} must be linear in gradient, pull and state "
                f"with the preconditioner marked as given; it is off by {gap:.1e}",
            )


def accounting_is_complete(recurrence: Recurrence, case: RecurrenceCase) -> None:
    """Contributions and remainder add up to the change of what the model says."""
    del recurrence
    _completes(case, "audit")


def propagated_decay_is_complete(recurrence: Recurrence, case: RecurrenceCase) -> None:
    """So they do where each row's piece of the weights decays."""
    del recurrence
    _completes(case, "propagate")


def derivative_is_that_of_the_training(recurrence: Recurrence, case: RecurrenceCase) -> None:
    """The counterfactual is the derivative of the training by a row's weight, by differences."""
    del recurrence
    if case.dtype != torch.float64:
        return
    _, recording = case.trained(recorded=True)
    assert recording is not None
    x = case.x[:2].to(case.dtype)
    found = recording.without(x, of="logit", y=torch.tensor([0, 1])).contributions
    row = recording.ids[0]
    values = []
    for nudge in (_NUDGE, -_NUDGE):
        weight = torch.ones(len(case.x), dtype=case.dtype)
        weight[row] += nudge  # type: ignore[index]
        model, _ = case.trained(weight)
        values.append(model(x).detach().gather(1, torch.tensor([[0], [1]]))[:, 0])
    exact = (values[0] - values[1]) / (2 * _NUDGE)
    gap = _gap(found[:, 0], exact) / max(float(exact.norm()), 1e-3)
    _holds(
        gap <= _NEAR,
        case,
        f"the unrolled derivative must be that of the training; by differences it is off by "
        f"{gap:.1e}",
    )


def _completes(case: RecurrenceCase, decay: str) -> None:
    _, recording = case.trained(recorded=True)
    assert recording is not None
    x = case.x[:3].to(case.dtype) if case.x.is_floating_point() else case.x[:3]
    error = recording.made(x, of="margin", decay=decay).completeness_error
    _holds(
        error <= _COMPLETE[case.dtype],
        case,
        f"the accounting with decay={decay!r} must be complete; it misses {error:.1e}",
    )


def _watched(
    recurrence: Recurrence, case: RecurrenceCase
) -> list[tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor], dict[str, Any]]]:
    """Return what the optimizer itself did over `_STEPS` steps of one vector of weights."""
    draw = torch.Generator().manual_seed(3)
    p = nn.Parameter(torch.randn(7, generator=draw, dtype=torch.float64).to(case.dtype))
    optimizer = case.optimizer([p], **case.settings)
    (group,) = optimizer.param_groups
    keys, found = recurrence.states, []
    for step in range(1, _STEPS + 1):
        p.grad = torch.randn(7, generator=draw, dtype=torch.float64).to(case.dtype)
        options = {**recurrence.options(optimizer, group), "step": step}
        before = _read(optimizer, p, keys)
        options |= {
            key: value.clone()
            for key, value in optimizer.state.get(p, {}).items()
            if key not in (*keys, "step") and isinstance(value, Tensor) and value.numel() == 1
        }
        pull = options.get("weight_decay", 0) * before["weight"]
        inputs = {**before, "gradient": p.grad.clone(), "pull": pull}
        optimizer.step()
        found.append((before, _read(optimizer, p, keys), inputs, options))
    return found


def _read(optimizer: Optimizer, p: nn.Parameter, keys: tuple[str, ...]) -> dict[str, Tensor]:
    held = optimizer.state.get(p, {})
    state = {key: held[key].detach().clone() for key in keys if held.get(key) is not None}
    return {"weight": p.detach().clone(), **state}


def _gap(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm())


def _holds(condition: bool, case: RecurrenceCase, message: str) -> None:
    if not condition:
        raise AssertionError(f"{case.optimizer.__name__}({dict(case.settings)}): {message}")


RECURRENCE_LAWS: tuple[Law, ...] = (
    step_is_the_optimizers,
    step_is_linear,
    accounting_is_complete,
    propagated_decay_is_complete,
    derivative_is_that_of_the_training,
)
