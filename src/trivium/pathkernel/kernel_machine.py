r"""The converse: a predictor $f(x) = f_0(x) + \sum_i a_i k(x, x_i)$ with a network's kernel."""

import copy
import os
from typing import Any

import torch
from torch import Tensor, nn

from trivium._core.checks import check_choice, check_number
from trivium._core.errors import ArgumentError, DataError
from trivium._core.random import check_seed
from trivium.pathkernel.machine_add import AddedRows, added_rows
from trivium.pathkernel.machine_base import Floor, Network, check_network, network_scores
from trivium.pathkernel.machine_compare import Comparison, compared
from trivium.pathkernel.machine_file import read_machine, write_machine
from trivium.pathkernel.machine_gram import GramProducts, gram_values, times
from trivium.pathkernel.machine_kernel import as_row_kernel
from trivium.pathkernel.machine_loss import LOSSES
from trivium.pathkernel.machine_solver import Descent, Exact, check_solver, solve
from trivium.pathkernel.machine_targets import class_places, is_label, read_target, winning_levels
from trivium.pathkernel.progress import Progress, Ticker
from trivium.pathkernel.row_sets import count_rows, join_rows, take_rows

__all__ = ["KernelMachine"]

_DESCENT = Descent()
_BUDGET = 256_000_000


class KernelMachine:
    r"""A sum of kernel terms over training rows, on top of a constant or of a network.

    $f(x) = f_0(x) + \sum_i a_i\, k(x, x_i) / \bar k$ minimizes
    $\sum_i \ell(f(x_i), y_i) + \frac\lambda2 \operatorname{tr} a^\top K a / \bar k$, $\bar k$ the
    mean of $k(x_i, x_i)$, by conjugate gradients over blocks of K. Values: no gradient flows.

    Args:
        kernel: A `PathKernel`, any kernel of `trivium.kernel`, a network (its tangent kernel at
            its present weights) or a closed recording (the path kernel of its training).
        loss: `"squared"` (ridge; labels become one-hot columns), `"logistic"` (softmax
            cross-entropy) or `"squared_hinge"` (each class against the rest).
        ridge: λ.
        base: What the terms are added to: a network (copied), any function of the rows, or
            `None` for the loss's own constant (mean, log of class shares, zero).
        solver: `Descent(...)`, or `Exact()` for the squared loss and few rows.
        budget: Bytes for the Gram matrix, or for a block of it.
        random_state: Seed of the sketch and of the choice of anchors.

    Raises:
        ArgumentError: An argument breaks its rule.

    Cost:
        `fit`: one pass over the Gram matrix for the sketch and one a step; O(n (rank + c)) memory
        beside the budget.

    Example:
        >>> import torch
        >>> from trivium.kernel import Gaussian
        >>> x = torch.linspace(-2, 2, 50, dtype=torch.float64)
        >>> machine = KernelMachine(Gaussian(0.5), ridge=1e-3).fit(x, x.sin())
        >>> bool((machine.predict(x) - x.sin()).abs().max() < 1e-2)
        True

    Source:
        Domingos 2020 (the form); Rudi, Carratino and Rosasco 2017, "FALKON", and Ma and Belkin
        2019, "Kernel machines that adapt to GPUs" (preconditioned descent).
    """

    def __init__(
        self,
        kernel: Any,
        *,
        loss: str = "squared",
        ridge: float = 1e-3,
        base: Network = None,
        solver: Descent | Exact = _DESCENT,
        budget: int = _BUDGET,
        random_state: int = 0,
    ) -> None:
        caller = "KernelMachine"
        self.kernel = as_row_kernel(kernel)
        self.loss = check_choice(caller, "loss", loss, tuple(LOSSES))
        self.ridge = float(check_number(caller, "ridge", ridge, "positive"))
        check_network(base)
        check_solver(solver, loss)
        self.solver = solver
        self.base = copy.deepcopy(base) if isinstance(base, nn.Module) else base
        self.budget = int(check_number(caller, "budget", budget, "positive", integer=True))
        self.random_state = check_seed(random_state)
        self.rows_: Any = None
        self.floor_ = Floor(self.base, torch.zeros(0, dtype=torch.float64))
        self.target_ = self.coefficients_ = torch.empty(0)
        self.classes_: list[int] = []
        self.history_: list[float] = []
        self.added_: AddedRows | None = None

    def fit(self, x: Any, y: Tensor, *, progress: Progress | None = None) -> "KernelMachine":
        """Learn one coefficient a row and output.

        Args:
            x: Rows: a tensor, or what the network is called with (a tuple, a dict).
            y: Labels `(n,)` of whole numbers, or values `(n,)` or `(n, c)`.
            progress: Called with steps done and most steps; a bar on a terminal by default.

        Raises:
            ArgumentError: y is no tensor, or this loss needs labels.
            ShapeError: x and y disagree on their rows.
            DataError: A value that is not finite, or a label without an output of the base.
            NumericalError: The kernel is not finite, or not positive semi-definite.
            ResourceError: The budget does not hold one row of the Gram matrix.

        Warns:
            TriviumWarning: The steps were not enough.
        """
        base, target = self._begin("fit", x, y)
        products = GramProducts("KernelMachine", self.kernel, self.rows_, self.budget)
        with Ticker("kernel machine", getattr(self.solver, "n_steps", 1), progress) as ticker:
            found = solve(
                self.solver,
                products,
                self.loss,
                base,
                target,
                ridge=self.ridge,
                seed=self.random_state,
                tick=ticker.tick,
            )
        self.coefficients_, self.history_ = found.coefficients / products.scale, found.history
        return self

    def start(self, x: Any, y: Tensor) -> "KernelMachine":
        """Keep rows to choose anchors from, without any term: the base as it is.

        Raises:
            ArgumentError: There is no base, or y is no tensor.
            ShapeError: x and y disagree on their rows.
            DataError: A value that is not finite, or a label without an output of the base.
        """
        if self.base is None:
            raise ArgumentError("KernelMachine: start needs base, a network; got None")
        base, _ = self._begin("start", x, y)
        self.coefficients_, self.history_ = torch.zeros_like(base), []
        return self

    def add_rows(
        self, x: Any, y: Tensor, anchors: int = 150, *, emphasis: float = 2.0
    ) -> "KernelMachine":
        """Return the machine with further terms, for rows that came later; see `added_rows`.

        A class that was never seen becomes an output of its own. Terms of the new rows are solved
        jointly with terms of anchors, chosen among the old rows, that keep their scores.

        Args:
            x: New rows.
            y: Their labels or values.
            anchors: Old rows that get a term: half of them drawn with classes balanced, half where
                a first solution would do the most harm. With 0 it is the bare sum of new terms,
                which spoils the rest.
            emphasis: How far above the usual winning score a new row is asked to be, in units of
                the gap between winning and losing scores. Few rows stand for a whole class, and a
                kernel's pull fades away from them.

        Raises:
            ArgumentError: An argument breaks its rule, or other kinds of labels than before.
            ShapeError: Rows that do not look like the old ones.
            DataError: Neither fitted nor started, or a value that is not finite.
            NumericalError: The kernel is not positive semi-definite.
        """
        self._check_ready("add_rows")
        n_new = count_rows("add_rows", x)
        if bool(self.classes_) != is_label(y):
            kind = "labels" if self.classes_ else "values"
            raise ArgumentError(f"add_rows: y must be a tensor of {kind}, as before; got {y!r:.60}")
        larger = copy.copy(self)
        if self.classes_:
            larger._grow(sorted(set(y.tolist()) - set(self.classes_)))
        target = read_target("add_rows", y, n_new, larger.classes_)
        larger.rows_ = join_rows("add_rows", self.rows_, x)
        larger.added_ = added_rows(larger, self.rows_, x, target, anchors, emphasis=emphasis)
        larger.target_ = torch.cat([larger.target_, target])
        larger.coefficients_ = larger.added_.onto(larger.coefficients_)
        return larger

    def scores(self, x: Any) -> Tensor:
        """Return f, `(m, c)` in float64.

        Raises:
            DataError: Neither fitted nor started.
        """
        self._check_ready("scores")
        found = self.floor_.scores("KernelMachine.scores", x)
        active = torch.where(self.coefficients_.abs().sum(1) > 0)[0]
        if len(active):
            rows, terms = take_rows(self.rows_, active), self.coefficients_[active]
            found = found + times(self.kernel, x, rows, terms, self.budget)
        return found

    def predict(self, x: Any) -> Tensor:
        """Return labels `(m,)`, or values as y had them.

        Raises:
            DataError: Neither fitted nor started.
        """
        found = self.scores(x)
        if self.classes_:
            return torch.tensor(self.classes_)[found.argmax(1)]
        return found[:, 0] if found.shape[1] == 1 else found

    def contributions(self, x: Any, output: int = 0) -> Tensor:
        """Return each training row's term in one output, `(m, n)`: with the base they are f.

        Raises:
            ArgumentError: No such output.
            DataError: Neither fitted nor started.
        """
        self._check_ready("contributions")
        n_outputs = self.coefficients_.shape[1]
        if not 0 <= output < n_outputs:
            raise ArgumentError(f"contributions: output must be in [0, {n_outputs}); got {output}")
        gram = gram_values(self.kernel, x, self.rows_)
        return gram * self.coefficients_[:, output]

    def compare(self, network: nn.Module, x: Any, y: Tensor | None = None) -> Comparison:
        """Return agreement, correlation of outputs and accuracies beside a network.

        Raises:
            ShapeError: The network has other outputs.
            DataError: Neither fitted nor started, or labels that are no class.
        """
        places = None if y is None else class_places("compare", y, self.classes_)
        return compared(self.scores(x), network_scores("compare", network, x), places)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write rows, coefficients and, for a network, its weights, as safetensors.

        Raises:
            ArgumentError: The base is a function that is no module.
            DataError: Neither fitted nor started.
            OutputError: The file cannot be written (`ResourceError`: the disk is full).
        """
        self._check_ready("save")
        write_machine(self, path)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], kernel: Any, base: nn.Module | None = None
    ) -> "KernelMachine":
        """Read a machine back.

        Args:
            path: The file.
            kernel: The kernel, or a network of the same architecture, whose weights are replaced.
            base: A network of the base's architecture, where there was one.

        Raises:
            ArgumentError: A base is missing or too much.
            ModelError: Missing, damaged, or saved with another kernel or architecture.
        """
        return read_machine(cls, path, kernel, base)

    def _begin(self, caller: str, x: Any, y: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the rows; return the base's scores and the target."""
        n_rows = count_rows(f"KernelMachine.{caller}", x)
        network = None if self.base is None else network_scores("KernelMachine", self.base, x)
        labels = is_label(y)
        if not labels and self.loss != "squared":
            raise ArgumentError(
                f"KernelMachine: loss={self.loss!r} needs labels, whole numbers of shape (n,)"
            )
        self.classes_ = []
        if labels:
            own = sorted(set(y.tolist()))
            self.classes_ = own if network is None else list(range(network.shape[1]))
        target = read_target("KernelMachine", y, n_rows, self.classes_)
        if network is not None and network.shape != target.shape:
            raise DataError(
                f"KernelMachine: base must have the {target.shape[1]} outputs of y; "
                f"got {network.shape[1]}"
            )
        constant = LOSSES[self.loss].start(target)
        self.floor_ = Floor(self.base, constant if network is None else torch.zeros_like(constant))
        base = constant.expand(n_rows, -1).clone() if network is None else network
        self.rows_, self.target_, self.added_ = x, target, None
        return base, target

    def _grow(self, new: list[int]) -> None:
        """Make outputs for classes that were never seen, at the level of classes that lose."""
        if not new:
            return
        low = winning_levels(self.scores(self.rows_)).low
        self.floor_ = self.floor_.grown(len(new), low)
        pad = torch.zeros((len(self.target_), len(new)), dtype=torch.float64)
        self.target_ = torch.cat([self.target_, pad], 1)
        self.coefficients_ = torch.cat([self.coefficients_, pad], 1)
        self.classes_ = [*self.classes_, *new]

    def _check_ready(self, method: str) -> None:
        if self.rows_ is None:
            raise DataError(f"KernelMachine: call fit or start before {method}")
