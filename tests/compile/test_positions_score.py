"""Encodings of logits in a compiled graph without breaks, and exported with a free length."""

import pytest
import torch

from trivium.attention import Attention
from trivium.position import (
    Buckets,
    Contextual,
    Disentangled,
    Fire,
    Kerple,
    Linear,
    Sandwich,
    Shaw,
    TransformerXL,
    Untied,
)

ENCODINGS = [
    encoding
    for member in (
        *(Buckets, Contextual, Disentangled, Fire, Kerple),
        *(Linear, Sandwich, Shaw, TransformerXL, Untied),
    )
    for encoding in member.examples()
]
each = pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda value: type(value).__name__)


def sized(encoding):
    # An example of width 6 still has heads of 4.
    wide = getattr(encoding, "d_model", 8)
    return Attention(wide, 2, encoding, head_dim=4).double().eval()


@each
def test_one_graph_forward_and_backward(encoding):
    torch._dynamo.reset()
    layer = sized(encoding)
    x = torch.randn(2, 7, layer.d_model, dtype=torch.float64, requires_grad=True)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    out = compiled(x)
    assert torch.allclose(out, layer(x), rtol=0, atol=1e-12)
    asked = [x, *(value for value in encoding.parameters() if value.requires_grad)]
    slopes = [torch.autograd.grad(y.sin().sum(), asked, allow_unused=True) for y in (out, layer(x))]
    for one, other in zip(*slopes, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.allclose(one, other, rtol=0, atol=1e-11)


@each
def test_exported_with_a_free_length(encoding):
    layer = sized(encoding)
    free = torch.export.Dim("seq", min=2, max=24)
    x = torch.randn(2, 7, layer.d_model, dtype=torch.float64)
    program = torch.export.export(layer, (x,), dynamic_shapes={"x": {1: free}})
    for n in (3, 19):
        x = torch.randn(2, n, layer.d_model, dtype=torch.float64)
        assert torch.allclose(program.module()(x), layer(x), rtol=0, atol=1e-12)
