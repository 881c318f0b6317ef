"""Every encoding compiles into one graph and exports with a free length."""

import copy
import warnings

import pytest
import torch

from trivium._core.families import members
from trivium.attention import Attention
from trivium.position import Flow, Position, Recurrent

# One instance of each. Tables that step from row to row are unrolled: theirs are short here.
FIRST = [member.examples()[0] for member in members("trivium.position", Position)]
ENCODINGS = [type(one)(8, 8) if isinstance(one, Flow | Recurrent) else one for one in FIRST]
# Several to a graph: each graph costs seconds before its first operation.
GROUPS = [ENCODINGS[at::3] for at in range(3)]
each = pytest.mark.parametrize("group", GROUPS, ids=["first", "second", "third"])


class SideBySide(torch.nn.Module):
    """A layer with each of some encodings, on one input."""

    def __init__(self, encodings):
        super().__init__()
        self.layers = torch.nn.ModuleList(
            Attention(8, 2, copy.deepcopy(one), not one.bidirectional_only) for one in encodings
        )

    def forward(self, x):
        return torch.stack([layer(x) for layer in self.layers])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@each
def test_full_graph(group):
    torch._dynamo.reset()
    torch.manual_seed(0)
    net = SideBySide(group).double()
    compiled = torch.compile(net, fullgraph=True, backend="eager", dynamic=True)
    for n in (7, 5):
        x = torch.randn(2, n, 8, dtype=torch.float64)
        assert torch.allclose(compiled(x), net(x), rtol=0, atol=1e-12)


@pytest.mark.slow
@each
def test_free_length(group):
    torch.manual_seed(0)
    net = SideBySide(group).double()
    x = torch.randn(2, 7, 8, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        free = {1: torch.export.Dim("seq", min=2, max=8)}
        program = torch.export.export(net, (x,), dynamic_shapes=(free,)).module()
    for n in (2, 8):
        x = torch.randn(2, n, 8, dtype=torch.float64)
        assert torch.allclose(program(x), net(x), rtol=0, atol=1e-12)
