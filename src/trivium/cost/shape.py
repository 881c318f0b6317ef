"""The shape of a Transformer: its layers as a frozen list of components."""

from dataclasses import dataclass, field
from typing import Any

from trivium._core.errors import ArgumentError
from trivium.cost.blocks import Block
from trivium.cost.component import Component
from trivium.cost.design import Design, Hybrid, design_of
from trivium.cost.memory import Peak, peak_of
from trivium.cost.table import CostTable, tabulate
from trivium.cost.workload import Count, Mode, Workload

__all__ = ["Layer", "Part", "Stack", "TransformerShape"]


@dataclass(frozen=True, slots=True)
class Layer:
    """The blocks of one layer, in their order.

    Args:
        blocks: The blocks.
        held: Vectors that its code holds from its attention to its end, beside the sum.
    """

    blocks: tuple[Block, ...]
    held: int = 0


@dataclass(frozen=True, slots=True)
class Stack:
    """A row of layers.

    Args:
        name: "layers", "encoder" or "decoder".
        layers: One entry for each layer; equal layers are counted once.
        before: Blocks in front of the layers.
        after: Blocks behind them.
        once: Whether a decoding step does not run it.
        shared: How many sets of weights the layers share; `None` for one each.
    """

    name: str
    layers: tuple[Layer, ...]
    before: tuple[Block, ...] = ()
    after: tuple[Block, ...] = ()
    once: bool = False
    shared: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A component with the place it has in a model.

    Args:
        stack: The stack it belongs to.
        component: The operator.
        layers: How often it runs in a pass.
        once: Whether a decoding step does not run it.
    """

    stack: str
    component: Component
    layers: int
    once: bool


@dataclass(frozen=True)
class TransformerShape:
    """What a Transformer computes, as components whose GEMMs are functions of the tokens.

    Args:
        name: Name of the model.
        model_type: Its type, as transformers calls it.
        stacks: Its stacks of layers.
        causal: Whether it writes token by token, so that it can prefill and decode.
        prefix: Tokens that it adds in front of each row (the class token of an image).
        tokens: Tokens of a row, where the model fixes them (patches of an image).
        source: Tokens of the encoder, where the model fixes them (frames of sound).
        longest: Tokens of a row that its positions allow; `None` where nothing says so.
        facts: Sizes worth showing: layers, width, heads and so on.

    Example:
        >>> shape = TransformerShape.from_config("bert-base-uncased")
        >>> shape.table(512).share("quadratic")
        Fraction(8192, 81921)
    """

    name: str
    model_type: str
    stacks: tuple[Stack, ...]
    causal: bool
    prefix: int = 0
    tokens: int | None = None
    source: int | None = None
    longest: int | None = None
    facts: tuple[tuple[str, int], ...] = ()
    _parts: dict[Design, tuple[Part, ...]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_config(cls, config: Any, *, head: str | None = None) -> "TransformerShape":
        """Return the shape of a configuration.

        Args:
            config: The name of a bundled one ("bert-base-uncased", "gpt2", ...); the path of a
                `config.json` or of the folder that holds one; the dict in such a file; or a
                configuration object of transformers.
            head: "lm" with the layer to the vocabulary, "base" without it; by default "lm" for
                models that write and "base" for the others.

        Raises:
            ArgumentError: The name is unknown, a size is missing, negative or huge, heads do not
                divide, or the `model_type` is not known; the nearest known one is named.
            DataError: The file cannot be read, or is no JSON object.

        Cost:
            O(layers).
        """
        from trivium.cost.config import shape_of

        return shape_of(config, head)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of the bundled configurations."""
        from trivium.cost.config import known

        return tuple(sorted(known()))

    @property
    def components(self) -> tuple[Part, ...]:
        """The components under eager attention."""
        return self.parts("eager")

    def parts(self, attention: Design | str = "eager") -> tuple[Part, ...]:
        """Return the components under a design of attention, equal layers gathered.

        Args:
            attention: The design, as in `table`.

        Raises:
            ArgumentError: The design is unknown, or does not fit the heads.
        """
        design = design_of(attention)
        if design not in self._parts:
            self._parts[design] = _gather(self.stacks, design)
        return self._parts[design]

    def table(
        self,
        n: int | None = None,
        batch: int = 1,
        mode: Mode = "forward",
        context: int | None = None,
        count: Count = "executed",
        attention: Design | str = "eager",
        *,
        source: int | None = None,
        itemsize: int = 4,
    ) -> CostTable:
        """Count one pass, component by component, in exact integers.

        FLOPs = 2·MACs = 2·batch·m·k·n for each GEMM; the backward pass adds the same for the
        gradient of each factor. Elementwise operators move bytes and count no FLOPs, as in
        torch's FlopCounterMode.

        Args:
            n: Tokens of each row that pass through the model; those of the decoder in an
                encoder-decoder, the patches of an image in a vision model (then the default).
            batch: Rows.
            mode: "forward"; "train", with the backward pass of a sum of the outputs; "prefill",
                with the head on the last token only; "decode", n tokens in one pass on top of
                `context` tokens in the cache.
            context: Tokens of each row in the cache.
            count: "executed", what dense kernels do, as FlopCounterMode counts; "needed", without
                the pairs of tokens that a causal mask or a window throws away.
            attention: What stands in each layer: "eager", "sdpa", "window:512", "linear",
                "linear:4d", "linear:h/4", "hybrid:LLLF", or the object of `trivium.cost.design`.
                It replaces self-attention; attention to an encoder stays softmax.
            source: Tokens of each row in the encoder; n and the context by default.
            itemsize: Bytes of a number: 4 for float32, 2 for float16 and bfloat16.

        Returns:
            The table; `str` of it is the text, `to_dict` the numbers.

        Raises:
            ArgumentError: A length is no positive integer or beyond 2³¹ − 1, a choice is unknown,
                the model cannot decode, or the heads do not fit the design.

        Cost:
            O(components), below a millisecond.

        Example:
            >>> shape = TransformerShape.from_config("gpt2")
            >>> shape.table(1, mode="decode", context=1023).flops
            284812800
        """
        work = Workload(self._length("table", n), batch, mode, context, source, count, itemsize)
        self._check(work)
        design = design_of(attention)
        return tabulate(self.name, self.parts(design), work, design, self.prefix, self.source)

    def peak(
        self,
        n: int | None = None,
        batch: int = 1,
        mode: Mode = "forward",
        context: int | None = None,
        attention: Design | str = "eager",
        *,
        source: int | None = None,
        itemsize: int = 4,
    ) -> Peak:
        """Return the most bytes alive at once in a pass.

        A walk over the components in their order: at each one the weights, the cache, what stays
        (ids, tables of positions, matrices of masks, the encoder's output), the vectors that go
        around the layer, and the tensors at work. In mode "train" the walk goes backward: the
        weights, the gradients of those passed already, what is still saved, the outputs, and the
        gradients at work. The gradients of weights are of one pass, without an optimizer; biases
        and the weights of norms, a few thousandths of the weights, are left out.

        Args:
            n: As in `table`.
            batch: Rows.
            mode: As in `table`; without a cache in "forward" and "train".
            context: Tokens of each row in the cache.
            attention: As in `table`.
            source: As in `table`.
            itemsize: Bytes of a number.

        Raises:
            ArgumentError: As in `table`.

        Cost:
            O(layers·components), about a millisecond for twelve layers.

        Example:
            >>> shape = TransformerShape.from_config("bert-base-uncased")
            >>> peak = shape.peak(512, batch=8, mode="train")
            >>> peak.at, peak.weights, peak.total > peak.saved
            ('down', 437440512, True)
        """
        work = Workload(self._length("peak", n), batch, mode, context, source, itemsize=itemsize)
        self._check(work)
        lengths = work.lengths(self.prefix, self.source)
        return peak_of(self.stacks, design_of(attention), work, lengths)

    def _length(self, caller: str, n: int | None) -> int:
        n = self.tokens if n is None else n
        if n is None:
            raise ArgumentError(f"{caller}: n must be given for {self.name}; got None")
        return n

    def _check(self, work: Workload) -> None:
        if work.mode in ("prefill", "decode") and not self.causal:
            raise ArgumentError(
                f"table: mode must be forward or train for {self.name}, which does not write; "
                f"got {work.mode!r}"
            )
        if self.tokens is not None and work.n != self.tokens:
            raise ArgumentError(
                f"table: n must be the {self.tokens} patches of {self.name}; got {work.n}"
            )
        if work.source is not None and not any(stack.once for stack in self.stacks):
            raise ArgumentError(
                f"table: source must be left out for {self.name}, which has no encoder of its "
                f"own; got {work.source}"
            )
        if self.source is not None and work.source not in (None, self.source):
            raise ArgumentError(
                f"table: source must be the {self.source} tokens of {self.name}; got {work.source}"
            )


def _gather(stacks: tuple[Stack, ...], design: Design) -> tuple[Part, ...]:
    """Return the components of all stacks; layers that are one object are counted once."""
    found: list[Part] = []
    for stack in stacks:
        runs: dict[tuple[int, Design], list[Any]] = {}
        chosen: Design
        for i, layer in enumerate(stack.layers):
            chosen = design.at(i) if isinstance(design, Hybrid) else design
            runs.setdefault((id(layer), chosen), [layer, chosen, 0])[2] += 1
        blocks = [(block, design, 1) for block in stack.before]
        blocks += [
            (block, chosen, times)
            for layer, chosen, times in runs.values()
            for block in layer.blocks
        ]
        blocks += [(block, design, 1) for block in stack.after]
        for block, chosen, times in blocks:
            found += [
                Part(stack.name, component, times, stack.once or component.once)
                for component in block.components(chosen)
            ]
    return tuple(found)
