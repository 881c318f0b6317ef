"""The Toeplitz share, by enumeration and on matrices where it is known."""

from typing import Any

import pytest
import torch
from torch import Tensor

from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.kernel.spectral import Geometric, cos_sin
from trivium.sinusoid import relativity, toeplitz_share


def sinusoids(n: int, width: int) -> Tensor:
    pairs = cos_sin(torch.arange(n), Geometric().frequencies(width // 2), torch.float64)
    return torch.stack(pairs, -1).flatten(1)


def enumerated(matrix: Tensor, diagonal: bool = True) -> float:
    n = len(matrix)
    cells = [(i, j) for i in range(n) for j in range(n) if diagonal or i != j]
    lines: dict[int, list[float]] = {}
    for i, j in cells:
        lines.setdefault(i - j, []).append(float(matrix[i, j]))
    whole = sum(float(matrix[c]) for c in cells) / len(cells)
    total = sum((float(matrix[c]) - whole) ** 2 for c in cells)
    between = sum(len(v) * (sum(v) / len(v) - whole) ** 2 for v in lines.values())
    return between / total


@pytest.mark.parametrize("diagonal", [True, False])
@pytest.mark.parametrize("n", [2, 3, 8])
def test_the_share_is_the_enumerated_one(n: int, diagonal: bool) -> None:
    torch.manual_seed(n)
    several = torch.randn(3, n, n) + 100 * torch.rand(3, 1, 1)
    found = toeplitz_share(several, diagonal=diagonal)
    wanted = [enumerated(one.double(), diagonal) for one in several]
    assert found.tolist() == pytest.approx(wanted, abs=1e-9)


def test_sinusoids_are_relative_for_the_identity_and_for_rotations() -> None:
    P = sinusoids(40, 24)
    assert relativity(P).item() == pytest.approx(1, abs=1e-12)
    torch.manual_seed(0)
    a, b = torch.randn(2, 12, dtype=torch.float64)
    blocks = [torch.stack((torch.stack((x, y)), torch.stack((-y, x)))) for x, y in zip(a, b)]  # noqa: B905
    assert relativity(P, torch.block_diag(*blocks)).item() == pytest.approx(1, abs=1e-12)
    # Blocks that do not commute with a rotation, and absolute positions, are not.
    mirrored = [block * torch.tensor([[1.0], [-1.0]]) for block in blocks]
    assert relativity(P, torch.block_diag(*mirrored)).item() < 0.9
    assert relativity(torch.randn(40, 24).double()).item() < 0.9


@pytest.mark.parametrize(("width", "share"), [(16, 0.86), (32, 0.91), (128, 0.965), (512, 0.991)])
def test_the_share_of_a_random_diagonal_grows_with_the_width(width: int, share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    diagonals = torch.rand(200, width, generator=generator, dtype=torch.float64)
    found = relativity(sinusoids(128, width), diagonals.diag_embed())
    assert found.shape == (200,)
    assert found.mean().item() == pytest.approx(share, abs=0.012)


def test_a_constant_is_toeplitz() -> None:
    assert toeplitz_share(torch.full((4, 4), 0.1)).item() == 1
    assert toeplitz_share(torch.zeros(2, 4, 4)).tolist() == [1, 1]
    assert relativity(torch.ones(5, 3)).item() == 1


CASES: list[tuple[Any, type[Exception], str]] = [
    (lambda: relativity(torch.ones(3, 2).int()), ArgumentError, "positions must be a real float"),
    (lambda: relativity(torch.ones(3)), ShapeError, r"positions must have the axes \(n, d\)"),
    (lambda: relativity(torch.ones(1, 2)), ShapeError, "must be 2 x 2 or larger; got 1 x 1"),
    (lambda: relativity(torch.ones(3, 2), torch.ones(3, 3)), ShapeError, "axis d is 2 in"),
    (lambda: relativity(torch.full((3, 2), torch.nan)), DataError, "positions must be finite"),
    (lambda: relativity([1.0]), ArgumentError, "positions must be a real .* got list"),
    (lambda: toeplitz_share(torch.ones(2, 3)), ShapeError, "axis n is 2"),
    (lambda: toeplitz_share(torch.ones(2, 2) * 1j), ArgumentError, "matrix must be a real"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "said"), CASES)
def test_bad_input_is_refused(call: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        call()
