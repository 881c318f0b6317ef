"""xPos: a rotary encoding whose pairs also fade with the distance."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium._core.checks import check_choice, check_number
from trivium._core.eager import eager
from trivium._core.errors import ArgumentError
from trivium.kernel.spectral import Geometric, Schedule, Trained
from trivium.position.base import Position
from trivium.position.rotary import check_width, learns, place_of, schedule_of
from trivium.position.rotation import LAYOUTS, cos_sin_of, turned

__all__ = ["XPos"]

_REST = 0.4  # what the lowest pair has of the highest, over 1.4
_ROOM = 0.9  # of a type's largest exponent: queries and keys are numbers above 1, too


class XPos(Position):
    r"""Extrapolatable rotary encoding: products of pair t fade as $\zeta_t^{(i - j)/s}$.

    $\zeta_t = (2t/d + 0.4)/1.4$. Queries are turned and multiplied by $\zeta_t^{(i - c)/s}$, keys
    by $\zeta_t^{(c - j)/s}$; products do not depend on the center c, which is the same for every
    row, so that a cache continues a prompt as it was. Published code centers on half of the row's
    length, and its cached keys belong to another center after each step.

    Args:
        d_head: Dimension d of queries and keys.
        schedule: Frequencies.
        layout: Which features pair: `"interleaved"` or `"half"`, as for `Rotary`.
        scale_base: s, positions over which the fastest pair fades to 0.29.
        center: c, where nothing is multiplied.

    Raises:
        ArgumentError: An odd head size, a scale that is not positive, an unknown layout; in
            `query` and `key`: a position so far from the center that numbers overflow.
        ShapeError: In `query` and `key`: heads of another size.

    Cost:
        As `Rotary`.

    Example:
        >>> xpos = XPos(d_head=4)
        >>> q = torch.ones(1, 1, 2, 4)
        >>> at = torch.tensor([0, 512])
        >>> (xpos.query(q, at) * xpos.key(q, at)).sum(-1)
        tensor([[[4., 4.]]])

    Source:
        Sun et al., A Length-Extrapolatable Transformer, ACL (2023), section 3 and its code.
    """

    causal_only = True
    stationary = True

    def __init__(
        self,
        d_head: int,
        schedule: Schedule | None = None,
        *,
        layout: str = "interleaved",
        scale_base: float = 512.0,
        center: int = 0,
    ) -> None:
        super().__init__()
        self.d_head = int(check_number("XPos", "d_head", d_head, "positive", integer=True))
        if self.d_head % 2:
            raise ArgumentError(f"XPos: d_head must be even, for pairs; got {d_head}")
        self.schedule = schedule_of("XPos", schedule)
        self.layout = check_choice("XPos", "layout", layout, LAYOUTS)
        self.scale_base = float(check_number("XPos", "scale_base", scale_base, "positive"))
        self.center = int(check_number("XPos", "center", center, integer=True))
        self._fixed = None if learns(self.schedule) else tuple(self._theta().tolist())

    @classmethod
    def examples(cls) -> Sequence["XPos"]:
        """Return a few small instances."""
        learned = Trained(Geometric(100.0).frequencies(2))
        return (
            cls(4),
            cls(4, layout="half", scale_base=8.0, center=6),
            cls(4, learned, scale_base=16.0),
        )

    def _theta(self) -> Float[Tensor, " f"]:
        return self.schedule.frequencies(self.d_head // 2)

    def _waves(self, x: Tensor, at: Tensor, sign: int) -> tuple[Tensor, Tensor]:
        """Return cosines and sines, faded by as much as a position is past the center."""
        check_width("XPos", x, self.d_head)
        where = at.to(place_of(at))
        fixed = self._fixed
        theta = self._theta() if fixed is None else torch.tensor(fixed, dtype=torch.float64)
        f = self.d_head // 2
        zeta = torch.arange(f, dtype=torch.float64, device=where.device) / f
        rate = ((zeta + _REST) / (1 + _REST)).log() / self.scale_base
        past = sign * (where - self.center).double()[..., None]
        self._check_range(past, x.dtype)
        fading = (past * rate).exp()
        angles = where.double()[..., None] * theta.to(where.device)
        wide = torch.promote_types(x.dtype, torch.float32)
        cos, sin = cos_sin_of(angles, x.new_zeros((), dtype=torch.float64))
        return (cos * fading).to(x.device, wide), (sin * fading).to(x.device, wide)

    def _check_range(self, past: Tensor, dtype: torch.dtype) -> None:
        reach = _ROOM * math.log(torch.finfo(dtype).max) / -math.log(_REST / (1 + _REST))
        reach = int(reach * self.scale_base)
        if not eager() or past.is_meta or past.numel() == 0:
            return
        far = int(past.abs().max())
        if far > reach:
            raise ArgumentError(
                f"XPos: positions must be within {reach:,} of center {self.center} in {dtype}; "
                f"got one at {far:,} from it",
                remedy="Give a larger scale_base, or a center in the middle of your rows.",
            )

    def query(
        self, q: Float[Tensor, "b h n d"], i: Int[Tensor, "*b n"]
    ) -> Float[Tensor, "b h n d"]:
        """Return the queries, turned and multiplied by ζ^((i − c)/s)."""
        return turned(q, *self._waves(q, i, 1), self.layout)

    def key(self, k: Float[Tensor, "b h t d"], j: Int[Tensor, "*b t"]) -> Float[Tensor, "b h t d"]:
        """Return the keys, turned and multiplied by ζ^((c − j)/s)."""
        return turned(k, *self._waves(k, j, -1), self.layout)

    def extra_repr(self) -> str:
        """Say what it was made from."""
        return f"d_head={self.d_head}, layout={self.layout!r}, scale_base={self.scale_base:g}"
