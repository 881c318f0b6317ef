"""Linear attention compiles into one graph, with the values and gradients of eager mode."""

import pytest
import torch

from trivium.attention import LinearAttention


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"decay": "scalar"},
        {"decay": "channel", "chunk": 4},
        {"causal": False},
        {"n_kv_heads": 1, "decay": "scalar"},
    ],
    ids=str,
)
def test_full_graph(options):
    torch._dynamo.reset()
    torch.manual_seed(0)
    layer = LinearAttention(8, 2, **options)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 13, 8)
    found = []
    for call in (compiled, layer):
        leaf = x.clone().requires_grad_()
        out = call(leaf)
        found.append((out, torch.autograd.grad(out.sin().sum(), leaf)[0]))
    for ours, eager in zip(*found, strict=True):
        assert torch.allclose(ours, eager, atol=1e-5)
