"""The tangent kernel is the product of Jacobians, exact or sketched without bias."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.kernel import TangentKernel, tangent_kernel, tangents_of
from trivium.testing.live_bytes import LiveBytes


class Text(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Embedding(11, 8), nn.LayerNorm(8)
        self.cls, self.out = nn.Parameter(torch.randn(8)), nn.Linear(8, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.norm(self.embed(tokens) + self.cls).tanh()).mean(1)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Dropout(0.5), nn.Linear(16, 3))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 6, 6)),
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 2),
    )


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def case(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    if name == "text":
        return Text(), torch.randint(0, 11, (9, 4)), torch.randint(0, 11, (5, 4))
    width = 6 if name == "mlp" else 36
    return {"mlp": mlp, "cnn": cnn}[name](), torch.randn(9, width), torch.randn(5, width)


def jacobians(net: nn.Module, x: Tensor) -> Tensor:
    """The oracle: `(n, c, p)` by torch.func, in evaluation mode."""
    net.eval()
    parameters = {name: p.detach() for name, p in net.named_parameters()}
    found = jacrev(lambda p: functional_call(net, p, (x,)))(parameters)
    net.train()
    return torch.cat([found[name].flatten(2) for name in parameters], 2)


def close(found: Tensor, wanted: Tensor, tolerance: float = 1e-12) -> None:
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max() / wanted.abs().max()) <= tolerance


@pytest.mark.parametrize("chunk", [2, 256])
@pytest.mark.parametrize("name", ["mlp", "cnn", "text"])
def test_the_kernel_is_the_product_of_jacobians(name: str, chunk: int) -> None:
    net, x, y = case(name)
    left, right = jacobians(net, x), jacobians(net, y)
    full = torch.einsum("ncp,mkp->nmck", left, right)
    close(tangent_kernel(net, x, y, outputs="full", chunk=chunk), full)
    close(tangent_kernel(net, x, y, chunk=chunk), full.diagonal(0, 2, 3).sum(-1))
    own = torch.einsum("ncp,mcp->nm", left, left)
    close(tangent_kernel(net, x, chunk=chunk), own)
    close(tangent_kernel(net, x, outputs="full", chunk=chunk).diagonal(0, 2, 3).sum(-1), own)
    kernel = TangentKernel(net, chunk=chunk)
    if name != "text":
        close(kernel.gram(x, y), full.diagonal(0, 2, 3).sum(-1))
        close(kernel.gram(x), own)
        close(kernel.diagonal(x), own.diagonal())
        close(kernel.blocks(x)(slice(1, 8, 3), slice(None, None, 2)), own[1:8:3, ::2])
    assert net.training
    assert all(p.grad is None for p in net.parameters())


def test_gradients_that_are_not_kept_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x, y = case("mlp")
    wanted = tangent_kernel(net, x, y)
    monkeypatch.setattr("trivium.kernel.tangent._KEPT", 0)
    close(tangent_kernel(net, x, y, chunk=2), wanted)


def test_no_jacobian_is_written_out() -> None:
    """512 x 512 weights, 4 outputs: the Jacobians of 40 rows take 337 megabytes, we take 6."""
    net = nn.Sequential(nn.Linear(8, 512), nn.Tanh(), nn.Linear(512, 512), nn.Linear(512, 4))
    x = torch.randn(40, 8)
    with LiveBytes() as live:
        tangent_kernel(net, x)
    jacobian = 40 * 4 * 8 * sum(p.numel() for p in net.parameters())
    assert live.peak <= 0.02 * jacobian


@pytest.mark.parametrize(
    ("name", "outputs"), [("mlp", "trace"), ("mlp", "full"), ("cnn", "full"), ("text", "trace")]
)
def test_the_sketch_is_unbiased_and_as_close_as_stated(name: str, outputs: str) -> None:
    """The mean over 100 seeds, against its own standard error: |z| below 6 for every entry.

    Of at most 81 entries one alarm has a probability near 1e-6; a bias of half the sketch's
    standard deviation is seen with certainty.
    """
    net, x, y = case(name)
    exact = tangent_kernel(net, x[:3], y[:3], outputs=outputs)
    width, draws = 16, 100
    found = torch.stack(
        [
            tangent_kernel(net, x[:3], y[:3], outputs=outputs, sketch=width, random_state=seed)
            for seed in range(draws)
        ]
    )
    error = found.std(0) / draws**0.5
    assert float(((found.mean(0) - exact) / error).abs().max()) < 6
    assert float(((found.mean(0) - 1.6 * exact) / error).abs().max()) > 6  # and it can fail
    own, other = jacobians(net, x[:3]), jacobians(net, y[:3])
    if outputs == "trace":
        lengths = own.norm(dim=(1, 2))[:, None] * other.norm(dim=(1, 2))
    else:
        lengths = torch.einsum("nc,mk->nmck", own.norm(dim=2), other.norm(dim=2))
    assert float((found.var(0) / lengths.square()).max()) <= 8 / width


def test_a_sketch_does_not_see_chunks_or_forms() -> None:
    """Rows of few tokens stay factored, rows of many are written out; both meet in one sketch."""
    net = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 8))
    few, many = torch.randn(5, 1, 6), torch.randn(5, 30, 6)

    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x).mean(1)

    for z in (few, many):
        whole = tangent_kernel(Mean(), few, z, sketch=2000)
        close(tangent_kernel(Mean(), few, z, sketch=2000, chunk=2), whole)
    exact = tangent_kernel(Mean(), few, many)
    left, right = jacobians(Mean(), few), jacobians(Mean(), many)
    close(exact, torch.einsum("ncp,mcp->nm", left, right))
    estimates = [tangent_kernel(Mean(), few, many, sketch=4000, random_state=s) for s in range(9)]
    gap = float((torch.stack(estimates).mean(0) - exact).norm() / exact.norm())
    assert gap <= 0.03


def test_rows_may_have_a_shape_and_another_type() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    x = torch.randn(5, 36)
    kernel = TangentKernel(net, shape=[1, 6, 6])
    close(kernel.gram(x), tangent_kernel(net, x.reshape(5, 1, 6, 6)))
    single = kernel.gram(x.float())
    assert single.dtype == torch.float32
    close(single.double(), kernel.gram(x), 1e-5)
    assert next(net.parameters()).dtype == torch.float64
    with pytest.raises(ShapeError, match=r"x must have the 36 columns of shape \(1, 6, 6\); got 5"):
        kernel.gram(torch.randn(3, 5))


def test_it_serves_the_rest_of_the_library() -> None:
    """As a factor, and in HSIC: what the net sees weighs more than what stands beside it."""
    from trivium.dependence import hsic

    net, x, _ = case("mlp")
    kernel = TangentKernel(net)
    factor = kernel.factor(x, rank=9, tol=1e-12)
    close(factor.values @ factor.values.mT, kernel.gram(x), 1e-9)
    rows = torch.randn(200, 6)
    dependent = float(hsic(rows, net.eval()(rows).detach(), kernel_x=kernel))
    apart = float(hsic(rows, torch.randn(200, 3), kernel_x=kernel))
    assert dependent > 5 * abs(apart)


# ---- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"model": 3}, ArgumentError, "model must be a torch.nn.Module"),
        ({"model": nn.ReLU()}, ArgumentError, "model must have a trainable parameter"),
        ({"outputs": "sum"}, ArgumentError, "outputs must be one of 'trace', 'full'"),
        ({"chunk": 0}, ArgumentError, "chunk must be an integer, positive"),
        ({"sketch": -1}, ArgumentError, "sketch must be an integer, positive"),
        ({"x": [1.0]}, ArgumentError, "x must hold a tensor"),
        ({"y": torch.zeros(0, 6)}, DataError, "y must have at least one row"),
        ({"y": torch.zeros(2, 6, dtype=torch.float32)}, ArgumentError, "y must be .*float64"),
        ({"x": {"input": torch.zeros(2, 6), "b": torch.zeros(3)}}, ShapeError, "x must have one"),
    ],
)
def test_bad_arguments_are_refused(
    change: dict[str, Any], kind: type[Exception], message: str
) -> None:
    arguments = {"model": mlp(), "x": torch.zeros(2, 6), **change}
    with pytest.raises(kind, match=f"tangent_kernel: {message}"):
        tangent_kernel(**arguments)


class Last(nn.Module):
    """Returns what it is told to."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form, self.inner = form, nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Any:
        out = self.inner(x)
        return {"pair": (out, out), "sum": out.sum(0), "total": out.sum(), "none": out[:, :0]}[
            self.form
        ]


@pytest.mark.parametrize(
    ("form", "message"),
    [("pair", "got tuple"), ("sum", r"got \(2,\)"), ("total", r"got \(\)"), ("none", "an output")],
)
def test_outputs_must_have_the_rows(form: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=f"tangent_kernel: model must .*{message}"):
        tangent_kernel(Last(form), torch.zeros(5, 6))


def test_the_member_checks_what_it_is_built_from() -> None:
    with pytest.raises(ArgumentError, match="TangentKernel: model must have a trainable"):
        TangentKernel(nn.ReLU())
    with pytest.raises(ArgumentError, match="TangentKernel: chunk must be"):
        TangentKernel(mlp(), chunk=0)
    with pytest.raises(ArgumentError, match="TangentKernel: shape must be"):
        TangentKernel(mlp(), shape=(0, 3))


def test_squares_are_the_diagonal() -> None:
    net, x, _ = case("cnn")
    found = tangents_of(net.eval(), x, lambda out: out[:, 0])
    close(found.squares(), found.gram(found).diagonal())
