"""Laws that every schedule of frequencies keeps."""

from collections.abc import Callable

import torch

from trivium._core.errors import ArgumentError, DataError, TriviumError
from trivium.kernel.spectral import Schedule, Trained
from trivium.testing.gradient_law import check_gradient

__all__ = ["SCHEDULE_LAWS", "check_schedule"]

Law = Callable[[Schedule], None]
_MANY = 4096


def _holds(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def characteristic_function(schedule: Schedule) -> None:
    """κ is 1 at zero, Hermitian, and positive definite (Bochner), in complex128."""
    r = torch.linspace(-8, 8, 33, dtype=torch.float64)
    found = schedule.kernel(r).detach()
    _holds(found.dtype == torch.complex128, f"kernel is {found.dtype}")
    _holds(found.shape == r.shape, f"kernel has shape {tuple(found.shape)}")
    _holds(abs(complex(found[16]) - 1) <= 1e-12, f"kernel at zero is {complex(found[16])}")
    gap = float((found.flip(0) - found.conj()).abs().max())
    _holds(gap <= 1e-12, f"kernel of −r is not the conjugate, off by {gap:.3g}")
    _holds(float(found.abs().max()) <= 1 + 1e-12, "kernel exceeds 1")
    least = float(torch.linalg.eigvalsh(schedule.kernel(r[:, None] - r).detach())[0])
    _holds(least > -1e-10, f"kernel is not positive definite: eigenvalue {least:.3g}")
    cosines = schedule.cosines(r).detach()
    _holds(bool((cosines - found.real).abs().max() <= 1e-12), "cosines are not the real part")


def frequencies_approach(schedule: Schedule) -> None:
    """Many frequencies have the kernel for a mean, up to the last cell of a heavy tail."""
    count = len(schedule.values) if isinstance(schedule, Trained) else _MANY
    theta = schedule.frequencies(count, "midpoint").detach()
    _holds(theta.dtype == torch.float64, f"frequencies are {theta.dtype}")
    _holds(theta.shape == (count,), f"frequencies have shape {tuple(theta.shape)}")
    r = torch.linspace(0, 3, 31, dtype=torch.float64)
    found = torch.exp(1j * r[:, None] * theta).mean(1)
    gap = float((found - schedule.kernel(r).detach()).abs().max())
    _holds(gap <= 5e-3, f"{count} frequencies are off by {gap:.3g}")


def quantiles_ascend(schedule: Schedule) -> None:
    """θ is monotone, keeps shapes, and left end points begin with it at zero."""
    t = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    found = schedule.quantile(t).detach()
    steps = found.diff()
    _holds(bool((steps >= 0).all() or (steps <= 0).all()), "quantile is not monotone")
    _holds(torch.equal(schedule.quantile(t.reshape(9, 11)).detach().flatten(), found), "shapes")
    if not isinstance(schedule, Trained):
        left = schedule.frequencies(4).detach()
        at = schedule.quantile(torch.tensor([0.0, 0.25, 0.5, 0.75], dtype=torch.float64)).detach()
        _holds(torch.equal(left, at), "left end points are not the quantiles at j/n")


def slopes_agree(schedule: Schedule) -> None:
    """κ and its real part have first and second derivatives, at zero finite ones."""
    # Off zero, where |r| of some kernels has a kink.
    r = torch.tensor([-2.5, 0.4, 1.7, 6.0], dtype=torch.float64, requires_grad=True)
    for curve in (schedule.kernel, schedule.cosines):
        check_gradient(curve, (r,), second=True)
    still = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(schedule.cosines(still).sum(), still, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), still)
    _holds(float(slope.detach()) == 0, f"the slope at zero is {float(slope.detach()):.3g}")
    _holds(bool(bend.isfinite().all()), f"the second derivative at zero is {float(bend)}")


def misuse_refused(schedule: Schedule) -> None:
    """No frequencies, an unknown convention and a distance that is not finite are refused."""
    cases: list[tuple[str, Callable[[], object], type[TriviumError]]] = [
        ("no frequencies", lambda: schedule.frequencies(0), ArgumentError),
        ("an unknown convention", lambda: schedule.frequencies(4, "right"), ArgumentError),
        ("NaN", lambda: schedule.kernel(float("nan")), DataError),
    ]
    for name, call, error in cases:
        try:
            call()
        except error:
            continue
        raise AssertionError(f"accepts {name}")


SCHEDULE_LAWS: tuple[Law, ...] = (
    characteristic_function,
    frequencies_approach,
    quantiles_ascend,
    slopes_agree,
    misuse_refused,
)


def check_schedule(schedule: Schedule) -> None:
    """Hold a schedule to every law in `SCHEDULE_LAWS`.

    Raises:
        AssertionError: A law is broken; the message names the law and the figure.

    Example:
        >>> from trivium.kernel.spectral import Geometric
        >>> check_schedule(Geometric(1000.0))
    """
    for law in SCHEDULE_LAWS:
        try:
            law(schedule)
        except AssertionError as error:
            raise AssertionError(f"law {law.__name__}: {schedule!r}: {error}") from error
