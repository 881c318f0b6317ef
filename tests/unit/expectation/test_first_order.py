"""Biased gradients are differentiated once: every way to a second derivative is refused."""

import pytest
import torch
from torch.distributions import Bernoulli, OneHotCategorical

from trivium._core.errors import ArgumentError
from trivium.expectation import Exact, Relaxed, StraightThrough, expect, refuse_second

# Forward mode loads torch's decompositions, which warn about torch itself.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")

BIASED = [*Relaxed.examples(), *StraightThrough.examples()]
LOGITS = torch.tensor([[0.4, -0.3, 0.1], [1.0, 0.2, -0.4]], dtype=torch.float64)
REFUSED = "must be differentiated only once.*Score.* and Exact.* have derivatives of every order"


def loss_of(estimator):
    def loss(logits):
        q = OneHotCategorical(logits=logits, validate_args=False)
        return expect(lambda z: z[..., 0] * 2 + z[..., 1] ** 2, q, estimator, 3).sum()

    return loss


def again(loss):
    leaf = LOGITS.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(leaf), leaf, create_graph=True)
    slope.sum().backward()


SECOND = {
    "create_graph": again,
    "autograd hessian": lambda loss: torch.autograd.functional.hessian(loss, LOGITS),
    "grad of grad": lambda loss: torch.func.grad(lambda t: torch.func.grad(loss)(t).sum())(LOGITS),
    "forward over reverse": lambda loss: torch.func.jvp(
        torch.func.grad(loss), (LOGITS,), (LOGITS,)
    ),
    "reverse over forward": lambda loss: torch.func.grad(
        lambda t: torch.func.jvp(loss, (t,), (LOGITS,))[1]
    )(LOGITS),
}


@pytest.mark.parametrize("way", SECOND)
@pytest.mark.parametrize("estimator", BIASED, ids=str)
def test_second_derivatives_are_refused(estimator, way):
    with pytest.raises(ArgumentError, match=type(estimator).__name__ + " " + REFUSED):
        SECOND[way](loss_of(estimator))


@pytest.mark.parametrize("way", SECOND)
def test_the_exact_one_has_them(way):
    SECOND[way](loss_of(Exact()))


@pytest.mark.parametrize("estimator", BIASED, ids=str)
def test_first_derivatives_of_every_kind_agree(estimator):
    loss, leaf = loss_of(estimator), LOGITS.clone().requires_grad_()

    def seeded(t):
        torch.manual_seed(1)
        return loss(t)

    seeded(leaf).backward()
    (recorded,) = torch.autograd.grad(seeded(leaf), leaf, create_graph=True)
    assert torch.equal(leaf.grad, recorded)
    assert torch.allclose(torch.func.grad(seeded)(LOGITS), leaf.grad, rtol=1e-12)
    along = torch.func.jvp(seeded, (LOGITS,), (LOGITS,))[1]
    assert torch.allclose(along, (leaf.grad * LOGITS).sum(), rtol=1e-12)


@pytest.mark.parametrize("estimator", BIASED, ids=str)
def test_rows_may_be_mapped(estimator, monkeypatch):
    """vmap of grad: each row its own noise, the values in the range of the loop's."""
    # The Categorical inside of torch 2.6's OneHotCategorical does not hear `validate_args=False`.
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", False)
    rows = LOGITS[:1].expand(4000, 3)
    torch.manual_seed(0)
    mapped = torch.func.vmap(torch.func.grad(loss_of(estimator)), randomness="different")(rows)
    together = torch.func.grad(loss_of(estimator))(rows)
    error = ((mapped.var(0) + together.var(0)) / 4000).sqrt()
    assert bool(((mapped.mean(0) - together.mean(0)).abs() < 4 * error).all())

    def bernoulli(t):
        q = Bernoulli(logits=t, validate_args=False)
        return expect(lambda z: z.pow(3).sum(-1), q, estimator, 2).sum()

    assert (
        torch.func.vmap(torch.func.grad(bernoulli), randomness="different")(rows).isfinite().all()
    )


def test_refusal_is_an_identity_otherwise():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (3 * refuse_second(x, "Mine") ** 2).sum().backward()
    assert x.grad.tolist() == [6.0, 12.0]
    constant = torch.autograd.grad(refuse_second(x, "Mine").sum(), x, create_graph=True)[0]
    with pytest.raises(ArgumentError, match="expect: Mine must be"):
        constant.sum().backward()


@pytest.mark.parametrize("estimator", BIASED, ids=str)
def test_a_step_in_f_is_refused(estimator):
    logits = LOGITS.clone().requires_grad_()
    with pytest.raises(ArgumentError, match=r"f must be a differentiable.*Score\(\) takes any f"):
        expect(lambda z: z[..., 0] > 0.5, OneHotCategorical(logits=logits), estimator)
