"""The two questions to a recorded training: which rows made this value, and what without them."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from trivium._core.checks import check_choice
from trivium.parallel import Executor
from trivium.pathkernel.asked import BUDGET, Recorded, answer
from trivium.pathkernel.made import account
from trivium.pathkernel.progress import Progress
from trivium.pathkernel.quantity import Quantity
from trivium.pathkernel.queries import Queries
from trivium.pathkernel.result import Accounting, Counterfactual
from trivium.pathkernel.run import Run
from trivium.pathkernel.sums import Sums
from trivium.pathkernel.without import differentiate

__all__ = ["Questions"]


class Questions(Recorded):
    """What every recording can be asked."""

    def made(
        self,
        x: Any,
        of: str | Quantity = "logit",
        y: Tensor | None = None,
        *,
        decay: str = "audit",
        credit: str = "loss",
        budget: int = BUDGET,
        progress: Progress | None = None,
        executor: Executor | None = None,
    ) -> Accounting:
        r"""Say which rows made this value during this training: an accounting, complete.

        $f_T(x) - f_0(x) = \sum_i C_i + r$, $C_i = \sum_s \langle g_{s,i}, u_s \rangle$: the
        gradient of row i's loss at step s, and the adjoint of that step's gradient. It does not say
        what the value would be without a row; `without` does.

        Args:
            x: The rows asked about: a tensor, a tuple of the model's arguments, or a dict of named
                ones; the model sees them in evaluation mode.
            of: `"logit"`: that of class `y`, by default of the class that the trained model
                predicts; `"margin"`: its log-odds; `"loss"`: the training loss against `y`; or
                a function `of(output)`, or `of(output, y)` where `y` is given, of one number a row.
            y: Their classes or targets, one for each row.
            decay: `"audit"`: weight decay's own pull is a named remainder; `"propagate"`: each
                row's piece of the weights decays with them, and what is left of the initial weights
                is the remainder. Both are exact.
            credit: Where batch normalization couples the rows of a batch: `"loss"` credits row i
                with what the loss on its own output made of all weights; `"activation"` with what
                passed through its own activations. Both are complete and they differ much;
                without batch normalization they are one.
            budget: Bytes for the directions of the queries that are gone through at once; more
                queries take another replay.
            progress: Called with the steps done and in all; by default a bar on a terminal.
            executor: Where the blocks of queries that `budget` makes are gone through, with one
                thread each; a smaller budget makes more of them. A recording in a folder travels
                as its path. The same bits on all; by default here, with torch's threads.

        Returns:
            Signed contributions with their named remainders and the completeness error.

        Raises:
            ArgumentError: An unknown choice, no rows, classes out of range, or batch normalization
                without running statistics.
            ShapeError: Another number of targets than rows, or `of` returns no number a row.
            DataError: The recording has no step, or replaying it does not meet its checkpoints.
            ResourceError: Not even one query fits the budget, or an executor lost its workers
                again and again.
            NumericalError: The sums miss the change by more than the tolerance (1e-10 in float64,
                1e-4 in float32).

        Cost:
            One replay for each block of queries; two forwards and one backward of the queries for
            each chord; plain SGD O(b q (d_in + d_out)) a layer and step, else O(b q p).

        Example:
            >>> import torch
            >>> from torch.nn import functional as F
            >>> from trivium.pathkernel import record
            >>> _ = torch.manual_seed(0)
            >>> x, y = torch.randn(32, 5).double(), torch.randint(3, (32,))
            >>> net = torch.nn.Linear(5, 3).double()
            >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            >>> with record(net, optimizer, F.cross_entropy) as recording:
            ...     for ids in torch.arange(32).reshape(4, 8):
            ...         recording.batch(ids)
            ...         optimizer.zero_grad()
            ...         F.cross_entropy(net(x[ids]), y[ids]).backward()
            ...         optimizer.step()
            >>> made = recording.made(x[:2], of="margin", y=y[:2])
            >>> change = made.after - made.before
            >>> torch.allclose(made.contributions.sum(1), change, rtol=0, atol=1e-12)
            True

        Source:
            Domingos 2020, "Every model learned by gradient descent is approximately a kernel
            machine", theorem 1, for discrete steps; Pruthi et al. 2020, "Estimating training data
            influence by tracing gradient descent", equation 1, which is its left end point.
        """
        check_choice("made", "decay", decay, ("audit", "propagate"))
        check_choice("made", "credit", credit, ("loss", "activation"))
        sweep = partial(
            _account,
            chord=self.chord,
            propagate=decay == "propagate",
            coupled=credit == "loss" and self.couples_rows,
        )
        return Accounting(**answer("made", self, (x, of, y), budget, progress, sweep, executor))

    def without(
        self,
        x: Any,
        of: str | Quantity = "logit",
        y: Tensor | None = None,
        *,
        budget: int = BUDGET,
        progress: Progress | None = None,
        executor: Executor | None = None,
    ) -> Counterfactual:
        r"""Say what the value would lose without each row, to first order through every step.

        $C_i = \partial f(\theta_T) / \partial w_i$ at $w = 1$, where $w_i$ weighs row i's loss
        terms: the value without the row is about $f - C_i$. The running statistics of batch
        normalization are taken as they were.

        Args:
            x: The rows asked about, as for `made`.
            of: The quantity, as for `made`.
            y: Their classes or targets.
            budget: Bytes for the directions of the queries that are gone through at once.
            progress: Called with the steps done and in all; by default a bar on a terminal.
            executor: Where the blocks of queries that `budget` makes are gone through, with one
                thread each; a smaller budget makes more of them. A recording in a folder travels
                as its path. The same bits on all; by default here, with torch's threads.

        Returns:
            Signed contributions; `after - contributions` is the value without each row.

        Raises:
            ArgumentError: An unknown choice, no rows, classes out of range, or batch normalization
                without running statistics.
            ShapeError: Another number of targets than rows, or `of` returns no number a row.
            DataError: The recording has no step, or replaying it does not meet its checkpoints.
            ResourceError: Not even one query fits the budget, or an executor lost its workers
                again and again.
            NumericalError: The rows' sum is not that of the steps, where the batches' own gradients
                are used.

        Cost:
            One replay for each block of queries, and a double backward of the batch for each step
            and query.

        Example:
            >>> import torch
            >>> from torch.nn import functional as F
            >>> from trivium.pathkernel import record
            >>> _ = torch.manual_seed(0)
            >>> x, y = torch.randn(8, 5).double(), torch.randint(3, (8,))
            >>> def train(keep):
            ...     net = torch.nn.Linear(5, 3).double()
            ...     torch.nn.init.zeros_(net.weight)
            ...     torch.nn.init.zeros_(net.bias)
            ...     optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
            ...     with record(net, optimizer, torch.nn.CrossEntropyLoss(reduction="sum")) as run:
            ...         for _ in range(5):
            ...             run.batch(keep)
            ...             optimizer.zero_grad()
            ...             run.loss(net(x[keep]), y[keep]).backward()
            ...             optimizer.step()
            ...     return net, run
            >>> net, run = train(torch.arange(8))
            >>> found = run.without(x[:1], y=y[:1])
            >>> other, _ = train(torch.arange(1, 8))
            >>> really = (net(x[0]) - other(x[0]))[y[0]].item()
            >>> abs(found.contributions[0, 0].item() / really - 1) < 0.1
            True

        Source:
            Hara et al. 2019, "Data cleansing for models trained with SGD", equation 5.
        """
        sweep = partial(_differentiate, coupled=self.couples_rows)
        parts = answer("without", self, (x, of, y), budget, progress, sweep, executor)
        return Counterfactual(**{name: parts[name] for name in parts if name != "remainders"})


def _account(
    run: Run,
    queries: Queries,
    sums: Sums,
    first: bool,
    tick: Callable[[int], None],
    **how: Any,
) -> None:
    account(run, queries, sums, measure=first, tick=tick, **how)


def _differentiate(
    run: Run,
    queries: Queries,
    sums: Sums,
    first: bool,
    tick: Callable[[int], None],
    **how: Any,
) -> None:
    differentiate(run, queries, sums, measure=first, tick=tick, **how)
