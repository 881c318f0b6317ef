"""Fourth-order sums against two passes, near and far, added, merged and taken away."""

import numpy as np
import pytest
import torch

from trivium.dependence.fourth import Fourth


def features(n=120, r=3, s=2, offset=0.0, seed=0):
    """Rows with skewed tails, so that third and fourth moments are not those of a normal."""
    rng = np.random.default_rng(seed)
    phi = rng.exponential(size=(n, r)) * [1.0, 3.0, 0.2][:r]
    psi = np.stack([phi[:, 0] ** 2, rng.normal(size=n)], 1)[:, :s]
    return phi + offset, psi - 2 * offset


def of(phi, psi):
    traces = torch.tensor([np.square(phi).sum(), np.square(psi).sum()])
    return Fourth.of(torch.from_numpy(phi), torch.from_numpy(psi), traces)


def two_pass(phi, psi):
    """Scatter of the centered features and of their squared lengths, and the fourth sums."""
    u, v = (np.asarray(each, np.longdouble) for each in (phi, psi))
    u, v = u - u.mean(0), v - v.mean(0)
    a, b = (u**2).sum(1), (v**2).sum(1)
    z = np.column_stack([u, v, a - a.mean(), b - b.mean()])
    return (z.T @ z).astype(float), np.array([[a @ a, a @ b], [a @ b, b @ b]], float)


def close(found, phi, psi, tolerance):
    scatter, norms = two_pass(phi, psi)
    size = np.sqrt(np.outer(scatter.diagonal(), scatter.diagonal()))
    assert found.count == len(phi)
    assert np.abs((found.second.numpy() - scatter) / size).max() <= tolerance
    assert np.abs(found.norms.numpy() / norms - 1).max() <= tolerance


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6, 1e8])
@pytest.mark.parametrize("step", [1, 7, 50, 120])
def test_parts_add_up_to_two_passes(offset, step):
    phi, psi = features(offset=offset)
    parts = [of(phi[i : i + step], psi[i : i + step]) for i in range(0, 120, step)]
    forwards, backwards = Fourth.empty(3, 2), Fourth.empty(3, 2)
    for part in parts:
        forwards = forwards.plus(part)
    for part in reversed(parts):
        backwards = part.plus(backwards)
    close(forwards, phi, psi, 1e-9)
    close(backwards, phi, psi, 1e-9)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_a_part_taken_away_leaves_two_passes_of_the_rest(offset):
    phi, psi = features(offset=offset)
    whole = of(phi, psi)
    close(whole.minus(of(phi[70:], psi[70:])), phi[:70], psi[:70], 1e-9)
    assert torch.equal(whole.minus(Fourth.empty(3, 2)).second, whole.second)


def test_parts_far_from_each_other_and_drifting_blocks():
    phi, psi = features()
    away = phi + 1e4 * np.arange(120)[:, None]
    parts = [of(away[i : i + 10], psi[i : i + 10]) for i in range(0, 120, 10)]
    total = Fourth.empty(3, 2)
    for part in parts:
        total = total.plus(part)
    close(total, away, psi, 1e-9)


def test_one_row_and_none_are_left_exactly():
    phi, psi = features()
    whole = of(phi, psi)
    one = whole.minus(of(phi[1:], psi[1:]))
    assert one.count == 1
    assert not one.second.any()
    assert torch.allclose(one.origin + one.offset, torch.from_numpy(np.hstack([phi[0], psi[0]])))
    none = whole.minus(whole)
    assert none.count == 0
    assert not none.second.any()
    assert whole.plus(none) is whole


def test_float32_products_keep_float32_digits():
    phi, psi = features(n=4000, offset=100.0)
    single = [torch.from_numpy(each.astype(np.float32)) for each in (phi, psi)]
    found = Fourth.of(*single, torch.zeros(2))
    assert found.single
    close(found, *(each.double().numpy() for each in single), 1e-5)


def test_raw_power_sums_would_fail():
    """The textbook expansion of Σ‖φ − mean‖⁴ from raw sums has no digit left at an offset."""
    phi, _ = features(offset=1e6)
    s, total, m = np.square(phi).sum(1), phi.sum(0), phi.mean(0)
    raw = (
        (s**2).sum()
        - 4 * m @ (s[:, None] * phi).sum(0)
        + 4 * m @ (phi.T @ phi) @ m
        + 2 * m @ m * s.sum()
        - 4 * (m @ m) * (m @ total)
        + len(phi) * (m @ m) ** 2
    )
    assert abs(raw / two_pass(phi, phi)[1][0, 0] - 1) > 1e-3


def test_without_moving_the_norms_parts_do_not_add_up(monkeypatch):
    phi, psi = features()
    monkeypatch.setattr(Fourth, "_moved", lambda self, step: self.second)
    wrong = of(phi[:50], psi[:50]).plus(of(phi[50:], psi[50:]))
    with pytest.raises(AssertionError):
        close(wrong, phi, psi, 1e-3)
