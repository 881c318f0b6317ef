"""The kernel machine against exact solves, L-BFGS and scikit-learn, all in float64."""

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from trivium._core.errors import (
    ArgumentError,
    DataError,
    ModelError,
    NumericalError,
    ResourceError,
    ShapeError,
    TriviumWarning,
)
from trivium.kernel import Gaussian, Linear
from trivium.pathkernel import Descent, Exact, KernelMachine, PathKernel
from trivium.pathkernel.machine_loss import LOSSES

KERNEL = Gaussian(1.0)


def problem(n: int = 60) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 2, dtype=torch.float64, generator=generator)
    label = (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0.3).long()
    return x, label.clamp_max(2), torch.randn(9, 2, dtype=torch.float64, generator=generator)


def objective(machine: KernelMachine, a: Tensor) -> float:
    """J at coefficients for the scaled Gram matrix."""
    gram = machine.kernel.gram(machine.rows_)
    gram = gram / gram.diagonal().mean()
    f = machine.floor_.constant + gram @ a
    value = LOSSES[machine.loss].value(f, machine.target_)
    return float(value + machine.ridge / 2 * (a * (gram @ a)).sum())


def least_objective(machine: KernelMachine) -> float:
    """J's minimum by L-BFGS on the kernel's own features, where it is well conditioned."""
    gram = machine.kernel.gram(machine.rows_)
    values, vectors = torch.linalg.eigh(gram / gram.diagonal().mean())
    features = vectors * values.clamp_min(0).sqrt()
    w = torch.zeros_like(machine.coefficients_, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [w], max_iter=500, tolerance_grad=1e-10, history_size=50, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        f = machine.floor_.constant + features @ w
        value = LOSSES[machine.loss].value(f, machine.target_)
        value = value + machine.ridge / 2 * w.square().sum()
        value.backward()
        return value

    optimizer.step(closure)
    return float(closure().detach())


def test_exact_is_the_formula() -> None:
    x, y, new = problem()
    machine = KernelMachine(KERNEL, ridge=0.01, solver=Exact()).fit(x, y)
    gram, target = KERNEL.gram(x), one_hot(y).double()
    eye = torch.eye(len(x), dtype=torch.float64)
    a = torch.linalg.solve(gram + 0.01 * eye, target - target.mean(0))
    wanted = target.mean(0) + KERNEL.gram(new, x) @ a
    torch.testing.assert_close(machine.scores(new), wanted)


@pytest.mark.parametrize("rank", [0, 1, 20, 500])
def test_descent_reaches_the_exact_solution(rank: int) -> None:
    x, y, new = problem()
    exact = KernelMachine(KERNEL, ridge=0.01, solver=Exact()).fit(x, y)
    solver = Descent(rank=rank, tol=1e-11, n_steps=3000)
    found = KernelMachine(KERNEL, ridge=0.01, solver=solver).fit(x, y)
    assert (found.scores(new) - exact.scores(new)).abs().max() < 1e-8
    assert all(b <= a + 1e-9 for a, b in zip(found.history_, found.history_[1:], strict=False))


def test_the_sketch_saves_steps() -> None:
    x, y, _ = problem(200)
    steps = {
        rank: len(KernelMachine(KERNEL, solver=Descent(rank=rank)).fit(x, y).history_)
        for rank in (0, 60)
    }
    assert steps[60] < steps[0] / 2


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_reaches_its_minimum(loss: str) -> None:
    x, y, _ = problem(40)
    machine = KernelMachine(
        KERNEL, loss=loss, ridge=0.05, solver=Descent(tol=1e-9, n_steps=3000)
    ).fit(x, y)
    scale = float(KERNEL.diagonal(x).mean())
    mine = objective(machine, machine.coefficients_ * scale)
    assert mine == pytest.approx(least_objective(machine), rel=1e-7)
    assert mine == pytest.approx(machine.history_[-1], rel=1e-9)
    assert mine < 0.9 * objective(machine, torch.zeros_like(machine.coefficients_))


@pytest.mark.parametrize("loss", LOSSES)
def test_slope_and_bend_are_derivatives(loss: str) -> None:
    torch.manual_seed(0)
    f, along = torch.randn(2, 7, 3, dtype=torch.float64)
    target, one = one_hot(torch.tensor([0, 1, 2, 0, 1, 2, 2])).double(), LOSSES[loss]
    f.requires_grad_()
    (slope,) = torch.autograd.grad(one.value(f, target), f, create_graph=True)
    (twice,) = torch.autograd.grad((slope * along).sum(), f)
    torch.testing.assert_close(one.slope(f, target), slope)
    torch.testing.assert_close(one.bend(f, target, along), (twice * along).sum())


def test_squared_hinge_is_scikit_learn_s() -> None:
    from sklearn.svm import LinearSVC

    x, y, new = problem(40)
    machine = KernelMachine(
        Linear(), loss="squared_hinge", ridge=0.1, solver=Descent(tol=1e-9, n_steps=3000)
    ).fit(x, y)
    strength = 1 / (2 * 0.1 * float(Linear().diagonal(x).mean()))
    peer = LinearSVC(C=strength, fit_intercept=False, tol=1e-8, max_iter=20_000)
    peer.fit(x.numpy(), y.numpy())
    wanted = torch.as_tensor(peer.decision_function(new.numpy()))
    torch.testing.assert_close(machine.scores(new), wanted, rtol=1e-4, atol=1e-5)


def test_blocks_give_what_the_whole_matrix_gives() -> None:
    x, y, new = problem()
    whole = KernelMachine(KERNEL, loss="logistic").fit(x, y)
    row = 8 * len(x) * 3
    blocks = KernelMachine(KERNEL, loss="logistic", budget=7 * row).fit(x, y)
    torch.testing.assert_close(blocks.scores(new), whole.scores(new), rtol=1e-6, atol=1e-6)
    with pytest.raises(ResourceError, match="budget must hold a row"):
        KernelMachine(KERNEL, budget=row - 1).fit(x, y)


def test_the_gram_matrix_is_never_whole_where_it_does_not_fit() -> None:
    x, y, _ = problem()
    largest = [0]

    class Watched:
        def gram(self, a: Tensor, b: Tensor | None = None) -> Tensor:
            found = KERNEL.gram(a, b)
            largest[0] = max(largest[0], found.numel())
            return found

        def diagonal(self, a: Tensor) -> Tensor:
            return KERNEL.diagonal(a)

    KernelMachine(Watched(), budget=5 * 8 * 60 * 3).fit(x, y).predict(x)
    assert 0 < largest[0] <= 5 * 60


def test_regression_with_several_columns() -> None:
    x, _, new = problem()
    y = torch.stack([x[:, 0].sin(), x[:, 1].square()], 1)
    machine = KernelMachine(KERNEL, ridge=1e-4).fit(x, y)
    assert machine.predict(new).shape == (9, 2)
    assert (machine.predict(x) - y).abs().max() < 0.02
    single = KernelMachine(KERNEL, ridge=1e-4).fit(x, y[:, 0])
    torch.testing.assert_close(single.predict(x), machine.predict(x)[:, 0], atol=1e-3, rtol=0)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def test_on_top_of_a_network() -> None:
    x, y, new = problem()
    base = network()
    machine = KernelMachine(base, base=base, loss="logistic", ridge=0.1).fit(x, y)
    a = machine.coefficients_
    wanted = base(new).detach() + PathKernel.at(base).gram(new, x) @ a
    torch.testing.assert_close(machine.scores(new), wanted)
    with torch.no_grad():
        before = float((base(x).argmax(1) == y).double().mean())
    assert float((machine.predict(x) == y).double().mean()) > max(0.9, before)
    # The optimum's own equation: a = -slope / ridge.
    slope = LOSSES["logistic"].slope(machine.scores(x), machine.target_)
    gram = PathKernel.at(base).diagonal(x).mean()
    torch.testing.assert_close(a * gram, -slope / 0.1, rtol=1e-3, atol=1e-4)


def test_contributions_add_up() -> None:
    x, y, new = problem()
    machine = KernelMachine(KERNEL).fit(x, y)
    for output in range(3):
        total = machine.contributions(new, output).sum(1) + machine.floor_.constant[output]
        torch.testing.assert_close(total, machine.scores(new)[:, output])
    with pytest.raises(ArgumentError, match=r"output must be in \[0, 3\)"):
        machine.contributions(new, 3)


def test_compare() -> None:
    x, y, _ = problem()
    base = network()
    same = KernelMachine(base, base=base).start(x, y).compare(base, x, y)
    assert (same.agreement, same.correlation) == (1.0, pytest.approx(1.0))
    assert same.accuracy == same.network_accuracy
    other = network()
    with torch.no_grad():
        other[2].weight.neg_()
        other[2].bias.neg_()
    opposite = KernelMachine(base, base=base).start(x, y).compare(other, x)
    assert opposite.correlation == pytest.approx(-1.0)
    assert opposite.accuracy != opposite.accuracy
    assert "agreement" in str(opposite)
    with pytest.raises(ShapeError, match="compare: the network must have the machine's outputs"):
        KernelMachine(KERNEL).fit(x, y).compare(nn.Linear(2, 2).double(), x)


def test_labels_need_not_be_0_1_2() -> None:
    x, y, new = problem()
    named = torch.tensor([7, -3, 40])[y]
    plain, other = (KernelMachine(KERNEL).fit(x, one) for one in (y, named))
    assert other.classes_ == [-3, 7, 40]
    assert torch.equal(other.predict(new), torch.tensor([7, -3, 40])[plain.predict(new)])


def test_too_few_steps_are_said() -> None:
    x, y, _ = problem()
    with pytest.warns(TriviumWarning, match="2 steps left"):
        KernelMachine(KERNEL, solver=Descent(rank=0, n_steps=2)).fit(x, y)


def test_progress() -> None:
    x, y, _ = problem()
    seen: list[tuple[int, int]] = []
    machine = KernelMachine(KERNEL)
    machine.fit(x, y, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, 500) for i in range(len(machine.history_))]
    machine.fit(x, y)  # no terminal, no bar


@pytest.mark.parametrize("kind", ["kernel", "network", "base"])
def test_saved_and_read_back(kind: str, tmp_path: Path) -> None:
    x, y, new = problem()
    kernel = KERNEL if kind == "kernel" else network()
    base = network() if kind == "base" else None
    solver = Exact() if kind == "kernel" else Descent(tol=1e-4)
    machine = KernelMachine(kernel, base=base, solver=solver, ridge=0.2).fit(x, y)
    if kind == "base":
        machine = machine.add_rows(new, torch.full((9,), 5))
    machine.save(tmp_path / "machine")
    with torch.no_grad():  # what is saved counts, not what is handed in
        for model in (kernel, base):
            if isinstance(model, nn.Module):
                for p in model.parameters():
                    p.zero_()
    again = KernelMachine.load(tmp_path / "machine", kernel, base)
    assert torch.equal(again.scores(new), machine.scores(new))
    assert torch.equal(again.predict(new), machine.predict(new))
    assert (again.solver, again.ridge, again.classes_) == (solver, 0.2, machine.classes_)


def test_saved_rows_of_several_arguments(tmp_path: Path) -> None:
    x, y, _ = problem(12)

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 3).double()

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.inner(a) + self.inner(b)

    for rows in ((x, -x), {"a": x, "b": -x}):
        machine = KernelMachine(Named()).fit(rows, y)
        machine.save(tmp_path / "m")
        again = KernelMachine.load(tmp_path / "m", Named())
        assert torch.equal(again.scores(rows), machine.scores(rows))


def test_a_wrong_file_is_refused(tmp_path: Path) -> None:
    x, y, _ = problem(12)
    path = tmp_path / "m"
    KernelMachine(KERNEL).fit(x, y).save(path)
    with pytest.raises(ModelError, match="kernel must be Gaussian"):
        KernelMachine.load(path, Gaussian(2.0))
    with pytest.raises(ModelError, match="kernel must be Gaussian"):
        KernelMachine.load(path, network())
    with pytest.raises(ArgumentError, match="base must be None"):
        KernelMachine.load(path, KERNEL, network())
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="checksum"):
        KernelMachine.load(path, KERNEL)
    base = network()
    KernelMachine(base, base=base).start(x, y).save(path)
    with pytest.raises(ModelError, match="must have 51 trainable weights"):
        KernelMachine.load(path, nn.Linear(2, 3).double(), network())
    with pytest.raises(ModelError, match="base must have the saved architecture"):
        KernelMachine.load(path, network(), nn.Linear(2, 3).double())
    function = KernelMachine(KERNEL, base=lambda rows: rows).fit(x, y % 2)
    with pytest.raises(ArgumentError, match="base must be None or a module to be saved"):
        function.save(path)


def test_guards() -> None:
    x, y, _ = problem(12)
    for options, said in [
        ({"loss": "absolute"}, "loss must be one of"),
        ({"ridge": 0}, "ridge must be a number, positive"),
        ({"base": 3}, "base must be None, a module or a function"),
        ({"solver": "exact"}, "solver must be"),
        ({"solver": Exact(), "loss": "logistic"}, 'needs loss="squared"'),
        ({"budget": 0}, "budget must be an integer, positive"),
        ({"random_state": -1}, "random_state must be"),
    ]:
        with pytest.raises(ArgumentError, match=said):
            KernelMachine(KERNEL, **options)
    with pytest.raises(ArgumentError, match="kernel must be a PathKernel, a kernel, a network"):
        KernelMachine("gaussian")
    for options, said in [({"rank": -1}, "rank"), ({"tol": 0}, "tol"), ({"n_steps": 0}, "n_steps")]:
        with pytest.raises(ArgumentError, match=f"Descent: {said} must be"):
            Descent(**options)
    machine = KernelMachine(KERNEL)
    for method in ("scores", "predict", "contributions"):
        with pytest.raises(DataError, match="call fit or start before"):
            getattr(machine, method)(x)
    with pytest.raises(DataError, match="call fit or start before save"):
        machine.save("nowhere")
    with pytest.raises(ArgumentError, match="start needs base"):
        machine.start(x, y)
    with pytest.raises(ArgumentError, match="y must be a torch tensor"):
        machine.fit(x, y.tolist())
    with pytest.raises(ShapeError, match="y must have the axes"):
        machine.fit(x, y[:5])
    with pytest.raises(DataError, match="y must be finite"):
        machine.fit(x, y * torch.nan)
    with pytest.raises(ArgumentError, match="must be whole labels"):
        machine.fit(x, y[:, None])
    with pytest.raises(ArgumentError, match="needs labels"):
        KernelMachine(KERNEL, loss="logistic").fit(x, x[:, 0])
    base = network()
    with pytest.raises(DataError, match="labels must be among the classes"):
        KernelMachine(base, base=base).fit(x, y + 1)
    with pytest.raises(DataError, match="base must have the 1 outputs of y"):
        KernelMachine(base, base=base).fit(x, x[:, 0])
    with pytest.raises(ShapeError, match="a network must give"):
        KernelMachine(KERNEL, base=lambda rows: rows[:, None]).fit(x, y)
    with torch.no_grad():
        base[0].weight[0, 0] = torch.nan
    with pytest.raises(NumericalError, match="must be finite"):
        KernelMachine(base).fit(x, y)


def test_a_kernel_of_zeros_is_the_constant() -> None:
    class Zero:
        def gram(self, a: Tensor, b: Tensor | None = None) -> Tensor:
            return torch.zeros(len(a), len(a if b is None else b), dtype=torch.float64)

        def diagonal(self, a: Tensor) -> Tensor:
            return torch.zeros(len(a), dtype=torch.float64)

    x, y, new = problem(12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        machine = KernelMachine(Zero()).fit(x, y.double())
    torch.testing.assert_close(machine.predict(new), y.double().mean().expand(9))
