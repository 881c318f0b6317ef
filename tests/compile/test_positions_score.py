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

# In two graphs: a graph for each costs seconds before its first operation.
GROUPS = (
    (Buckets, Contextual, Fire, Kerple, Linear),
    (Disentangled, Sandwich, Shaw, TransformerXL, Untied),
)
groups = pytest.mark.parametrize("members", GROUPS, ids=lambda value: value[0].__name__)


class SideBySide(torch.nn.Module):
    """A layer with each of some encodings, on one input."""

    def __init__(self, encodings):
        super().__init__()
        layers = (Attention(8, 2, encoding).double() for encoding in encodings)
        self.layers = torch.nn.ModuleList(layers).eval()

    def forward(self, x):
        return torch.stack([layer(x) for layer in self.layers])


@groups
def test_one_graph_forward_and_backward(members):
    torch._dynamo.reset()
    net = SideBySide([member.examples()[0] for member in members])
    x = torch.randn(2, 7, 8, dtype=torch.float64, requires_grad=True)
    found = torch.compile(net, backend="aot_eager", fullgraph=True)(x)
    wanted = net(x)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-12)
    asked = [x, *net.parameters()]
    slopes = [torch.autograd.grad(y.sin().sum(), asked, allow_unused=True) for y in (found, wanted)]
    for one, other in zip(*slopes, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.allclose(one, other, rtol=0, atol=1e-11)


@groups
def test_exported_with_a_free_length(members):
    net = SideBySide([member.examples()[0] for member in members])
    x = torch.randn(2, 7, 8, dtype=torch.float64)
    free = torch.export.Dim("seq", min=2, max=24)
    program = torch.export.export(net, (x,), dynamic_shapes={"x": {1: free}})
    for n in (3, 19):
        x = torch.randn(2, n, 8, dtype=torch.float64)
        assert torch.allclose(program.module()(x), net(x), rtol=0, atol=1e-12)
