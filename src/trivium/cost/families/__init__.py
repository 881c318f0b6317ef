"""The families: from the fields of a configuration to the layers of a model.

A family is one file with `MODEL_TYPES`, a builder for each `model_type` that it knows.
"""

from collections.abc import Callable

from trivium.cost.families import (
    decoder,
    encoder,
    encoder_decoder,
    gpt,
    hybrid,
    latent,
    local_encoder,
    mixture,
    speech,
    vision,
)
from trivium.cost.fields import Fields
from trivium.cost.shape import TransformerShape

__all__ = ["FAMILIES"]

FAMILIES: dict[str, Callable[[Fields], TransformerShape]] = {
    model_type: build
    for family in (
        decoder,
        encoder,
        encoder_decoder,
        gpt,
        hybrid,
        latent,
        local_encoder,
        mixture,
        speech,
        vision,
    )
    for model_type, build in family.MODEL_TYPES.items()
}
