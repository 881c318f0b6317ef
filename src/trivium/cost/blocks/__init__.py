"""The parts of a layer: attention, feed-forward, experts, norms, embeddings, heads."""

from trivium.cost.blocks.base import Block, Tokens
from trivium.cost.blocks.dense import Convolution, Dense, Pooled
from trivium.cost.blocks.embedding import Embedding, Rotary
from trivium.cost.blocks.experts import Experts
from trivium.cost.blocks.feed_forward import ACTIVATIONS, FeedForward
from trivium.cost.blocks.latent import LatentAttention
from trivium.cost.blocks.norm import Dropout, Memory, Norm, Residual
from trivium.cost.blocks.recurrence import GatedLinearAttention
from trivium.cost.blocks.softmax import SoftmaxAttention

__all__ = [
    "ACTIVATIONS",
    "Block",
    "Convolution",
    "Dense",
    "Dropout",
    "Embedding",
    "Experts",
    "FeedForward",
    "GatedLinearAttention",
    "LatentAttention",
    "Memory",
    "Norm",
    "Pooled",
    "Residual",
    "Rotary",
    "SoftmaxAttention",
    "Tokens",
]
