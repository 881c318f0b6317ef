"""A component: one operator of a layer, its GEMM as a function of the tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from trivium.cost.mask import Mask
from trivium.cost.run import Run
from trivium.cost.size import Kept, Size, evaluate, spell

__all__ = ["GROUPS", "Component", "Group", "elementwise", "linear", "product"]

Group = Literal[
    "embedding", "projections", "quadratic", "state", "ffn", "router", "norm", "pooler", "head"
]
GROUPS = {
    "embedding": "from ids, patches or frames to vectors",
    "projections": "queries, keys, values and output of attention",
    "quadratic": "scores, softmax and weighted values",
    "state": "features, state and read-out of linear attention",
    "ffn": "feed-forward layers and experts",
    "router": "the choice of experts",
    "norm": "normalization and residual sums",
    "pooler": "the vector of a whole row",
    "head": "from vectors to the vocabulary",
}


@dataclass(frozen=True, slots=True)
class Component:
    """One operator: `batch` products of an m×k by a k×n matrix, or an elementwise pass.

    Args:
        name: What it computes, for example "query" or "scores".
        group: Where it counts, one of `GROUPS`.
        kind: "linear" (by a weight), "product" (of two activations), "convolution" (as its GEMM)
            or "elementwise" (no GEMM).
        batch: How many products.
        m: Rows of each.
        k: The axis summed over.
        n: Columns of each.
        macs: Multiply-adds: batch·m·k·n, with the pairs a for n·s under a mask.
        reads: Elements that it reads, operand by operand, without weights.
        writes: Elements that it writes.
        weight: Numbers of a parameter that it reads.
        experts: How many such parameters there are to choose from; 0 for no choice.
        table: Numbers of a parameter of which it reads some rows only.
        fixed: Numbers of such a parameter that is not learned.
        tied: Whether its parameter is that of another component.
        kept: Tensors that it keeps for the backward pass.
        live: Tensors alive at once while it runs, beside the vectors that go around its layer;
            `None` for what it reads and writes.
        step: The same in a decoding step, beside the cache; `None` for `live`.
        stays: Tensors alive from here to the end of the pass, with or without gradients.
        back: Gradients alive at once while its backward pass runs; `None` for those of what it
            reads and writes.
        cache: Elements that a cache holds of it for each of the keys s of a row.
        state: Elements that a cache holds of it for each row, however long, in float32.
        backward: GEMMs of the backward pass: 2, or 1 where the input needs no gradient.
        spared: Multiply-adds that these are spared: of chunks whose gradient nothing needs.
        mask: The pairs of query and key that are needed.
        stream: Symbols of the queries and the keys of the mask.
        once: Whether a decoding step finds its result in the cache.
        operator: The kind of operator that computes it; by default its own kind.
        calls: Calls of that operator; 0 where another component's kernel does the work.
        joined: Components whose work is done in this one's kernel.
        runs: Elementwise operators that torch runs beside the GEMM, or in its place.
    """

    name: str
    group: Group
    kind: Literal["linear", "product", "convolution", "elementwise"]
    batch: Size = ()
    m: Size = (0,)
    k: Size = ()
    n: Size = ()
    macs: Size = (0,)
    reads: tuple[Size, ...] = ()
    writes: tuple[Size, ...] = ()
    weight: int = 0
    experts: int = 0
    table: int = 0
    fixed: int = 0
    tied: bool = False
    kept: tuple[Kept, ...] = ()
    live: tuple[Kept, ...] | None = None
    back: tuple[Kept, ...] | None = None
    step: tuple[Kept, ...] | None = None
    stays: tuple[Kept, ...] = ()
    cache: int = 0
    state: int = 0
    backward: int = 2
    spared: Size = (0,)
    mask: Mask | None = None
    stream: tuple[str, str] = ("n", "s")
    once: bool = False
    operator: str = ""
    calls: int = 1
    joined: tuple["Component", ...] = ()
    runs: tuple[Run, ...] = ()

    @property
    def parameters(self) -> int:
        """Numbers of its matrices and tables, those of every expert; biases are left out."""
        return self.fixed + (0 if self.tied else self.learned)

    @property
    def learned(self) -> int:
        """Numbers of its parameters that have a gradient, tied or not."""
        return self.weight * max(self.experts, 1) + self.table

    @property
    def gemm(self) -> str:
        """The GEMM as text: batch of m × k × n."""
        if self.kind == "elementwise":
            return ""
        inner = f"{spell(self.m)} × {spell(self.k)} × {spell(self.n)}"
        return f"{spell(self.batch)} of {inner}" if self.batch else inner

    def dims(self, lengths: Mapping[str, int]) -> tuple[int, int, int, int]:
        """Return batch, m, k and n under these lengths."""
        return (
            evaluate(self.batch, lengths),
            evaluate(self.m, lengths),
            evaluate(self.k, lengths),
            evaluate(self.n, lengths),
        )


def linear(
    name: str,
    group: Group,
    tokens: Size,
    k: int,
    n: int,
    *,
    kept: bool = True,
    once: bool = False,
    experts: int = 0,
) -> Component:
    """Return a linear layer from k to n numbers for each token.

    Args:
        name: Its name.
        group: Its group.
        tokens: How many vectors pass through it.
        k: Their length.
        n: The length of the result.
        kept: Whether it is the first of the layers that keep this input.
        once: Whether a decoding step finds its result in the cache.
        experts: How many weights there are to choose from; 0 for no choice.
    """
    return Component(
        name,
        group,
        "linear",
        m=tokens,
        k=(k,),
        n=(n,),
        macs=(*tokens, k, n),
        reads=((*tokens, k),),
        writes=((*tokens, n),),
        weight=k * n,
        experts=experts,
        kept=(Kept((*tokens, k)),) if kept else (),
        once=once,
    )


def product(
    name: str, group: Group, batch: Size, m: Size, k: Size, n: Size, kept: tuple[Kept, ...] = ()
) -> Component:
    """Return a batch of products of two activations."""
    return Component(
        name,
        group,
        "product",
        batch=batch,
        m=m,
        k=k,
        n=n,
        macs=(*batch, *m, *k, *n),
        reads=((*batch, *m, *k), (*batch, *k, *n)),
        writes=((*batch, *m, *n),),
        kept=kept,
    )


def elementwise(
    name: str,
    group: Group,
    size: Size,
    *,
    passes: int = 1,
    kept: tuple[Kept, ...] = (),
    once: bool = False,
    runs: tuple[Run, ...] | None = None,
) -> Component:
    """Return an operator that reads and writes `size` elements `passes` times.

    Without `runs` torch runs as many passes.
    """
    moved = (*size, passes)
    runs = (Run("pass", moved, moved, passes),) if runs is None else runs
    return Component(
        name,
        group,
        "elementwise",
        reads=(moved,),
        writes=(moved,),
        kept=kept,
        live=(Kept(size),) * 2,
        back=(Kept(size),) * 2,
        once=once,
        runs=runs,
    )
