"""Laws that every kernel keeps; a kernel of your own is held to the same."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from trivium._core.errors import TriviumError
from trivium.kernel.base import Kernel
from trivium.kernel.stationary import Stationary
from trivium.testing.gradient_law import check_gradient
from trivium.testing.kernel_rows import kernel_rows, rows_apart
from trivium.testing.live_bytes import LiveBytes

__all__ = ["KERNEL_LAWS", "check_kernel"]

Law = Callable[[Kernel, Tensor], None]
_SLACK = 64


def _holds(condition: bool, kernel: object, message: str) -> None:
    if not condition:
        raise AssertionError(f"{kernel!r}: {message}")


def _tolerance(values: Tensor) -> float:
    scale = float(values.detach().abs().max())
    return _SLACK * torch.finfo(values.dtype).eps * max(scale, 1.0)


def _gap(left: Tensor, right: Tensor) -> float:
    return float((left - right).detach().abs().max())


def symmetric(kernel: Kernel, x: Tensor) -> None:
    """k(x, x') = k(x', x)."""
    gram = kernel.gram(x)
    _holds(_gap(gram, gram.mT) <= _tolerance(gram), kernel, "the Gram matrix is not symmetric")


def positive_semidefinite(kernel: Kernel, x: Tensor) -> None:
    """No eigenvalue of a Gram matrix is negative beyond rounding."""
    gram = kernel.gram(x)
    lowest = float(torch.linalg.eigvalsh((gram + gram.mT).detach() / 2)[0])
    _holds(
        lowest >= -len(gram) * _tolerance(gram),
        kernel,
        f"not positive semi-definite: an eigenvalue is {lowest:.3g}",
    )


def diagonal_agrees(kernel: Kernel, x: Tensor) -> None:
    """`diagonal` is the diagonal of `gram`."""
    gram = kernel.gram(x)
    resolved = kernel.resolve(x)
    gap = _gap(gram.diagonal(), resolved.diagonal(x))
    _holds(gap <= _tolerance(gram), kernel, f"diagonal differs from the Gram matrix by {gap:.3g}")


def blocks_agree(kernel: Kernel, x: Tensor) -> None:
    """`gram(x, y)` is the block of rows x and columns y, and `(n,)` means `(n, 1)`."""
    ready = kernel.resolve(x)
    gram = ready.gram(x)
    half = len(x) // 2
    for name, block, other in (
        ("gram(x, x)", gram, ready.gram(x, x)),
        ("gram(x[:h], x[h:])", gram[:half, half:], ready.gram(x[:half], x[half:])),
        ("gram of one row", gram[:1], ready.gram(x[:1], x)),
    ):
        gap = _gap(block, other)
        _holds(gap <= 8 * _tolerance(gram), kernel, f"{name} differs from gram(x) by {gap:.3g}")
    column = x.reshape(len(x), -1)[:, :1]
    gap = _gap(kernel.gram(column), kernel.gram(column[:, 0]))
    _holds(gap == 0, kernel, "a column (n,) gives another matrix than (n, 1)")


def order_of_rows(kernel: Kernel, x: Tensor) -> None:
    """Reordering rows reorders the Gram matrix."""
    order = torch.arange(len(x) - 1, -1, -1, device=x.device)
    gram = kernel.gram(x)
    gap = _gap(kernel.gram(x[order]), gram[order][:, order])
    _holds(gap <= 8 * _tolerance(gram), kernel, f"the order of rows changes values by {gap:.3g}")


def tiles_agree(kernel: Kernel, x: Tensor) -> None:
    """Tiles put together are the Gram matrix, each entry once."""
    ready = kernel.resolve(x)
    for y in (None, x[: len(x) // 2]):
        gram = ready.gram(x, y).detach()
        whole, seen = torch.zeros_like(gram), torch.zeros_like(gram)
        for rows, columns, tile in ready.tiles(x, y, budget=3000):
            whole[rows, columns] = tile.detach()
            seen[rows, columns] += 1
        _holds(bool((seen == 1).all()), kernel, "tiles leave a hole or overlap")
        gap = _gap(whole, gram)
        _holds(gap <= 8 * _tolerance(gram), kernel, f"tiles differ from gram by {gap:.3g}")


def tiles_within_budget(kernel: Kernel, x: Tensor) -> None:
    """While tiles are made, the live bytes of new tensors never exceed the budget."""
    if not kernel.frugal:
        return
    ready = kernel.resolve(x)
    wide = x.repeat(3, *[1] * (x.ndim - 1))
    for budget in (3000, 20_000):
        with torch.no_grad(), LiveBytes() as live:
            for _rows, _columns, _tile in ready.tiles(wide, budget=budget):
                pass
        _holds(
            live.peak <= budget,
            kernel,
            f"tiles took {live.peak} bytes of a budget of {budget}; raise `buffers`",
        )


def gradient_agrees(kernel: Kernel, x: Tensor) -> None:
    """The gradient is right in float64, and finite where rows coincide."""
    ready = kernel.resolve(x)
    if not kernel.differentiable:
        leaf = x.detach().clone().requires_grad_(x.is_floating_point())
        _holds(not ready.gram(leaf).requires_grad, kernel, "differentiable, and does not say so")
        return
    rows, other = rows_apart(x, 8).detach().double().split((5, 3))
    rows.requires_grad_()
    for inputs in ((rows,), (rows, other)):
        try:
            check_gradient(ready.gram, inputs)
        except AssertionError as error:
            _holds(False, kernel, str(error))
    twice = torch.cat((x[:3], x[:3])).detach().requires_grad_()
    (slope,) = torch.autograd.grad(ready.gram(twice).sum(), twice)
    _holds(bool(torch.isfinite(slope).all()), kernel, "gradient is not finite at distance zero")


def dtype_kept(kernel: Kernel, x: Tensor) -> None:
    """Results keep the floating type and the device of the rows."""
    types = (torch.float32, torch.float64) if x.is_floating_point() else (x.dtype,)
    for dtype in types:
        rows = x.to(dtype)
        wanted = kernel.gram(x).dtype if not x.is_floating_point() else dtype
        ready = kernel.resolve(rows)
        found = {
            "gram": ready.gram(rows),
            "diagonal": ready.diagonal(rows),
            "tiles": next(iter(ready.tiles(rows)))[2],
            "factor": ready.factor(rows, 3).values,
        }
        for name, value in found.items():
            _holds(value.dtype == wanted, kernel, f"{name} is {value.dtype} from {dtype} rows")
            _holds(value.device == x.device, kernel, f"{name} moved to {value.device}")


def single_precision(kernel: Kernel, x: Tensor) -> None:
    """Float32 stays close to float64, also far from the origin where the kernel allows."""
    if kernel.inputs != "vectors":
        return
    ready = kernel.resolve(x)
    # Powers of two, so that the shifted rows are the same numbers in both types.
    coarse = (x * 256).round() / 256
    rows = coarse + 1024 if kernel.stationary else coarse
    exact, single = ready.gram(rows), ready.gram(rows.float()).double()
    gap = _gap(exact, single) / max(1.0, float(exact.abs().max()))
    _holds(gap <= 2e-5, kernel, f"float32 differs from float64 by {gap:.3g}")


def factor_honest(kernel: Kernel, x: Tensor) -> None:
    """K − F Fᵀ is positive semi-definite and its trace is the residual stated."""
    ready = kernel.resolve(x)
    gram = ready.gram(x).detach()
    slack = len(x) * _tolerance(gram)
    for rank in (1, 4, len(x)):
        factor = ready.factor(x, rank, tol=0.0)
        left = gram - factor.values @ factor.values.mT
        _holds(factor.values.shape[1] <= rank, kernel, "factor has more columns than rank")
        gap = abs(float(left.trace()) - factor.residual)
        _holds(gap <= slack, kernel, f"factor's residual is off by {gap:.3g}")
        most = float(left.diagonal().max())
        _holds(most <= factor.residual + slack, kernel, "an entry exceeds factor's residual")
        lowest = float(torch.linalg.eigvalsh((left + left.mT) / 2)[0])
        _holds(lowest >= -slack, kernel, f"factor overshoots K: eigenvalue {lowest:.3g}")
    _holds(factor.residual <= slack, kernel, "factor of full rank leaves a residual")


def translation_invariant(kernel: Kernel, x: Tensor) -> None:
    """A kernel that says it is stationary does not see a shift of all rows."""
    if not kernel.stationary:
        return
    gram = kernel.gram(x)
    gap = _gap(kernel.gram(x + 3.0), gram)
    _holds(gap <= 64 * _tolerance(gram), kernel, f"a shift changes values by {gap:.3g}")


def spectrum_agrees(kernel: Kernel, x: Tensor) -> None:
    """Frequencies have the kernel as their characteristic function (Bochner).

    False alarm below 1e-6 by Hoeffding's bound; an error above 0.03 k(0) is seen.
    """
    if not kernel.spectral:
        return
    ready = kernel.resolve(x)
    n_draws, rows = 200_000, x[:6].double()
    frequencies = ready.spectral_sample(n_draws, x.shape[1], np.random.default_rng(11))
    _holds(frequencies.shape == (n_draws, x.shape[1]), kernel, "frequencies have another shape")
    waves = (rows[:, None, :] - rows[None, :, :]).reshape(-1, x.shape[1]) @ frequencies.mT
    estimate = waves.cos().mean(1).reshape(len(rows), len(rows))
    gap = _gap(estimate, ready.gram(rows) / ready.diagonal(rows)[:, None])
    bound = math.sqrt(2 * math.log(2 * len(rows) ** 2 / 1e-6) / n_draws)
    _holds(gap <= bound, kernel, f"spectrum is off by {gap:.3g}, beyond {bound:.3g}")


def resolve_settles(kernel: Kernel, x: Tensor) -> None:
    """`resolve` is deterministic, settles at once, and follows the scale of the rows."""
    ready = kernel.resolve(x, 3)
    _holds(ready == kernel.resolve(x, 3), kernel, "resolve differs between two calls")
    _holds(ready == ready.resolve(x * 2, 3), kernel, "resolve changes a resolved kernel")
    gap = _gap(ready.gram(x), kernel.gram(x))
    _holds(gap == 0, kernel, f"gram differs from that of the resolved kernel by {gap:.3g}")
    if isinstance(kernel, Stationary) and kernel.lengthscale == "median":
        gram = kernel.gram(x)
        gap = _gap(gram, kernel.gram(x * 1000))
        _holds(gap <= 64 * _tolerance(gram), kernel, f"scale changes values by {gap:.3g}")


def bad_rows_refused(kernel: Kernel, x: Tensor) -> None:
    """No rows, a value that is not finite, and other columns are refused with our own errors."""
    refused: list[tuple[str, tuple[Tensor, ...]]] = [("no rows", (x[:0],))]
    if x.is_floating_point():
        broken = x.clone()
        broken.reshape(-1)[0] = float("nan")
        refused.append(("NaN", (broken,)))
        refused.append(("NaN in y", (x, broken)))
    refused.append(("other columns", (x, x.reshape(len(x), -1)[:, :1].repeat(1, 7))))
    for name, arguments in refused:
        try:
            kernel.gram(*arguments)
        except TriviumError:
            continue
        _holds(False, kernel, f"accepts {name}")


def declared_and_frozen(kernel: Kernel, x: Tensor) -> None:
    """A kernel is a frozen dataclass whose own examples are of its class."""
    del x
    frozen = dataclasses.is_dataclass(kernel) and kernel.__dataclass_params__.frozen
    _holds(bool(frozen), kernel, "not a frozen dataclass")
    own = type(kernel).examples()
    _holds(len(own) > 0 and all(type(k) is type(kernel) for k in own), kernel, "odd examples()")
    hash(kernel)


KERNEL_LAWS: tuple[Law, ...] = (
    declared_and_frozen,
    symmetric,
    positive_semidefinite,
    diagonal_agrees,
    blocks_agree,
    order_of_rows,
    tiles_agree,
    tiles_within_budget,
    gradient_agrees,
    dtype_kept,
    single_precision,
    factor_honest,
    translation_invariant,
    spectrum_agrees,
    resolve_settles,
    bad_rows_refused,
)


def check_kernel(kernel: Kernel, x: Tensor | None = None) -> None:
    """Hold a kernel to every law in `KERNEL_LAWS`.

    Args:
        kernel: An instance.
        x: At least eight rows that it can serve; drawn by `kernel_rows` when left out.

    Raises:
        AssertionError: A law is broken; the message names the law and the figure.

    Example:
        >>> from trivium.kernel import Gaussian
        >>> check_kernel(Gaussian(1.0))
    """
    rows = kernel_rows(kernel) if x is None else x
    for law in KERNEL_LAWS:
        try:
            law(kernel, rows)
        except AssertionError as error:
            raise AssertionError(f"law {law.__name__}: {error}") from error
        except TriviumError as error:
            raise AssertionError(f"law {law.__name__}: {kernel!r}: {error}") from error
