"""Sinusoids of the position: the Transformer's encoding, at any schedule of frequencies."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from trivium._core.checks import check_choice
from trivium._core.errors import ArgumentError
from trivium.kernel.spectral import Geometric, Schedule, Trained, cos_sin
from trivium.position.base import Added
from trivium.position.tabulated import positive_sizes

__all__ = ["Sinusoidal"]

_LAYOUTS = ("interleaved", "half")


class Sinusoidal(Added):
    r"""Sines and cosines, $\sin(k \theta_t)$ and $\cos(k \theta_t)$, $\theta_t = B^{-2t/D}$.

    Made in float64 and only then cast, so that far positions are exact; there is no table and no
    last position.

    Args:
        d_model: Width D of the vectors, even.
        schedule: Frequencies; `Geometric(10_000)` by default. A `Trained` one is learned.
        layout: `"interleaved"` for sin, cos, sin, cos, ..., as published; `"half"` for all sines,
            then all cosines, the order of tensor2tensor and fairseq.
        scale: `None`; `"sqrt"` for tokens times √D before the sum, as published; `"learned"` for
            vectors times a learned factor that begins at 1.
        merge: As in `Added`.

    Raises:
        ArgumentError: A width that is not even, an unknown layout or scale, a schedule that is
            none, or `"sqrt"` with merge="multiply", where it is a factor of everything.

    Cost:
        O(n D) time.

    Example:
        >>> Sinusoidal(4).vectors(torch.tensor([0, 1])).float()
        tensor([[0.0000, 1.0000, 0.0000, 1.0000],
                [0.8415, 0.5403, 0.0100, 0.9999]])

    Source:
        Vaswani et al., Attention Is All You Need, NeurIPS (2017), sections 3.4 and 3.5; Li et
        al., Neural Speech Synthesis with Transformer Network, AAAI (2019), eq. 4, for the learned
        factor.
    """

    def __init__(
        self,
        d_model: int,
        schedule: Schedule | None = None,
        *,
        layout: str = "interleaved",
        scale: str | None = None,
        merge: str = "add",
    ) -> None:
        super().__init__(merge)
        (self.d_model,) = positive_sizes("Sinusoidal", d_model=d_model)
        if self.d_model % 2:
            raise ArgumentError(f"Sinusoidal: d_model must be even; got {d_model}")
        self.schedule = _schedule("Sinusoidal", schedule)
        self.layout = check_choice("Sinusoidal", "layout", layout, _LAYOUTS)
        if scale is not None:
            check_choice("Sinusoidal", "scale", scale, ("learned", "sqrt"))
        if scale == "sqrt" and merge == "multiply":
            raise ArgumentError(
                "Sinusoidal: scale must be None or 'learned' with merge='multiply'; got 'sqrt'"
            )
        self.tokens = scale
        self.factor = nn.Parameter(torch.ones(())) if scale == "learned" else None
        fixed = not isinstance(self.schedule, nn.Module)
        # A plain tensor: a buffer would be rounded with the layer.
        self._fixed = self.schedule.frequencies(self.d_model // 2) if fixed else None

    @classmethod
    def examples(cls) -> Sequence["Sinusoidal"]:
        """Return small instances: as published, scaled, learned, multiplied."""
        start = Geometric().frequencies(4)
        return (
            cls(8),
            cls(8, layout="half", scale="learned"),
            cls(8, Geometric(100.0), scale="sqrt"),
            cls(8, Trained(start), merge="multiply"),
        )

    def frequencies(self) -> Float[Tensor, " f"]:
        """Return the D/2 frequencies, in float64."""
        return self.schedule.frequencies(self.d_model // 2) if self._fixed is None else self._fixed

    def vectors(self, i: Int[Tensor, "*b n"]) -> Float[Tensor, "*b n m"]:
        """Return the vectors of positions i, in float64 where the device has it."""
        dtype = torch.float32 if i.device.type == "mps" else torch.float64
        cos, sin = cos_sin(i, self.frequencies(), dtype)
        parts = torch.stack((sin, cos), -1 if self.layout == "interleaved" else -2).flatten(-2)
        return parts if self.factor is None else self.factor * parts

    def embed(self, x: Float[Tensor, "b n m"], i: Int[Tensor, "*b n"]) -> Float[Tensor, "b n m"]:
        """Return x + p, √D x + p or x · (1 + p)."""
        return super().embed(x * math.sqrt(self.d_model) if self.tokens == "sqrt" else x, i)

    def extra_repr(self) -> str:
        """Say the choices."""
        found = f"d_model={self.d_model}, layout={self.layout!r}, merge={self.merge!r}"
        return found if self.tokens is None else f"{found}, scale={self.tokens!r}"


def _schedule(caller: str, schedule: Schedule | None) -> Schedule:
    found = Geometric() if schedule is None else schedule
    if not isinstance(found, Schedule):
        raise ArgumentError(
            f"{caller}: schedule must be a trivium.kernel.spectral.Schedule; got {schedule!r}"
        )
    return found
