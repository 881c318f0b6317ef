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
SHORT = [type(one)(4, 8) if isinstance(one, Flow | Recurrent) else one for one in FIRST]
# Several to a graph: each graph costs seconds before its first operation.
LONG = [one for one in SHORT if one.scored or isinstance(one, Flow | Recurrent)]
BEFORE = [one for one in SHORT if one not in LONG]


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
@pytest.mark.parametrize(
    ("group", "backend"), [(BEFORE, "aot_eager"), (LONG, "eager")], ids=["before", "long"]
)
def test_full_graph(group, backend):
    """Those that score have their own graphs, forward and backward, in test_positions_score."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    net = SideBySide(group).double()
    compiled = torch.compile(net, fullgraph=True, backend=backend, dynamic=True)
    for n in (4, 3):
        x = torch.randn(2, n, 8, dtype=torch.float64, requires_grad=True)
        found, wanted = compiled(x), net(x)
        assert torch.allclose(found, wanted, rtol=0, atol=1e-12)
        slopes = [torch.autograd.grad(y.sin().sum(), x)[0] for y in (found, wanted)]
        assert torch.allclose(*slopes, rtol=0, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("group", [BEFORE, LONG], ids=["before", "long"])
def test_free_length(group):
    torch.manual_seed(0)
    net = SideBySide(group).double()
    x = torch.randn(2, 3, 8, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        free = {1: torch.export.Dim("seq", min=2, max=4)}
        program = torch.export.export(net, (x,), dynamic_shapes=(free,)).module()
    for n in (2, 4):
        x = torch.randn(2, n, 8, dtype=torch.float64)
        assert torch.allclose(program(x), net(x), rtol=0, atol=1e-12)
