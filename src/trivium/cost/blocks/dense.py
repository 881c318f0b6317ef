"""Linear layers outside attention and feed-forward: projections of embeddings, heads, filters."""

from dataclasses import dataclass, replace

from trivium.cost.component import Component, Group, elementwise, linear
from trivium.cost.design import Design
from trivium.cost.run import Run
from trivium.cost.size import Kept, Size

__all__ = ["Convolution", "Dense", "Pooled"]


@dataclass(frozen=True, slots=True)
class Dense:
    """A linear layer.

    Args:
        name: Its name.
        group: Its group.
        tokens: How many vectors pass through it.
        width: Their length.
        out: The length of the result.
        after: Tensors of the size of the result that a function behind it keeps.
        tied: Whether its weight is the table of the embedding.
        biased: Whether a bias is added to its result in a second tensor.
    """

    name: str
    group: Group
    tokens: Size
    width: int
    out: int
    after: int = 0
    tied: bool = False
    biased: bool = False

    def components(self, design: Design) -> tuple[Component, ...]:
        """Return the layer, and the function behind it where there is one."""
        layer = linear(self.name, self.group, self.tokens, self.width, self.out)
        layer = replace(layer, tied=self.tied)
        if self.biased:
            layer = replace(layer, live=tuple(map(Kept, (*layer.reads, *layer.writes * 2))))
        if not self.after:
            return (layer,)
        size = (*self.tokens, self.out)
        kept = (Kept(size),) * self.after
        runs = (Run("activation", size, size),)
        name = f"{self.name} function"
        return (layer, elementwise(name, self.group, size, kept=kept, runs=runs))


@dataclass(frozen=True, slots=True)
class Pooled:
    """A linear layer with tanh on the first token of each row; it keeps the whole rows.

    Args:
        width: Numbers of a vector.
    """

    width: int

    def components(self, design: Design) -> tuple[Component, ...]:
        """Return the layer and its tanh."""
        layer = linear("pooler", "pooler", ("b",), self.width, self.width, kept=False)
        size = ("b", self.width)
        kept = (Kept(("b", "n", self.width)), Kept(size))
        runs = (Run("activation", size, size),)
        return (layer, elementwise("pooler tanh", "pooler", size, kept=kept, runs=runs))


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution as its GEMM: places × (channels·filter) × filters.

    Args:
        name: Its name.
        places: Places of the result in each row.
        inputs: Numbers read in each row.
        patch: Channels times the size of the filter.
        filters: Filters.
        from_data: Whether its input is the data, which needs no gradient.
        activation: Tensors of the size of the result that the function behind it keeps.
    """

    name: str
    places: Size
    inputs: Size
    patch: int
    filters: int
    from_data: bool = True
    activation: int = 0

    def components(self, design: Design) -> tuple[Component, ...]:
        """Return the convolution and the function behind it."""
        out = ("b", *self.places, self.filters)
        parts = [
            Component(
                self.name,
                "embedding",
                "convolution",
                m=("b", *self.places),
                k=(self.patch,),
                n=(self.filters,),
                macs=("b", *self.places, self.patch, self.filters),
                reads=(("b", *self.inputs),),
                writes=(out,),
                weight=self.patch * self.filters,
                kept=(Kept(("b", *self.inputs)),),
                stays=(Kept(("b", *self.inputs)),) if self.from_data else (),
                backward=1 if self.from_data else 2,
                once=True,
            )
        ]
        if self.activation:
            kept = (Kept(out),) * self.activation
            name = f"{self.name} function"
            runs = (Run("activation", out, out),)
            parts.append(elementwise(name, "embedding", out, kept=kept, once=True, runs=runs))
        return tuple(parts)
