"""Rows added by kernel terms: the joint solution, its anchors, classes never seen."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.kernel import Gaussian
from trivium.pathkernel import KernelMachine, PathKernel

CENTRES = torch.tensor([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7], [0.0, 0.0]], dtype=torch.float64)


def blobs(per_class: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(4).repeat_interleave(per_class)
    noise = torch.randn(len(y), 2, dtype=torch.float64, generator=generator)
    return CENTRES[y] + 0.35 * noise, y


def trained(x: Tensor, y: Tensor, outputs: int) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 40), nn.ReLU(), nn.Linear(40, outputs)).double()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(150):
        optimizer.zero_grad()
        cross_entropy(net(x), y).backward()
        optimizer.step()
    return net


@pytest.fixture(scope="module")
def known() -> tuple[Tensor, Tensor]:
    x, y = blobs(60, 0)
    return x[y < 3], y[y < 3]


def shares(machine: KernelMachine) -> tuple[float, float]:
    """Share right of class 3 and of the others, on fresh rows."""
    x, y = blobs(100, 1)
    right = (machine.predict(x) == y).double()
    return float(right[y == 3].mean()), float(right[y < 3].mean())


@pytest.mark.parametrize("outputs", [3, 4])
def test_a_class_never_seen(known: tuple[Tensor, Tensor], outputs: int) -> None:
    """The network may have an output for the class or not."""
    net = trained(*known, outputs)
    machine = KernelMachine(net, base=net).start(*known)
    new, others = shares(machine)
    assert new == 0
    assert others > 0.97
    x, y = blobs(10, 2)
    larger = machine.add_rows(x[y == 3], y[y == 3], anchors=60)
    after, kept = shares(larger)
    assert after > 0.9
    assert kept > others - 0.02
    _, spoiled = shares(machine.add_rows(x[y == 3], y[y == 3], anchors=0))
    assert spoiled < others - 0.1  # without anchors the new rows pull the others along
    assert shares(machine) == (new, others)  # the machine itself is as it was


def test_a_class_on_a_kernel_machine(known: tuple[Tensor, Tensor]) -> None:
    machine = KernelMachine(Gaussian(1.0)).fit(*known)
    others = shares(machine)[1]
    x, y = blobs(10, 2)
    larger = machine.add_rows(x[y == 3], y[y == 3] + 90, anchors=60)
    assert larger.classes_ == [0, 1, 2, 93]
    rows, truth = blobs(100, 1)
    found = larger.predict(rows)
    assert float((found[truth == 3] == 93).double().mean()) > 0.9
    assert float((found == truth)[truth < 3].double().mean()) > others - 0.02


def test_terms_solve_the_joint_system(known: tuple[Tensor, Tensor]) -> None:
    net = trained(*known, 4)
    machine = KernelMachine(net, base=net, ridge=0.01).start(*known)
    x, y = blobs(5, 2)
    x, y = x[y == 3], y[y == 3]
    larger = machine.add_rows(x, y, anchors=20, emphasis=1.5)
    added = larger.added_
    assert added is not None
    anchors = known[0][added.anchors]
    rows = torch.cat([anchors, x])
    gram = PathKernel.at(net).gram(rows)
    ordered = machine.scores(known[0]).sort(1).values
    high, low = ordered[:, -1].mean(), ordered[:, :-1].mean()
    wanted = torch.full((25, 4), float(low), dtype=torch.float64)
    wanted[20:, 3] = low + 1.5 * (high - low)
    wanted[:20, :3] = net(anchors)[:, :3].detach()
    eye = torch.eye(25, dtype=torch.float64) * gram.diagonal().mean()
    terms = torch.linalg.solve(gram + 0.01 * eye, wanted - net(rows).detach())
    torch.testing.assert_close(torch.cat([added.on_anchors, added.on_new]), terms)
    new = blobs(3, 3)[0]
    kernel = PathKernel.at(net)
    torch.testing.assert_close(
        larger.scores(new), net(new).detach() + kernel.gram(new, rows) @ terms
    )


def test_anchors_are_balanced_and_distinct(known: tuple[Tensor, Tensor]) -> None:
    x, y = known
    few = torch.cat(
        [torch.where(y == 0)[0], torch.where(y == 1)[0][:8], torch.where(y == 2)[0][:8]]
    )
    net = trained(x, y, 4)
    machine = KernelMachine(net, base=net).start(x[few], y[few])
    more, label = blobs(5, 2)
    larger = machine.add_rows(more[label == 3], label[label == 3], anchors=36)
    assert larger.added_ is not None
    places = larger.added_.anchors
    assert len(set(places.tolist())) == 36
    drawn = y[few][places[:18]]
    assert drawn.bincount().tolist() == [6, 6, 6]
    again = machine.add_rows(more[label == 3], label[label == 3], anchors=36)
    assert torch.equal(again.coefficients_, larger.coefficients_)
    other = KernelMachine(net, base=net, random_state=1).start(x[few], y[few])
    other = other.add_rows(more[label == 3], label[label == 3], anchors=36)
    assert not torch.equal(other.coefficients_, larger.coefficients_)


def test_more_anchors_than_rows_are_all_rows(known: tuple[Tensor, Tensor]) -> None:
    x, y = (part[::9] for part in known)
    machine = KernelMachine(Gaussian(1.0)).fit(x, y)
    larger = machine.add_rows(torch.zeros(2, 2).double(), torch.tensor([3, 3]), anchors=10**6)
    assert larger.added_ is not None
    assert sorted(larger.added_.anchors.tolist()) == list(range(len(x)))


def test_rows_of_a_known_class_and_twice(known: tuple[Tensor, Tensor]) -> None:
    machine = KernelMachine(Gaussian(0.7)).fit(*known)
    spot = torch.tensor([[4.0, 4.0], [4.1, 4.0]], dtype=torch.float64)
    one = machine.add_rows(spot, torch.tensor([2, 2]))
    assert one.predict(spot).tolist() == [2, 2]
    two = one.add_rows(-spot, torch.tensor([5, 5]))
    assert two.predict(torch.cat([spot, -spot])).tolist() == [2, 2, 5, 5]
    assert shares(two)[1] > shares(machine)[1] - 0.02
    assert len(two.coefficients_) == len(known[0]) + 4


def test_values() -> None:
    x = torch.linspace(-3, 3, 80, dtype=torch.float64)[:, None]
    machine = KernelMachine(Gaussian(0.4), ridge=1e-4).fit(x, x[:, 0].sin())
    new = torch.tensor([[4.0], [4.2]], dtype=torch.float64)
    larger = machine.add_rows(new, torch.tensor([1.0, 1.2], dtype=torch.float64), anchors=30)
    torch.testing.assert_close(
        larger.predict(new), torch.tensor([1.0, 1.2]).double(), atol=1e-2, rtol=0
    )
    assert (larger.predict(x) - x[:, 0].sin()).abs().max() < 0.02


def test_guards(known: tuple[Tensor, Tensor]) -> None:
    x, y = known
    machine = KernelMachine(Gaussian(1.0))
    with pytest.raises(DataError, match="call fit or start before add_rows"):
        machine.add_rows(x, y)
    machine.fit(x, y)
    with pytest.raises(ArgumentError, match="anchors must be an integer, non-negative"):
        machine.add_rows(x, y, anchors=-1)
    with pytest.raises(ArgumentError, match="emphasis must be a number, positive"):
        machine.add_rows(x, y, emphasis=0.0)
    with pytest.raises(ArgumentError, match="y must be a tensor of labels, as before"):
        machine.add_rows(x, y.double())
    with pytest.raises(ArgumentError, match="y must be a tensor of labels, as before"):
        machine.add_rows(x, y.tolist())
    with pytest.raises(ShapeError, match="y must have the axes"):
        machine.add_rows(x, y[:3])
    with pytest.raises(ShapeError, match="new rows must look like the old ones"):
        machine.add_rows(x.float(), y)
    values = KernelMachine(Gaussian(1.0)).fit(x, x[:, 0])
    with pytest.raises(ArgumentError, match="y must be a tensor of values, as before"):
        values.add_rows(x, y)
    with pytest.raises(DataError, match="y must be finite"):
        values.add_rows(x[:1], torch.tensor([torch.nan]).double())
    with pytest.raises(ShapeError, match="y must have 1 column, as before"):
        values.add_rows(x[:1], torch.zeros(1, 2).double())
