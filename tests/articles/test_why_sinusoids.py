"""The article's argument, end to end: which term of a model is relative, and what decides decay.

Su, Transformer upgrade road 1: tracing sinusoidal positions back to their source (2021).
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from trivium.kernel.spectral import Geometric, Power, cos_sin
from trivium.sinusoid import decay, hessian, relativity, toeplitz_share

N, D = 12, 16


class Pooled(nn.Module):
    """A model without order: attention without positions, then a mean. Vectors may be added."""

    def __init__(self) -> None:
        super().__init__()
        self.site = nn.Identity()
        self.layer = nn.MultiheadAttention(D, 2, batch_first=True)
        self.head = nn.Linear(D, 1)

    def forward(self, x: Tensor) -> Tensor:
        z = self.site(x)
        out = torch.tanh(self.layer(z, z, z, need_weights=False)[0])
        return self.head(out).mean()


@pytest.fixture(name="model")
def _model() -> Pooled:
    torch.manual_seed(0)
    return Pooled().double().eval()


X = torch.randn(1, N, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def sinusoids() -> Tensor:
    pairs = cos_sin(torch.arange(N), Geometric(100.0).frequencies(D // 2), torch.float64)
    return torch.stack(pairs, -1).flatten(1)


def value(model: Pooled) -> Callable[[Callable[..., Tensor]], Tensor]:
    return lambda net: net(X)


def test_without_positions_order_is_not_seen(model: Pooled) -> None:
    turned = X[:, torch.randperm(N)]
    assert model(turned).item() == pytest.approx(model(X).item(), abs=1e-12)
    added = sinusoids()
    assert abs(model(turned + added).item() - model(X + added).item()) > 1e-5


def test_the_expansion_holds_and_only_the_mixed_terms_see_two_positions(model: Pooled) -> None:
    P, found = sinusoids(), hessian(model, value(model), "site")
    terms = found.terms(P)
    first = (found.gradient * P).sum()
    errors = []
    for size in (1e-2, 5e-3):
        expanded = found.value + size * first + size**2 * terms.sum() / 2
        errors.append(abs(model(X + size * P).item() - expanded.item()))
    assert errors[0] < 1e-5
    assert errors[0] / errors[1] == pytest.approx(8, rel=0.2)  # what is left is of third order
    # Moving p at one position changes the first and the unary terms of that position alone.
    other = P.clone()
    other[3] += 1
    moved = found.terms(other) - terms
    seen = moved.abs() > 1e-12
    seen[3], seen[:, 3] = False, False
    assert not bool(seen.any())


def rotations(generator: torch.Generator) -> Tensor:
    a, b = torch.randn(2, D // 2, generator=generator, dtype=torch.float64)
    return torch.block_diag(
        *(
            torch.stack((torch.stack((x, y)), torch.stack((-y, x))))
            for x, y in zip(a, b, strict=True)
        )
    )


class Bilinear(nn.Module):
    """A model whose mixed derivative is one H at every pair of positions."""

    def __init__(self, h: Tensor) -> None:
        super().__init__()
        self.site = nn.Identity()
        self.register_buffer("h", h)

    def forward(self, x: Tensor) -> Tensor:
        z = self.site(x)[0]
        form = z @ self.h @ z.mT
        return form.sum() - form.diagonal().sum()


def test_a_model_with_rotations_for_h_is_relative_and_others_are_not() -> None:
    generator, P = torch.Generator().manual_seed(2), sinusoids()
    for h, relative in ((torch.eye(D).double(), True), (rotations(generator), True),
                        (torch.randn(D, D, generator=generator).double(), False)):  # fmt: skip
        found = hessian(Bilinear(h), lambda net: net(X), "site")
        assert torch.allclose(found.mean(None), h + h.mT, atol=1e-12)
        share = toeplitz_share(found.terms(P), diagonal=False).item()
        assert (share > 1 - 1e-12) == relative
        assert (relativity(P, h).item() > 1 - 1e-12) == relative


def test_the_geometric_choice_decays_and_a_power_does_faster() -> None:
    """The inner product falls with distance as the integral says, slower than that of t²."""
    x = torch.tensor([1.0, 4.0, 16.0, 64.0, 256.0], dtype=torch.float64)
    geometric, power = decay(x), decay(x, Power(2.0))
    assert bool((geometric.diff() < 0).all())
    assert bool((power[1:] < geometric[1:] / 2).all())
    assert float(decay(256.0)) == pytest.approx(
        1 - (0.5772 + math.log(256)) / math.log(1e4), abs=1e-3
    )
