"""Rotary encoding: queries and keys turned by their positions, so that products know offsets."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium._core.checks import check_choice, check_number
from trivium._core.errors import ArgumentError, ShapeError
from trivium.kernel.spectral import Geometric, Schedule, Trained
from trivium.position.base import Position
from trivium.position.rotation import LAYOUTS, cos_sin_of, turned
from trivium.position.scaling import NTK, LinearScaling, Llama3, Proportional, Scaling, YaRN
from trivium.position.scaling_by_length import DynamicNTK, LongRoPE, document_lengths

__all__ = ["Rotary"]


class Rotary(Position):
    r"""Rotary position embedding: pair t of queries and keys is turned by the angle $i\,\theta_t$.

    $(R_i q)^\top (R_j k) = q^\top R_{j - i} k$: logits depend on positions by their offset alone.
    With a geometric schedule $\theta_t = B^{-2t/d}$. Angles are made in float64 and cosines are
    never rounded to half precision. Where the scaling depends on the length of a row, that is the
    largest position of the document plus one, for documents packed into a row too.

    Args:
        d_head: Dimension d of queries and keys.
        schedule: Frequencies; `Trained` ones learn.
        layout: Which features pair: `"interleaved"`, 2t and 2t + 1, as published and in RoFormer
            and GPT-J; `"half"`, t and t + d/2, as in Llama and GPT-NeoX, a little slower.
        scaling: How it is stretched to longer rows; not at all by default.
        share: Of the features, the first of which are turned and the rest left as they are.

    Raises:
        ArgumentError: A head size, or a share of it, that is not a positive even number; an
            unknown layout; not a schedule or a scaling.
        ShapeError: In `query` and `key`: heads of another size; factors of LongRoPE that do not
            match it.

    Cost:
        O(b h n d): one pass over queries and keys, and n d/2 cosines and sines in float64.

    Example:
        >>> import torch
        >>> from trivium.attention import Attention
        >>> from trivium.position import Rotary, YaRN
        >>> rotary = Rotary(d_head=4, scaling=YaRN(4.0, original_length=32))
        >>> Attention(8, 2, position=rotary)(torch.randn(1, 5, 8)).shape
        torch.Size([1, 5, 8])
        >>> rotary.angles(torch.tensor([0, 3]))
        tensor([[0.0000, 0.0000],
                [3.0000, 0.0075]], dtype=torch.float64)

    Source:
        Su et al., RoFormer: Enhanced Transformer with Rotary Position Embedding (2021), eq. 34.
    """

    def __init__(
        self,
        d_head: int,
        schedule: Schedule | None = None,
        *,
        layout: str = "interleaved",
        scaling: Scaling | None = None,
        share: float = 1.0,
    ) -> None:
        super().__init__()
        self.d_head = int(check_number("Rotary", "d_head", d_head, "positive", integer=True))
        self.share = float(check_number("Rotary", "share", share, "in [0, 1]"))
        self.n_pairs = _pairs(self.d_head, self.share)
        self.layout = check_choice("Rotary", "layout", layout, LAYOUTS)
        self.schedule = schedule_of("Rotary", schedule)
        if scaling is not None and not isinstance(scaling, Scaling):
            raise ArgumentError(
                f"Rotary: scaling must be a trivium.position.Scaling or None; got {scaling!r}"
            )
        self.scaling = scaling
        self.refresh = scaling is not None and scaling.refresh
        self.stationary = not self.refresh
        self._fixed = None if learns(self.schedule) else tuple(self._scaled().tolist())

    @classmethod
    def examples(cls) -> Sequence["Rotary"]:
        """Return an instance for each layout and scaling."""
        learned = Trained(Geometric(100.0).frequencies(2))
        return (
            cls(4),
            cls(4, layout="half"),
            cls(4, Geometric(100.0), layout="half", share=0.5),
            cls(4, learned, layout="half"),
            cls(4, scaling=LinearScaling(2.0)),
            cls(4, scaling=NTK(4.0)),
            cls(4, scaling=YaRN(4.0, 8)),
            cls(4, scaling=Llama3(8.0, 16)),
            cls(4, scaling=Proportional(0.5)),
            cls(4, scaling=DynamicNTK(2.0, 4)),
            cls(4, scaling=LongRoPE([1.0, 1.5], [2.0, 4.0], 5, factor=4.0)),
        )

    def _scaled(self) -> Float[Tensor, " f"]:
        """Return the frequencies before a row's length is known."""
        if self.scaling is None:
            return self.schedule.frequencies(self.n_pairs)
        return self.scaling.frequencies(self.schedule, self.n_pairs)

    def frequencies(self) -> Float[Tensor, " f"]:
        """Return the angle of each pair per position, in float64, of a row of no length."""
        if self._fixed is None:
            return self._scaled()
        return torch.tensor(self._fixed, dtype=torch.float64)

    def angles(self, i: Int[Tensor, "*b n"]) -> Float[Tensor, "*b n f"]:
        """Return the angle of each pair at each position, in float64."""
        theta, at = self.frequencies().to(place_of(i)), i.to(place_of(i))
        if self.refresh and self.scaling is not None:
            theta = self.scaling.at_length(theta, document_lengths(at))
        return at.double()[..., None] * theta

    def query(
        self, q: Float[Tensor, "b h n d"], i: Int[Tensor, "*b n"]
    ) -> Float[Tensor, "b h n d"]:
        """Return the queries, turned."""
        check_width("Rotary", q, self.d_head)
        cos, sin = cos_sin_of(self.angles(i), q)
        factor = 1.0 if self.scaling is None else self.scaling.attention_factor
        if factor != 1:
            cos, sin = cos * factor, sin * factor
        return turned(q, cos, sin, self.layout)

    def key(self, k: Float[Tensor, "b h t d"], j: Int[Tensor, "*b t"]) -> Float[Tensor, "b h t d"]:
        """Return the keys, turned."""
        return self.query(k, j)

    def extra_repr(self) -> str:
        """Say what it was made from."""
        parts = [f"d_head={self.d_head}", f"layout={self.layout!r}"]
        parts += [] if self.scaling is None else [f"scaling={self.scaling!r}"]
        parts += [] if self.share == 1 else [f"share={self.share:g}"]
        parts += [] if learns(self.schedule) else [f"schedule={self.schedule!r}"]
        return ", ".join(parts)


def schedule_of(caller: str, schedule: Any) -> Schedule:
    """Return the schedule given, or the usual one.

    Raises:
        ArgumentError: Something else.
    """
    found = Geometric() if schedule is None else schedule
    if not isinstance(found, Schedule):
        raise ArgumentError(f"{caller}: schedule must be a Schedule; got {schedule!r}")
    return found


def learns(schedule: Schedule) -> bool:
    """Return whether frequencies are held by a module, and may change."""
    return isinstance(schedule, torch.nn.Module)


def place_of(i: Tensor) -> torch.device:
    """Return where angles are made: MPS has no float64."""
    return torch.device("cpu") if i.device.type == "mps" else i.device


def check_width(caller: str, x: Tensor, d_head: int) -> None:
    """Refuse heads of another size.

    Raises:
        ShapeError: They are.
    """
    if x.shape[-1] != d_head:
        raise ShapeError(
            f"{caller}: d_head must be the layer's head size, {x.shape[-1]}; got {d_head}"
        )


def _pairs(d_head: int, share: float) -> int:
    turning = int(d_head * share + 1e-9)  # 0.58 of 100 is 57.99...
    if turning < 2 or turning % 2:
        raise ArgumentError(
            f"Rotary: d_head times share must be a positive even number, for pairs; got {turning} "
            f"of d_head={d_head}",
            remedy="Give an even d_head, or a share that leaves an even part of it.",
        )
    return turning // 2
