"""Scores, softmax and weighted values: the part of attention that works on pairs of tokens."""

from dataclasses import dataclass, replace

from trivium.cost.component import Component, product
from trivium.cost.design import Design, Fused, Window
from trivium.cost.mask import Mask
from trivium.cost.run import Run
from trivium.cost.size import Kept, Size

__all__ = ["Heads", "softmax_pairs"]


@dataclass(frozen=True, slots=True)
class Heads:
    """Heads of attention and their sizes.

    Args:
        count: h, the heads of the queries.
        groups: g, the heads of keys and values; g divides h.
        key: Size of a query and of a key in each head.
        value: Size of a value in each head.
        dropout: Whether the weights pass a dropout.
        upcast: Whether the softmax is computed in float32 whatever the dtype.
        capped: Whether the scores pass a tanh.
        rotary: Numbers of a query and of a key that turn by their position.
    """

    count: int
    groups: int
    key: int
    value: int
    dropout: bool = False
    upcast: bool = False
    capped: bool = False
    rotary: int = 0


@dataclass(frozen=True, slots=True)
class _Tensors:
    """The tensors of a design: queries, keys and values of every head, pairs, the result.

    Args:
        heads: The heads.
        queries: Symbol of the queries.
        keys: Symbol of the keys.
    """

    heads: Heads
    queries: str
    keys: str

    @property
    def query(self) -> Size:
        return ("b", self.heads.count, self.queries, self.heads.key)

    @property
    def key(self) -> Size:
        return ("b", self.heads.count, self.keys, self.heads.key)

    @property
    def value(self) -> Size:
        return ("b", self.heads.count, self.keys, self.heads.value)

    @property
    def pairs(self) -> Size:
        return ("b", self.heads.count, "a")

    @property
    def out(self) -> Size:
        return ("b", self.heads.count, self.queries, self.heads.value)

    @property
    def grouped(self) -> tuple[Size, Size]:
        """Keys and values as the cache holds them."""
        one = ("b", self.heads.groups, self.keys)
        return (*one, self.heads.key), (*one, self.heads.value)

    def held(self) -> tuple[Kept, ...]:
        """Queries, keys and values; grouped ones beside their copies for every head."""
        sizes = [self.query, self.key, self.value]
        sizes += self.grouped if self.heads.groups < self.heads.count else ()
        return tuple(map(Kept, sizes))

    def copied(self, *, fused: bool) -> tuple[Kept, ...]:
        """What a step needs beside the cache.

        Keys and values copied for every head, or the keys of before while they are made longer.
        """
        if fused or self.heads.groups == self.heads.count:
            return (Kept(self.query), Kept(self.grouped[0]))
        return (Kept(self.query), Kept(self.key), Kept(self.value))


def softmax_pairs(
    heads: Heads, mask: Mask, stream: tuple[str, str], design: Design
) -> tuple[Component, ...]:
    """Return scores, softmax and context, written out or in one kernel.

    Args:
        heads: The heads.
        mask: The pairs that are needed.
        stream: Symbols of queries and keys.
        design: `Fused` and `Window` keep no tensor of pairs, and compute the scores again in the
            backward pass.
    """
    queries, keys = stream
    batch: Size = ("b", heads.count)
    tensors = _Tensors(heads, queries, keys)
    scores = replace(
        product("scores", "quadratic", batch, (queries,), (heads.key,), (keys,)),
        macs=(*tensors.pairs, heads.key),
        cache=heads.groups * heads.key if queries == "n" else 0,
        mask=mask,
        stream=stream,
    )
    context = replace(
        product("context", "quadratic", batch, (queries,), (keys,), (heads.value,)),
        macs=(*tensors.pairs, heads.value),
        writes=(tensors.out,),
        cache=heads.groups * heads.value if queries == "n" else 0,
        mask=mask,
        stream=stream,
    )
    if isinstance(design, Fused | Window):
        return _in_one(tensors, scores, context, design)
    return _written_out(tensors, scores, context)


def _in_one(
    tensors: _Tensors, scores: Component, context: Component, design: Design
) -> tuple[Component, ...]:
    """Return the two products of one kernel."""
    key, value = tensors.grouped
    narrowed = scores.mask is not None and scores.mask.window is not None
    kept = [Kept(tensors.query), Kept(key)]
    if isinstance(design, Fused) and narrowed:
        # torch takes a window as a matrix, which it keeps in each layer, and copies grouped keys.
        key, value = tensors.key, tensors.value
        kept = [Kept(tensors.query), Kept(key), Kept(("b", "a"))]
    kept_with = [Kept(value), Kept(tensors.out[:-1], "float32")]
    if 0 < tensors.heads.rotary < tensors.heads.key:
        # Heads put together of turned and other numbers come out one behind the other, and are
        # copied once more.
        kept_with.append(Kept(tensors.out))
    live = (*tensors.held(), Kept(tensors.out))
    step = (*tensors.copied(fused=True), Kept(tensors.out))
    gradients = (Kept(tensors.query), Kept(tensors.key), Kept(tensors.value), Kept(tensors.out))
    first = replace(
        scores,
        reads=(tensors.query, tensors.key),
        writes=(),
        kept=tuple(kept),
        live=live,
        step=step,
        back=gradients,
        backward=3,
        calls=0,
    )
    second = replace(
        context,
        reads=(tensors.value,),
        kept=tuple(kept_with),
        live=live,
        step=step,
        back=(Kept(tensors.out),),
        operator="attention",
        joined=(first,),
        runs=_fused_softmax(scores.mask, tensors.pairs),
    )
    return first, second


def _written_out(tensors: _Tensors, scores: Component, context: Component) -> tuple[Component, ...]:
    """Return the two products with the softmax between them."""
    heads, pairs = tensors.heads, tensors.pairs
    query, key, value, out = map(Kept, (tensors.query, tensors.key, tensors.value, tensors.out))
    both = (Kept(pairs), Kept(pairs))
    kept: tuple[Kept, ...] = both[:1]
    # What the product with the values reads, where it is not the result of the softmax itself.
    read: tuple[Kept, ...] = ()
    if heads.upcast:
        kept, read = (Kept(pairs, "float32"),), (Kept(pairs, "cast"),)
    if heads.dropout:
        kept, read = (*kept, *read, Kept(pairs)), (Kept(pairs),)
    if heads.capped:
        kept += (Kept(pairs),)
    held, step = tensors.held(), tensors.copied(fused=False)
    # Scaling, the mask and the softmax, each a pass over all pairs.
    moved: Size = (*pairs, 3 + heads.dropout + 3 * heads.capped)
    softmax = Component(
        "softmax",
        "quadratic",
        "elementwise",
        reads=(moved,),
        writes=(moved,),
        kept=kept,
        live=(*held, *both),
        step=(*step, *both),
        back=(value, *both),
        mask=scores.mask,
        stream=scores.stream,
        runs=_passes(heads, scores.mask, pairs),
    )
    return (
        replace(
            scores,
            reads=(tensors.query, tensors.key),
            writes=(pairs,),
            kept=(query, key),
            # The product copies its factors, heads first.
            live=(*held, query, key, Kept(pairs)),
            step=(*step, Kept(pairs)),
            back=(query, key, value, Kept(pairs)),
            runs=_apart(tensors, tensors.query, tensors.key),
        ),
        softmax,
        replace(
            context,
            reads=(pairs, tensors.value),
            kept=(value, *read),
            live=(*held, value, Kept(pairs), out),
            step=(*step, Kept(pairs), out),
            back=(out, value, Kept(pairs)),
            # The heads of a token are put side by side again.
            runs=(*_apart(tensors, tensors.value), Run("pass", tensors.out, tensors.out)),
        ),
    )


def _fused_softmax(mask: Mask | None, pairs: Size) -> tuple[Run, ...]:
    """Return the softmax within the kernel; a causal kernel leaves out about half of the pairs."""
    halved = mask is not None and mask.kind == "causal" and mask.window is None
    return (Run("softmax", pairs, (0,) if halved else pairs, fresh=False),)


def _apart(tensors: _Tensors, *operands: Size) -> tuple[Run, ...]:
    """Return the copies that make heads of keys or values as many as there are, or whole."""
    if tensors.heads.groups != tensors.heads.count:
        read = ("b", tensors.heads.groups, tensors.keys, operands[-1][-1])
        return (Run("pass", read, operands[-1]),)
    return tuple(Run("pass", each, each, batched=True) for each in operands)


def _passes(heads: Heads, mask: Mask | None, pairs: Size) -> tuple[Run, ...]:
    """Return scaling, cap, mask and softmax; an encoder whose rows are whole has no mask."""
    masked = mask is not None and (mask.kind == "causal" or mask.window is not None)
    many = 1 + 2 * heads.capped + masked
    runs: tuple[Run, ...] = (Run("pass", (*pairs, many), (*pairs, many), many),)
    if heads.capped:
        runs += (Run("activation", pairs, pairs),)
    return (*runs, Run("softmax", pairs, pairs))
