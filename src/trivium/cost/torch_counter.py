"""The count held against torch's own counter, on a model without weights."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from trivium._core.errors import ArgumentError, MissingExtraError
from trivium.cost.config import config_values
from trivium.cost.shape import TransformerShape

__all__ = ["Verified", "verify"]


@dataclass(frozen=True, slots=True)
class Verified:
    """Our count and torch's at one length.

    Args:
        n: Tokens of a row.
        ours: FLOPs that `TransformerShape.table` counts.
        theirs: FLOPs that FlopCounterMode counts.
    """

    n: int
    ours: int
    theirs: int

    @property
    def equal(self) -> bool:
        """Whether they are the same integer."""
        return self.ours == self.theirs


def verify(
    config: Any, lengths: Iterable[int], batch: int = 1, *, head: str | None = None
) -> tuple[Verified, ...]:
    """Count a forward pass with FlopCounterMode on the meta device, and return both counts.

    The model is built by transformers without weights, with eager attention, and experts as
    batches of products, which the meta device can run.

    Args:
        config: What `TransformerShape.from_config` takes.
        lengths: Tokens of a row.
        batch: Rows.
        head: As in `TransformerShape.from_config`.

    Raises:
        ArgumentError: The configuration cannot be used, or transformers does not know its type.
        MissingExtraError: transformers 5 is not installed.

    Cost:
        Building the modules: seconds for the largest models, and no memory for weights.
    """
    shape = TransformerShape.from_config(config, head=head)
    model = _model(dict(config_values(config)), shape, head)
    return tuple(
        Verified(n, shape.table(n, batch).flops, _counted(model, shape, n, batch)) for n in lengths
    )


def _model(values: dict[str, Any], shape: TransformerShape, head: str | None) -> Any:
    try:
        import torch
        import transformers
    except ImportError as error:
        raise MissingExtraError(
            "verify: transformers must be installed; it is not",
            remedy='Install it with pip install "trivium[verify]".',
        ) from error
    if int(transformers.__version__.split(".")[0]) < 5:
        raise MissingExtraError(
            f"verify: transformers must be 5 or newer; got {transformers.__version__}",
            remedy='Install it with pip install "trivium[verify]".',
        )
    values = {k: v for k, v in values.items() if k not in ("source", "model_type")}
    config = transformers.AutoConfig.for_model(shape.model_type, **values)
    encodes = any(stack.once for stack in shape.stacks)
    kinds = {
        "base": transformers.AutoModel,
        "speech": transformers.AutoModelForSpeechSeq2Seq,
        "pair": transformers.AutoModelForSeq2SeqLM,
        "writer": transformers.AutoModelForCausalLM,
        "masked": transformers.AutoModelForMaskedLM,
    }
    if head == "base" or (head is None and not shape.causal):
        kind = "base"
    elif not shape.causal:
        kind = "masked"
    else:
        kind = "speech" if shape.source is not None else "pair" if encodes else "writer"
    with torch.device("meta"):
        try:
            model = kinds[kind].from_config(config, attn_implementation="eager")
        except ValueError as error:
            raise ArgumentError(f"verify: transformers must know the model; {error}") from error
    if any(part.component.experts for part in shape.parts()):
        model.set_experts_implementation("batched_mm")
    return model.eval()


def _counted(model: Any, shape: TransformerShape, n: int, batch: int) -> int:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    ids = torch.zeros(batch, n, dtype=torch.long, device="meta")
    given: dict[str, Any] = {"input_ids": ids}
    config = model.config
    if shape.tokens is not None:
        side = config.image_size
        given = {"pixel_values": torch.zeros(batch, config.num_channels, side, side, device="meta")}
    elif shape.source is not None:
        frames = torch.zeros(batch, config.num_mel_bins, 2 * shape.source, device="meta")
        given = {"input_features": frames, "decoder_input_ids": ids}
    elif any(stack.once for stack in shape.stacks):
        given["decoder_input_ids"] = ids
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(**given)
    return int(counter.get_total_flops())
