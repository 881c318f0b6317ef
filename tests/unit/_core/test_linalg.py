"""The policy for positive semi-definite matrices against float64 identities."""

import numpy as np
import pytest
import torch

from trivium._core.errors import NumericalError
from trivium._core.linalg import cholesky_psd, condition_number, eigh_psd


@pytest.fixture
def spd(rng: np.random.Generator) -> torch.Tensor:
    root = torch.from_numpy(rng.standard_normal((5, 5)))
    return root @ root.T + torch.eye(5)


def test_cholesky_solves_without_jitter(spd: torch.Tensor) -> None:
    factor = cholesky_psd("f", spd)
    assert factor.jitter == 0
    right = torch.ones(5, 2, dtype=torch.float64)
    torch.testing.assert_close(factor.solve(right), torch.linalg.solve(spd, right))
    torch.testing.assert_close(factor.log_det(), torch.logdet(spd))


def test_singular_matrix_takes_the_least_jitter() -> None:
    ones = torch.ones(4, 4, dtype=torch.float64)
    factor = cholesky_psd("f", ones)
    assert 0 < factor.jitter <= 1e-10
    torch.testing.assert_close(factor.lower @ factor.lower.T, ones, atol=1e-9, rtol=0)


def test_indefinite_and_infinite_are_refused(spd: torch.Tensor) -> None:
    bad = spd.clone()
    bad[0, 0] = -5
    with pytest.raises(NumericalError, match="smallest eigenvalue is -"):
        cholesky_psd("f", bad)
    with pytest.raises(NumericalError, match="smallest eigenvalue is -"):
        eigh_psd("f", bad)
    bad[0, 0] = float("inf")
    with pytest.raises(NumericalError, match=r"entr(y|ies) not finite"):
        eigh_psd("f", bad)


def test_eigenvalues_are_never_negative() -> None:
    values, vectors = eigh_psd("f", torch.ones(6, 6, dtype=torch.float32))
    assert (values >= 0).all()
    torch.testing.assert_close(vectors @ values.diag() @ vectors.T, torch.ones(6, 6))
    assert condition_number(values) > 1e6
    assert condition_number(torch.zeros(2)) == float("inf")


def test_rounding_of_float32_products_is_not_indefinite() -> None:
    slightly = torch.diag(torch.tensor([3.0, 1.0, -1.2e-7], dtype=torch.float64))
    assert float(eigh_psd("f", slightly)[0][0]) == 0
    with pytest.raises(NumericalError):
        eigh_psd("f", torch.diag(torch.tensor([3.0, -1e-4], dtype=torch.float64)))
