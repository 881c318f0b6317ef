"""Speech: Whisper, whose encoder hears a fixed number of frames."""

from collections.abc import Callable

from trivium.cost.blocks import Convolution
from trivium.cost.families.encoder_decoder import BartTraits, bart_stacks
from trivium.cost.fields import Fields
from trivium.cost.shape import TransformerShape

__all__ = ["MODEL_TYPES"]


def _whisper(fields: Fields) -> TransformerShape:
    width, bins = fields.count("d_model"), fields.count("num_mel_bins", default=80)
    count = fields.count("encoder_attention_heads")
    entry = (
        Convolution("convolution 1", ("f",), ("f", bins), 3 * bins, width, activation=1),
        Convolution(
            "convolution 2",
            ("e",),
            ("f", width),
            3 * width,
            width,
            from_data=False,
            activation=1,
        ),
    )
    stacks = bart_stacks(fields, BartTraits(before=True, embedding_norm=False), entry)
    return TransformerShape(
        fields.name,
        "whisper",
        stacks,
        causal=True,
        source=fields.count("max_source_positions", default=1500),
        longest=fields.optional("max_target_positions"),
        facts=(
            ("encoder layers", fields.count("encoder_layers")),
            ("decoder layers", fields.count("decoder_layers")),
            ("width", width),
            ("heads", count),
            ("head", width // count),
        ),
    )


MODEL_TYPES: dict[str, Callable[[Fields], TransformerShape]] = {"whisper": _whisper}
