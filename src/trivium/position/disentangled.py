"""DeBERTa: content against offset and offset against content, disentangled."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from trivium._core.checks import check_choice, check_number
from trivium._core.counted import counted
from trivium._core.eager import eager
from trivium._core.errors import ArgumentError
from trivium.position.base import Position
from trivium.position.log_buckets import check_log_buckets, log_starts
from trivium.position.offsets import is_run, offset_matrix, run_of_offsets
from trivium.position.skew import by_row, looked_up

__all__ = ["Disentangled"]

_TERMS = ("c2p", "p2c")


class Disentangled(Position):
    r"""$(q_i^\top k_j + q_i^\top K_{\delta} + k_j^\top Q_{\delta}) / \sqrt{d (1 + \text{terms})}$.

    $K = W_k E$ and $Q = W_q E$ are projections of a table E of offsets, and $\delta$ the place of
    $i - j$ in it: clipped to −S … S − 1, or in buckets that widen with the logarithm beyond half
    of them (v2, v3). The paper reads Q at the place of $j - i$; its code, and so every checkpoint,
    at that of $i - j$, and so does this.

    DeBERTa: `max_distance=512`. DeBERTa v2 and v3: `n_buckets=256, projections="layer",
    norm=True`, with one table for all layers: `table_of=` the first layer's encoding.

    Args:
        d_model: Width of the table.
        n_heads: Heads h.
        d_head: Dimension d of queries and keys; d_model / h by default.
        max_distance: Offset M from which on all are alike.
        n_buckets: Buckets S of a direction; `None` for one of each offset, S = M.
        terms: Which of `"c2p"` ($q^\top K$) and `"p2c"` ($k^\top Q$) are added.
        projections: `"own"`, or `"layer"` for those by which the layer makes queries and keys.
        norm: Whether the table goes through a layer norm.
        table_of: Another instance, whose table and norm are used.

    Raises:
        ArgumentError: A size that is not positive, heads that do not divide, terms or projections
            that are none, buckets that do not fit the distance, a table of other sizes; with
            `projections="layer"`, a second layer, shared heads of keys, or no layer at all.

    Cost:
        O(r d_model h d) for the r rows of the table in use and O(b h n t d) for each term, half of
        it where causal, for consecutive positions; no n·t·d memory.

    Example:
        >>> from trivium.attention import Attention
        >>> v3 = Disentangled(8, 2, n_buckets=8, max_distance=20, projections="layer", norm=True)
        >>> Attention(8, 2, position=v3, causal=False)(torch.randn(1, 5, 8)).shape
        torch.Size([1, 5, 8])

    Source:
        He et al., DeBERTa, ICLR (2021), eqs. 2-4; He et al., DeBERTaV3, ICLR (2023), and the
        published code of both.
    """

    stationary = True

    def __init__(  # noqa: PLR0913 - one table, its sizes
        self,
        d_model: int,
        n_heads: int,
        d_head: int | None = None,
        *,
        max_distance: int = 512,
        n_buckets: int | None = None,
        terms: Sequence[str] = _TERMS,
        projections: str = "own",
        norm: bool = False,
        table_of: "Disentangled | None" = None,
    ) -> None:
        super().__init__()
        self.d_model, self.n_heads, self.d_head = _sizes(d_model, n_heads, d_head)
        far = check_number("Disentangled", "max_distance", max_distance, "positive", integer=True)
        self.max_distance, self.n_buckets = int(far), n_buckets
        if n_buckets is not None:
            check_log_buckets("Disentangled", n_buckets, self.max_distance)
            self._starts = log_starts(n_buckets, self.max_distance)
        self.span = self.max_distance if n_buckets is None else int(n_buckets)
        self.terms, self.projections = _terms(terms), _projections(projections)
        self._layer: tuple[nn.Linear, ...] = ()  # in a tuple: the layer's own, not a submodule
        inner = self.n_heads * self.d_head
        if self.projections == "own":
            for term, name in zip(_TERMS, ("key_projection", "query_projection"), strict=True):
                if term in self.terms:
                    self.add_module(name, _linear(self.d_model, inner))
        self.table, self.norm = self._table(norm, table_of)

    @classmethod
    def examples(cls) -> Sequence["Disentangled"]:
        """Return small instances: DeBERTa, with weights that can be seen; v3; each term alone."""
        found = (
            cls(8, 2, max_distance=5),
            cls(8, 2, n_buckets=6, max_distance=12, projections="layer", norm=True),
            cls(6, 2, 4, max_distance=24, terms=("c2p",)),
            cls(6, 2, 4, n_buckets=4, max_distance=9, terms=("p2c",)),
        )
        for one in found:
            for value in one.parameters():
                nn.init.normal_(value, std=0.5)
        return found

    def _table(
        self, norm: bool, other: "Disentangled | None"
    ) -> tuple[nn.Embedding, nn.LayerNorm | nn.Identity]:
        if other is None:
            table = nn.Embedding(2 * self.span, self.d_model)
            nn.init.normal_(table.weight, std=0.02)
            return table, nn.LayerNorm(self.d_model, 1e-7) if norm else nn.Identity()
        wanted, found = (2 * self.span, self.d_model), tuple(other.table.weight.shape)
        if wanted != found:
            raise ArgumentError(
                f"Disentangled: table_of must have a table of the shape {wanted}; got {found}"
            )
        return other.table, other.norm

    def join(self, projection: nn.Linear, n_kv_heads: int) -> None:
        """Take the layer's projection to queries and keys, where it is to be shared.

        Raises:
            ArgumentError: There is one of another layer, or heads of keys are shared.
        """
        if self.projections == "own":
            return
        if self._layer and self._layer[0] is not projection:
            raise ArgumentError(
                "Disentangled: projections must be of one layer; got a second layer",
                remedy="Make one encoding for each layer, with table_of= the first's.",
            )
        fits = projection.out_features >= 2 * self.n_heads * self.d_head
        if n_kv_heads != self.n_heads or projection.in_features != self.d_model or not fits:
            raise ArgumentError(
                f"Disentangled: projections of the layer must be from {self.d_model} to "
                f"{counted(self.n_heads, 'head')} of {self.d_head} for queries and keys; got "
                f"{projection} "
                f"with {counted(n_kv_heads, 'head')} for keys",
                remedy='Or take projections="own".',
            )
        self._layer = (projection,)

    def places(self, r: Int[Tensor, "*r"]) -> Int[Tensor, "*r"]:
        """Return the place in the table of each offset r = i − j."""
        if self.n_buckets is not None:
            starts = torch.tensor(self._starts, dtype=r.dtype, device=r.device)
            r = torch.bucketize(r.abs(), starts, right=True) * r.sign()
        return (r + self.span).clamp(0, 2 * self.span - 1)

    def scale(self, d: int) -> float:
        """Return 1/√(d (1 + terms))."""
        return float((d * (1 + len(self.terms))) ** -0.5)

    def _projected(self, term: str, rows: Tensor) -> Float[Tensor, "h r d"]:
        """Return rows of the table as keys or queries of each head."""
        inner = self.n_heads * self.d_head
        if self.projections == "own":
            own: Any = self.key_projection if term == "c2p" else self.query_projection
            found = own(rows)
        else:
            if not self._layer:
                raise ArgumentError(
                    "Disentangled: projections must be those of a layer; got no layer",
                    remedy='Give the encoding to an Attention, or take projections="own".',
                )
            weight, bias = self._layer[0].weight, self._layer[0].bias
            of = slice(inner, 2 * inner) if term == "c2p" else slice(inner)
            found = nn.functional.linear(rows, weight[of], None if bias is None else bias[of])
        return found.unflatten(-1, (self.n_heads, self.d_head)).transpose(0, 1)

    def score(
        self,
        q: Float[Tensor, "b h n d"],
        k: Float[Tensor, "b h t d"],
        i: Int[Tensor, "*i n"],
        j: Int[Tensor, "*j t"],
        keep: Bool[Tensor, "*k n t"],
    ) -> Tensor | None:
        """Return the terms, scaled.

        Raises:
            ArgumentError: With `projections="layer"`, there is no layer.
        """
        run, scale = is_run(i, j), self.scale(q.shape[-1])
        at = self.places(run_of_offsets(i, j) if run else offset_matrix(i, j))
        rows = self.table.weight
        # Places of a run ascend: only the rows between are projected.
        if run and eager() and not at.is_meta:
            low = int(at[0])
            rows, at = rows[low : int(at[-1]) + 1], at - low
        tables = {term: scale * self._projected(term, self.norm(rows)) for term in self.terms}
        to_key, to_query = tables.get("c2p"), tables.get("p2c")
        if run:
            to_key, to_query = (x if x is None else x[:, at] for x in (to_key, to_query))
            q_, k_ = q if to_key is not None else None, k if to_query is not None else None
            return by_row(q_, to_key, k_, to_query, i.shape[-1], keep)
        found = [] if to_key is None else [looked_up(q @ to_key.mT, at)]
        if to_query is not None:
            found.append(looked_up(k @ to_query.mT, at.mT).mT)
        return found[0] if len(found) == 1 else found[0] + found[1]

    def extra_repr(self) -> str:
        """Say the sizes."""
        sizes = f"d_model={self.d_model}, n_heads={self.n_heads}, d_head={self.d_head}"
        kind = f"n_buckets={self.n_buckets}, terms={self.terms}, projections={self.projections!r}"
        return f"{sizes}, max_distance={self.max_distance}, {kind}"


def _sizes(d_model: int, n_heads: int, d_head: int | None) -> tuple[int, int, int]:
    caller = "Disentangled"
    m = int(check_number(caller, "d_model", d_model, "positive", integer=True))
    h = int(check_number(caller, "n_heads", n_heads, "positive", integer=True))
    if d_head is None and m % h:
        raise ArgumentError(
            f"{caller}: n_heads must divide d_model, {m}; got {h}", remedy="Or give d_head."
        )
    given = m // h if d_head is None else d_head
    return m, h, int(check_number(caller, "d_head", given, "positive", integer=True))


def _terms(terms: Sequence[str]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(terms))
    if not found or isinstance(terms, str) or any(term not in _TERMS for term in found):
        raise ArgumentError(
            f"Disentangled: terms must be some of {', '.join(map(repr, _TERMS))}; got {terms!r}"
        )
    return found


def _projections(projections: str) -> str:
    return check_choice("Disentangled", "projections", projections, ("own", "layer"))


def _linear(m: int, inner: int) -> nn.Linear:
    made = nn.Linear(m, inner)
    nn.init.normal_(made.weight, std=0.02)
    nn.init.zeros_(made.bias)
    return made
