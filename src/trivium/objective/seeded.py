"""Normal directions that are never stored: any stretch of them comes back from a seed.

A direction is cut into blocks of fixed size, each with a stream of its own, so a stretch has the
same bits whichever way the work is cut. `SeededTensor` is a parameter moved along such a direction,
made a few rows at a time, only while it is used.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from trivium._core.random import derive
from trivium.expectation import VirtualTensor

__all__ = ["NOISE_BLOCK", "SeededTensor", "seeded_noise", "stretches"]

NOISE_BLOCK = 16_384


def seeded_noise(
    seed: int, stream: int, bounds: tuple[int, int], size: int, device: torch.device
) -> Float[Tensor, " n"]:
    """Return entries `bounds[0]` to `bounds[1]` of a standard normal vector of `size`, in float32.

    Args:
        seed: Names the direction.
        stream: Names the tensor within it.
        bounds: First entry, and the one after the last.
        size: Entries in all.
        device: Where it is drawn; each kind of device has its own bits.

    Example:
        >>> import torch
        >>> whole = seeded_noise(7, 0, (0, 40_000), 40_000, torch.device("cpu"))
        >>> part = seeded_noise(7, 0, (16_000, 17_000), 40_000, torch.device("cpu"))
        >>> torch.equal(part, whole[16_000:17_000])
        True
    """
    start, stop = bounds
    found = torch.empty(stop - start, device=device)
    generator = torch.Generator(device=device)
    for block in range(start // NOISE_BLOCK, -(-stop // NOISE_BLOCK)):
        begin = block * NOISE_BLOCK
        count = min(NOISE_BLOCK, size - begin)
        generator.manual_seed(derive(seed, stream, block))
        drawn = torch.randn(count, generator=generator, device=device)
        low, high = max(start, begin), min(stop, begin + count)
        found[low - start : high - start] = drawn[low - begin : high - begin]
    return found


def stretches(size: int, step: int) -> Iterator[tuple[int, int]]:
    """Cut `size` into bounds of at most `step`."""
    for start in range(0, size, step):
        yield start, min(start + step, size)


class SeededTensor(VirtualTensor):
    """base + scale · u with u from a seed: linear maps and look-ups make a few rows at a time.

    The sum is taken in float32 and rounded to the dtype of the base, which is never written to.
    """

    seed: int
    stream: int
    scale: float
    chunk: int

    @classmethod
    def along(
        cls, base: Tensor, seed: int, stream: int, *, scale: float, chunk: int
    ) -> "SeededTensor":
        """Return the tensor that stands for base + scale · u.

        Args:
            base: The stored tensor.
            seed: Names the direction.
            stream: Names the tensor within it.
            scale: Length of the step, in deviations.
            chunk: Entries made at a time.
        """
        made = Tensor._make_subclass(cls, base)
        made.base, made.seed, made.stream, made.scale, made.chunk = base, seed, stream, scale, chunk
        return made

    def materialized(self) -> Tensor:
        """Return the sum as an ordinary tensor."""
        found = torch.empty_like(self.base, memory_format=torch.contiguous_format)
        flat, whole = self.base.reshape(-1), found.view(-1)
        for bounds in stretches(len(flat), self.chunk):
            whole[slice(*bounds)] = self._moved(flat[slice(*bounds)], bounds)
        return found

    def linear(
        self, x: Float[Tensor, "*rows d"], bias: Float[Tensor, " o"] | None
    ) -> Float[Tensor, "*rows o"]:
        """Fill the output a few columns at a time."""
        out, into = self.base.shape
        if out * into <= self.chunk:
            return functional.linear(x, self.materialized(), bias)
        found = x.new_empty(*x.shape[:-1], out)
        for first, last in stretches(out, max(1, self.chunk // into)):
            part = None if bias is None else bias[first:last]
            found[..., first:last] = functional.linear(x, self._rows(first, last), part)
        return found

    def rows_at(self, places: Int[Tensor, "*places"]) -> Float[Tensor, "*places d"]:
        """Make the rows asked for a few at a time."""
        found = functional.embedding(places, self.base)
        n_rows, width = self.base.shape
        for first, last in stretches(n_rows, max(1, self.chunk // width)):
            asked = (places >= first) & (places < last)
            if bool(asked.any()):
                found[asked] = self._rows(first, last)[places[asked] - first]
        return found

    def _rows(self, first: int, last: int) -> Float[Tensor, "k d"]:
        width = self.base.shape[1]
        rows = self.base[first:last]
        return self._moved(rows.reshape(-1), (first * width, last * width)).view(rows.shape)

    def _moved(self, part: Float[Tensor, " n"], bounds: tuple[int, int]) -> Float[Tensor, " n"]:
        device, size = self.base.device, self.base.numel()
        drawn = seeded_noise(self.seed, self.stream, bounds, size, device)
        return drawn.mul_(self.scale).add_(part).to(part.dtype)
