"""Decoders with a mixture of experts: Mixtral, the Qwen mixtures, OLMoE, gpt-oss."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from trivium.cost.blocks import Block, Experts, FeedForward
from trivium.cost.families.decoder import Traits, decoder
from trivium.cost.fields import Fields
from trivium.cost.shape import TransformerShape

__all__ = ["MODEL_TYPES", "Mixture", "experts_of"]


@dataclass(frozen=True)
class Mixture:
    """What the mixtures differ in.

    Args:
        traits: What the rest of the decoder differs in.
        shared: Whether a shared layer of its own size stands beside the experts, with a gate.
        every: Whether `decoder_sparse_step` and `mlp_only_layers` say which layers have experts.
    """

    traits: Traits = field(default_factory=lambda: Traits(groups=False))
    shared: bool = False
    every: bool = False


def experts_of(fields: Fields, *, shared: bool) -> Experts:
    """Return the experts of a configuration.

    Raises:
        ArgumentError: A size is missing, or a token has more experts than there are.
    """
    width = fields.count("hidden_size")
    activation = fields.text("hidden_act", default="silu")
    inner = fields.count("moe_intermediate_size", "intermediate_size")
    experts = fields.count("num_local_experts", "num_experts", "n_routed_experts")
    top = fields.count("num_experts_per_tok")
    if top > experts:
        raise fields.fail("num_experts_per_tok", f"be at most the {experts} experts", top)
    beside = None
    if shared:
        size = fields.count("shared_expert_intermediate_size")
        beside = FeedForward(width, size, activation, gated=True, fresh=False)
    expert = FeedForward(width, inner, activation, gated=True, fused=True)
    return Experts(expert, experts, top, beside, shared_gate=shared)


def _mixture(fields: Fields, mixture: Mixture) -> TransformerShape:
    experts = experts_of(fields, shared=mixture.shared)
    layers = fields.count("num_hidden_layers")
    dense: set[int] = set()
    if mixture.every:
        step = fields.count("decoder_sparse_step", default=1)
        named = fields.get("mlp_only_layers", default=[])
        if not isinstance(named, list | tuple) or not all(isinstance(i, int) for i in named):
            raise fields.fail("mlp_only_layers", "be a list of layers", named)
        dense = {i for i in range(layers) if (i + 1) % step or i in named}
    plain: Block | None = None
    if dense:
        width, inner = fields.count("hidden_size"), fields.count("intermediate_size")
        activation = fields.text("hidden_act", default="silu")
        plain = FeedForward(width, inner, activation, gated=True)
    return decoder(
        fields, mixture.traits, lambda i: plain if plain is not None and i in dense else experts
    )


_MIXTURES = {
    "mixtral": Mixture(Traits(groups=False, sliding="all")),
    "qwen2_moe": Mixture(
        Traits(groups=False, sliding="all", slides=False), shared=True, every=True
    ),
    "qwen3_moe": Mixture(
        Traits(groups=False, head_norm="head", sliding="all", slides=False), every=True
    ),
    "olmoe": Mixture(Traits(head_norm="once")),
    "gpt_oss": Mixture(Traits(groups=False, head_dim=64, sliding="even")),
}

MODEL_TYPES: dict[str, Callable[[Fields], TransformerShape]] = {
    name: partial(_mixture, mixture=mixture) for name, mixture in _MIXTURES.items()
}
