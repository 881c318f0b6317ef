"""The path kernel against float64 autograd: networks of several kinds, points and whole paths."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev
from torch.nn.functional import cross_entropy

from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.pathkernel import PathKernel, PathNode, record


class Reader(nn.Module):
    """A tiny Transformer block on words, with a parameter used directly."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Embedding(11, 8)
        self.start = nn.Parameter(torch.randn(1, 1, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.answer = nn.Linear(8, 3)

    def forward(self, words: Tensor) -> Tensor:
        rows = self.look(words)
        rows = torch.cat([self.start.expand(len(rows), 1, 8), rows], 1)
        return self.answer(self.block(rows)[:, 0])


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.GroupNorm(2, 4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 3),
    )


CASES = {
    "mlp": (mlp, lambda n: torch.randn(n, 5, dtype=torch.float64)),
    "cnn": (cnn, lambda n: torch.randn(n, 2, 5, 5, dtype=torch.float64)),
    "transformer": (Reader, lambda n: torch.randint(11, (n, 4))),
}


def jacobians(model: nn.Module, x: Tensor) -> Tensor:
    """Rows of all outputs' gradients, (n, c, p), by torch.func."""
    named = {k: v.detach() for k, v in model.named_parameters()}
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        found = jacrev(lambda w: functional_call(model, w, (x,)))(named)
    return torch.cat([found[k].flatten(2) for k in named], 2)


@pytest.mark.parametrize("name", CASES)
def test_one_node_is_the_tangent_kernel(name: str) -> None:
    torch.manual_seed(0)
    make, draw = CASES[name]
    model, x, y = make().double().eval(), draw(5), draw(3)
    a, b = jacobians(model, x), jacobians(model, y)
    kernel = PathKernel.at(model, chunk=2)
    torch.testing.assert_close(kernel.gram(x, y), torch.einsum("ncp,mcp->nm", a, b))
    torch.testing.assert_close(kernel.gram(x), torch.einsum("ncp,mcp->nm", a, a))
    torch.testing.assert_close(kernel.diagonal(x), a.square().sum((1, 2)))


def test_normalised_has_ones_and_cosines() -> None:
    torch.manual_seed(0)
    model, x, y = mlp().double(), *(torch.randn(n, 5, dtype=torch.float64) for n in (6, 4))
    a, b = (jacobians(model, rows).flatten(1) for rows in (x, y))
    kernel = PathKernel.at(model, normalize=True)
    wanted = nn.functional.normalize(a) @ nn.functional.normalize(b).mT
    torch.testing.assert_close(kernel.gram(x, y), wanted)
    torch.testing.assert_close(kernel.gram(x).diagonal(), torch.ones(6, dtype=torch.float64))
    assert kernel.diagonal(x).eq(1).all()


def trained(steps: int = 12) -> tuple:
    torch.manual_seed(1)
    model = mlp().double()
    x, y = torch.randn(20, 5, dtype=torch.float64), torch.randint(3, (20,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.8)
    seen, rates = [], []
    with record(model, optimizer, cross_entropy, stride=5) as recording:
        for _ in range(steps):
            ids = torch.randperm(20)[:6]
            recording.batch(ids)
            optimizer.zero_grad()
            cross_entropy(model(x[ids]), y[ids]).backward()
            seen.append({k: v.detach().clone() for k, v in model.named_parameters()})
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
    return model, recording, x, seen, rates


def test_every_step_a_node_is_the_whole_path() -> None:
    model, recording, x, seen, rates = trained()
    wanted = torch.zeros(20, 20, dtype=torch.float64)
    for weights, rate in zip(seen, rates, strict=True):
        model.load_state_dict(weights)
        found = jacobians(model, x)
        wanted += rate * torch.einsum("ncp,mcp->nm", found, found)
    # So many pieces that each step, the last and smallest too, gets its own.
    kernel = PathKernel.along(recording, 200)
    assert len(kernel.nodes) == 12
    torch.testing.assert_close(kernel.gram(x), wanted)


def test_few_nodes_carry_all_of_the_rate() -> None:
    _, recording, x, _, rates = trained()
    for nodes in (1, 3, 5):
        kernel = PathKernel.along(recording, nodes)
        assert len(kernel.nodes) <= nodes
        assert sum(node.rate for node in kernel.nodes) == pytest.approx(sum(rates))
    near = PathKernel.along(recording, 5).gram(x)
    whole = PathKernel.along(recording, 200).gram(x)
    assert (near - whole).norm() < 0.05 * whole.norm()


def test_the_user_s_model_is_left_alone() -> None:
    model, recording, x, *_ = trained()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.train()
    PathKernel.along(recording, 3).gram(x)
    PathKernel.at(model).gram(x)
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(hook is None or not hook for hook in (model._forward_hooks,))


def test_named_and_positional_arguments() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(2, 3), nn.Linear(4, 3)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return (self.a(a) * self.b(b)).sum(1)

    torch.manual_seed(0)
    kernel, a, b = PathKernel.at(Two().double()), torch.randn(5, 2), torch.randn(5, 4)
    a, b = a.double(), b.double()
    found = kernel.gram((a, b))
    torch.testing.assert_close(found, kernel.gram({"b": b, "a": a}))
    assert torch.linalg.eigvalsh(found)[0] > -1e-10


def test_guards() -> None:
    model, recording, x, *_ = trained(2)
    with pytest.raises(ArgumentError, match="PathKernel: nodes must be at least one"):
        PathKernel(model, [])
    node = PathKernel.at(model).nodes[0]
    with pytest.raises(ArgumentError, match="each of a positive rate"):
        PathKernel(model, [PathNode(0.0, node.weights, {})])
    with pytest.raises(ArgumentError, match="chunk must be an integer, positive"):
        PathKernel.at(model, chunk=0)
    with pytest.raises(ArgumentError, match="nodes must be an integer, positive"):
        PathKernel.along(recording, 0)
    with pytest.raises(ArgumentError, match="x must be a tensor"):
        PathKernel.at(model).gram([])
    with pytest.raises(ShapeError, match="all tensors of x must have the same rows"):
        PathKernel.at(model).gram((x, x[:3]))
    flat = nn.Sequential(nn.Linear(5, 4), nn.Flatten(0)).double()
    with pytest.raises(ShapeError, match="must return a tensor with the 20 rows"):
        PathKernel.at(flat).gram(x)


def test_a_training_that_never_moved_is_refused() -> None:
    model, x = mlp(), torch.randn(4, 5)
    still = torch.optim.SGD(model.parameters(), lr=0.0)
    with record(model, still, cross_entropy) as recording:
        recording.batch(range(4))
        cross_entropy(model(x), torch.tensor([0, 1, 2, 0])).backward()
        still.step()
    with pytest.raises(ArgumentError, match="learning rates must be positive"):
        PathKernel.along(recording)
    with record(model, still, cross_entropy) as empty:
        pass
    with pytest.raises(DataError, match="must have a step"):
        PathKernel.along(empty)
