r"""The tangent kernel at one point of a training, or summed along all of it.

$k(x, x') = \sum_j w_j \sum_c \langle \nabla f_c(x; \theta_j), \nabla f_c(x'; \theta_j) \rangle$.
"""

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError
from trivium.kernel.tangent import tangent_kernel
from trivium.parallel import Executor, given_executor
from trivium.pathkernel.notes import Checkpoint
from trivium.pathkernel.replay import Replay
from trivium.pathkernel.row_sets import count_rows, take_rows
from trivium.pathkernel.weights import Weights

if TYPE_CHECKING:
    from trivium.pathkernel.recording import Recording

__all__ = ["PathKernel", "PathNode", "tangent_kernel"]

_CHUNK = 512


class PathNode:
    """A point of the path and how much of it the point stands for.

    Attributes:
        rate: The learning rates of its steps, added up.
        weights: `(p,)`.
        buffers: The model's buffers there.
    """

    def __init__(self, rate: float, weights: Tensor, buffers: dict[str, Tensor]) -> None:
        self.rate, self.weights, self.buffers = rate, weights, buffers


class PathKernel:
    r"""The kernel of a network's training: tangent kernels, weighed by the learning rate.

    One node is the tangent kernel itself. Outputs are traced: one kernel serves all of them, and
    outputs can be added. The metric is the Euclidean one of the weights; an optimizer's
    preconditioner is not in it.

    Args:
        model: The network; copied, and used in evaluation mode.
        nodes: Points of the path.
        normalize: Divide by $\sqrt{k(x, x)\, k(x', x')}$.
        chunk: Rows whose gradients are held at a time.

    Raises:
        ArgumentError: No node, or a rate or chunk that is not positive.

    Cost:
        `gram`: for each node and output a forward and a backward of the rows, and
        O(n m (d_in + d_out)) for each layer.

    Example:
        >>> import torch
        >>> net = torch.nn.Linear(2, 1, bias=False)
        >>> x = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
        >>> PathKernel.at(net).gram(x)
        tensor([[5., 3.],
                [3., 9.]])

    Source:
        Domingos 2020, "Every model learned by gradient descent is approximately a kernel machine",
        definition 2; Jacot et al. 2018, "Neural tangent kernel".
    """

    def __init__(
        self,
        model: nn.Module,
        nodes: list[PathNode],
        *,
        normalize: bool = False,
        chunk: int = _CHUNK,
    ) -> None:
        if not nodes or any(not node.rate > 0 for node in nodes):
            raise ArgumentError(
                "PathKernel: nodes must be at least one, each of a positive rate; "
                f"got {[node.rate for node in nodes]}"
            )
        self.model = copy.deepcopy(model).eval()
        self.nodes, self.normalize = list(nodes), normalize
        self.chunk = int(check_number("PathKernel", "chunk", chunk, "positive", integer=True))
        self._weights = Weights(self.model, "PathKernel")
        self._place(self.nodes[-1])

    @classmethod
    def at(cls, model: nn.Module, *, normalize: bool = False, chunk: int = _CHUNK) -> "PathKernel":
        """Return the tangent kernel at a model's present weights."""
        weights = Weights(model, "PathKernel").read()
        buffers = {name: value.detach().clone() for name, value in model.named_buffers()}
        node = PathNode(1.0, weights, buffers)
        return cls(model, [node], normalize=normalize, chunk=chunk)

    @classmethod
    def along(
        cls,
        recording: "Recording",
        nodes: int = 20,
        *,
        normalize: bool = False,
        chunk: int = _CHUNK,
    ) -> "PathKernel":
        """Return the kernel of a recorded training.

        The steps are cut into `nodes` pieces of about equal sums of learning rates; each is
        represented by the weights before its middle step.

        Raises:
            ArgumentError: A number of nodes that is not positive, or rates that are all zero.
            DataError: As for replaying the recording.
        """
        wanted = int(check_number("PathKernel", "nodes", nodes, "positive", integer=True))
        run = recording.run("PathKernel")
        rates = torch.tensor([_rate(note.options) for note in run.notes], dtype=torch.float64)
        pieces = _pieces(rates, wanted)
        middles = {int(places[len(places) // 2]): places for places in pieces}
        found = []
        for steps, _ in run.backwards(Replay.backward):
            for step in steps:
                if step.number in middles:
                    rate = float(rates[middles[step.number]].sum())
                    found.append((step.number, PathNode(rate, step.before, step.buffers)))
        found.sort(key=lambda one: one[0])
        last: Checkpoint = run.checkpoints.held[-1]
        run.replay.restore(last)
        return cls(run.replay.model, [node for _, node in found], normalize=normalize, chunk=chunk)

    def gram(self, x: Any, y: Any = None, *, executor: Executor | None = None) -> Tensor:
        """Return the matrix of k(x_i, y_j).

        Args:
            x: Rows: a tensor, a tuple of the model's arguments or a dict of named ones.
            y: Other rows; `x` itself when left out.
            executor: Where the nodes' tangent kernels are made, with one thread each; by default
                here, with torch's threads. The same bits on all; the model and the rows travel
                once, of a node its weights.

        Raises:
            ArgumentError: No tensor, or no rows.
            ShapeError: Tensors without the same rows, or an output that has others.
            ResourceError: The executor lost its workers again and again.
        """
        n_rows, other = count_rows("PathKernel", x), x if y is None else y
        shape = (n_rows, count_rows("PathKernel", other))
        found = torch.zeros(shape, dtype=self.dtype, device=self.device)
        for node, tangent in zip(self.nodes, self._tangents(x, y, executor), strict=True):
            found += node.rate * tangent
        if not self.normalize:
            return found
        own = found.diagonal() if y is None else self._squares(x)
        others = own if y is None else self._squares(other)
        return found / (own.sqrt()[:, None] * others.sqrt()[None, :]).clamp_min(_tiny(found))

    def _tangents(self, x: Any, y: Any, executor: Executor | None) -> Iterator[Tensor]:
        """Yield the tangent kernel of each node, in their order."""
        if executor is None:
            for node in self.nodes:
                yield self._tangent(node, x, y)
            return
        runner = given_executor("PathKernel.gram", executor)
        bare = PathKernel(self.model, self.nodes[-1:], chunk=self.chunk)
        waiting: dict[int, Tensor] = {}
        due = 0
        for number, found in runner.each(_tangent, self.nodes, shared=(bare, x, y)):
            waiting[number] = found
            while due in waiting:
                yield waiting.pop(due)
                due += 1

    def _tangent(self, node: PathNode, x: Any, y: Any) -> Tensor:
        self._place(node)
        return tangent_kernel(self.model, x, y, chunk=self.chunk)

    def diagonal(self, x: Any) -> Tensor:
        """Return k(x_i, x_i) of each row; one everywhere where the kernel is normalized."""
        squares = self._squares(x)
        return torch.ones_like(squares) if self.normalize else squares

    @property
    def dtype(self) -> torch.dtype:
        """The network's dtype."""
        return self._weights.tensors[0].dtype

    @property
    def device(self) -> torch.device:
        """The network's device."""
        return self._weights.tensors[0].device

    def _squares(self, x: Any) -> Tensor:
        parts = []
        small = max(1, self.chunk // 8)  # only the diagonal of each block is used
        for a in _slices(count_rows("PathKernel", x), small):
            rows, total = take_rows(x, a), torch.zeros((), dtype=self.dtype, device=self.device)
            for node in self.nodes:
                self._place(node)
                total = total + node.rate * tangent_kernel(self.model, rows).diagonal()
            parts.append(total)
        return torch.cat(parts)

    def _place(self, node: PathNode) -> None:
        self._weights.write(node.weights)
        own = dict(self.model.named_buffers())
        with torch.no_grad():
            for name, value in node.buffers.items():
                own[name].copy_(value)


def _tangent(node: PathNode, shared: tuple[PathKernel, Any, Any]) -> Tensor:
    """The tangent kernel of a node, on a model of its own."""
    kernel, x, y = shared
    return copy.deepcopy(kernel)._tangent(node, x, y).detach()


def _rate(options: list[dict[str, Any]]) -> float:
    """Return a step's learning rate; the mean over groups that differ."""
    return sum(float(one["lr"]) for one in options) / len(options)


def _pieces(rates: Tensor, wanted: int) -> list[Tensor]:
    """Cut steps into pieces of about equal sums of rates."""
    total = float(rates.sum())
    if not total > 0:
        raise ArgumentError(f"PathKernel: learning rates must be positive; their sum is {total}")
    place = ((rates.cumsum(0) - rates / 2) / total * wanted).long().clamp_max(wanted - 1)
    return [torch.where(place == piece)[0] for piece in place.unique()]


def _slices(n: int, size: int) -> list[slice]:
    return [slice(a, min(a + size, n)) for a in range(0, n, size)]


def _tiny(values: Tensor) -> float:
    return torch.finfo(values.dtype).tiny
