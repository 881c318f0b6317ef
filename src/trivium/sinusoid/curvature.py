"""The mixed second derivatives of a loss with respect to the vectors at two positions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from trivium._core.checks import check_number, check_shapes
from trivium._core.errors import ArgumentError, ShapeError
from trivium._core.random import RandomState, numpy_generator
from trivium.kernel.tangent import evaluating

__all__ = ["LossHessian"]

_BATCH = 16
_ONCE = "hessian: model must have a second derivative"
Forward = Callable[..., Any]


class LossHessian:
    r"""$H_{mn} = \partial^2 f / \partial p_m \partial p_n$ of a loss f, never as a whole.

    Made by `hessian(model, loss, at)`. The loss is run once; every product with the matrix of all
    $H_{mn}$ is one backward pass through its gradient, 16 at a time where the model allows it.

    Attributes:
        n_positions: n.
        width: D.
        value: The loss.
        gradient: First derivative, (n, D).
    """

    def __init__(self, function: Callable[[Tensor], Tensor], origin: Float[Tensor, "n d"]) -> None:
        self._function = function
        self._at = origin.detach().clone().requires_grad_()
        value, self._slope = self._derived(self._at)
        self.value = float(value.detach())
        self.gradient = self._slope.detach()
        self.n_positions, self.width = origin.shape
        self._together = True
        self._linear = not self._slope.requires_grad or self._unused()
        if self._linear and self.gap() > 0:
            raise ArgumentError(_ONCE)  # the gradient moves, but nothing knows how

    def _unused(self) -> bool:
        """Whether the gradient's graph does not reach the vectors."""
        ones = torch.ones_like(self._slope)
        with _second():
            (found,) = torch.autograd.grad(
                self._slope, self._at, ones, retain_graph=True, allow_unused=True
            )
        return found is None

    def _derived(self, at: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            value = self._function(at)
            if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
                raise ArgumentError(
                    "hessian: loss must return one number that depends on the output of `at`; "
                    f"got {value!r}"
                )
            return value, torch.autograd.grad(value.reshape(()), at, create_graph=True)[0]

    def gap(self, step: float = 1e-2, random_state: RandomState = 0) -> float:
        """Return how far a random product is from differences of the gradient, relative to them.

        Near zero for a smooth model. Kinks (ReLU) that a step crosses widen it, which a smaller
        step tells; 1 says that the second derivative is missing: a fused loss may make its
        gradient in the forward pass and hide it.

        Args:
            step: Length of the step at each position.
            random_state: Seed of the direction.

        Raises:
            ArgumentError: A step that is not positive, or the model has no second derivative.
        """
        size = check_number("LossHessian.gap", "step", step, "positive")
        generator = numpy_generator(random_state, "LossHessian.gap")
        drawn = torch.from_numpy(generator.standard_normal(self._at.shape)).to(self._at)
        v = drawn / drawn.norm(dim=1, keepdim=True)
        ends = [(self._at.detach() + sign * size * v).requires_grad_() for sign in (1, -1)]
        high, low = (self._derived(end)[1].detach() for end in ends)
        moved = (high - low) / (2 * size)
        noise = 8 * torch.finfo(moved.dtype).eps * float(high.norm()) / size
        away = float((self.product(v[None])[0] - moved).norm()) - noise
        return max(0.0, away) / max(float(moved.norm()), 1e-300)

    def product(self, vectors: Float[Tensor, "k n d"]) -> Float[Tensor, "k n d"]:
        """Return Σₙ H_mn v_n at every m, for several v.

        Args:
            vectors: One vector for each position, several times.

        Raises:
            ShapeError: Other axes than (k, positions, width).
            ArgumentError: The model has no second derivative.

        Cost:
            k backward passes through the gradient.
        """
        spec = f"k {self.n_positions} {self.width}"
        check_shapes("LossHessian.product", {"vectors": (vectors, spec)})
        return torch.cat(
            [self._products(v) for v in vectors.detach().to(self._slope).split(_BATCH)]
        )

    def terms(
        self, left: Float[Tensor, "n d"], right: Float[Tensor, "n d"] | None = None
    ) -> Float[Tensor, "n n"]:
        """Return p_mᵀ H_mn q_n for every two positions.

        Args:
            left: p, one row for each position.
            right: q; p itself by default.

        Raises:
            ShapeError: Other axes than (positions, width).
            ArgumentError: The model has no second derivative.

        Cost:
            n products.
        """
        other = left if right is None else right
        spec = f"{self.n_positions} {self.width}"
        check_shapes("LossHessian.terms", {"left": (left, spec), "right": (other, spec)})
        rows, near = other.detach().to(self._slope), left.detach().to(self._slope)
        found = []
        for start in range(0, self.n_positions, _BATCH):
            places = torch.arange(start, min(start + _BATCH, self.n_positions))
            vectors = rows.new_zeros(len(places), *rows.shape)
            vectors[torch.arange(len(places)), places] = rows[places]
            found.append((self._products(vectors) * near).sum(2))
        return torch.cat(found).mT

    def block(self, m: int, n: int) -> Float[Tensor, "d d"]:
        """Return H_mn, from D products.

        Raises:
            ArgumentError: Not two positions, or the model has no second derivative.
        """
        for name, place in (("m", m), ("n", n)):
            check_number("LossHessian.block", name, place, "non-negative", integer=True)
            if place >= self.n_positions:
                raise ArgumentError(
                    f"LossHessian.block: {name} must be below {self.n_positions}; got {place}"
                )
        only = torch.zeros(self.n_positions, dtype=torch.bool)
        only[n] = True
        return self._columns(only)[m]

    def mean(self, n_splits: int | None = 4, random_state: RandomState = 0) -> Float[Tensor, "d d"]:
        """Return the mean of H_mn over pairs m ≠ n: the one H of the expansion.

        A split sends half of the positions to one side; D products give the sum of H_mn over all
        pairs across it, so that no H_nn enters. Splits are rows of a Hadamard matrix, and over all
        of them every pair is met equally often.

        Args:
            n_splits: Splits, drawn without replacement; `None` for all, which is exact.
            random_state: Seed of the draw.

        Raises:
            ArgumentError: A number that breaks its rule, or the model has no second derivative.
            ShapeError: Fewer than two positions.

        Cost:
            D products per split; n to 2 n splits are all.
        """
        if self.n_positions < 2:
            raise ShapeError("LossHessian.mean: two positions are needed; got one")
        size = 2 ** int(self.n_positions - 1).bit_length()
        codes = np.arange(1, size)
        if n_splits is not None:
            check_number("LossHessian.mean", "n_splits", n_splits, "positive", integer=True)
            generator = numpy_generator(random_state, "LossHessian.mean")
            codes = generator.permutation(codes)[:n_splits]
        places = np.arange(self.n_positions)
        total = self._slope.new_zeros(self.width, self.width)
        pairs = 0
        for code in codes:  # position 0 is on the one side; some power of two is on the other
            odd = torch.tensor([int(each).bit_count() % 2 == 1 for each in places & int(code)])
            total += self._columns(odd)[~odd].sum(0)
            pairs += int(odd.sum()) * int((~odd).sum())
        # H_nm is the transpose of H_mn, and the other side of a split.
        return (total + total.mT) / (2 * pairs)

    def _columns(self, which: Bool[Tensor, " n"]) -> Float[Tensor, "n d d"]:
        """Return the sum of H_mn over the positions n chosen, for each m."""
        eye, found = torch.eye(self.width).to(self._slope), []
        for rows in eye.split(_BATCH):
            vectors = eye.new_zeros(len(rows), self.n_positions, self.width)
            vectors[:, which] = rows[:, None]
            found.append(self._products(vectors))
        return torch.cat(found).permute(1, 2, 0)

    def _products(self, vectors: Tensor) -> Tensor:
        def one(batched: bool, v: Tensor) -> Tensor:
            (found,) = torch.autograd.grad(
                self._slope, self._at, v, retain_graph=True, is_grads_batched=batched
            )
            return found

        if self._linear or len(vectors) == 0:
            return torch.zeros_like(vectors)
        if self._together:
            try:
                return one(True, vectors)
            except RuntimeError:  # an operator of the model cannot be batched
                self._together = False
        with _second():
            return torch.stack([one(False, v) for v in vectors])


@contextmanager
def _second() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ArgumentError(
            f"{_ONCE}; {error}",
            remedy="Use its eager path: fused kernels have a first derivative only.",
        ) from error


def loss_hessian(
    model: nn.Module,
    loss: Callable[[Forward], Tensor],
    at: str | nn.Module,
    origin: Float[Tensor, "n d"] | None,
) -> LossHessian:
    """Return the Hessian with respect to what is added to the output of a module."""
    site = _site(model, at)
    with _differentiable(model):
        seen: list[Tensor] = []
        with torch.no_grad(), _hooked(site, seen.append):
            loss(model)
    whole = len(seen) == 1 and isinstance(seen[0], Tensor) and seen[0].ndim > 1
    if not whole or not seen[0].is_floating_point():
        shapes = [tuple(getattr(out, "shape", ())) or type(out).__name__ for out in seen]
        raise ArgumentError(
            "hessian: at must be a module that gives vectors (..., positions, width) once a "
            f"call; {at if isinstance(at, str) else type(at).__name__} gave {shapes}"
        )
    zeros = seen[0].new_zeros(seen[0].shape[-2:])
    start = zeros if origin is None else origin.to(zeros)
    if start.shape != zeros.shape:
        raise ShapeError(
            f"hessian: origin must have the shape of the vectors, {tuple(zeros.shape)}; got "
            f"{tuple(start.shape)}"
        )

    def function(added: Tensor) -> Tensor:
        with _differentiable(model), _hooked(site, lambda out: out + added):
            return loss(model)

    return LossHessian(function, start)


def _site(model: nn.Module, at: str | nn.Module) -> nn.Module:
    named = dict(model.named_modules())
    found = named.get(at) if isinstance(at, str) else at
    if not isinstance(found, nn.Module) or not any(found is each for each in named.values()):
        some = ", ".join(repr(name) for name in list(named)[1:9])
        raise ArgumentError(
            f"hessian: at must be a module of the model or its name; got {at!r}",
            remedy=f"Its modules are {some} ...",
        )
    return found


@contextmanager
def _hooked(site: nn.Module, change: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Let the output of a module be what `change` makes of it, or be as it is for `None`."""
    handle = site.register_forward_hook(lambda module, inputs, out: change(out))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _differentiable(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and attention by operators that can be differentiated twice."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with evaluating(model), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
