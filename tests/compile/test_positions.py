"""Every encoding compiles into one graph and is exported with a free length."""

import copy
import warnings

import pytest
import torch

from trivium._core.families import members
from trivium.attention import Attention
from trivium.position import Flow, Position, Recurrent

# One instance of each. Tables that step from row to row are unrolled: theirs are short here.
FIRST = [member.examples()[0] for member in members("trivium.position", Position)]
SHORT = [type(one)(8, 8) if isinstance(one, Flow | Recurrent) else one for one in FIRST]
ENCODINGS = [(one, not one.bidirectional_only) for one in SHORT]
each = pytest.mark.parametrize(
    ("encoding", "causal"), ENCODINGS, ids=lambda value: type(value).__name__
)


def layer_of(encoding, causal):
    torch.manual_seed(0)
    return Attention(8, 2, position=copy.deepcopy(encoding), causal=causal).double()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@each
def test_full_graph(encoding, causal):
    torch._dynamo.reset()
    layer = layer_of(encoding, causal)
    compiled = torch.compile(layer, fullgraph=True, backend="eager", dynamic=True)
    for n in (7, 5):
        x = torch.randn(2, n, 8, dtype=torch.float64)
        assert torch.allclose(compiled(x), layer(x), rtol=0, atol=1e-12)


@pytest.mark.slow
@each
def test_free_length(encoding, causal):
    layer = layer_of(encoding, causal)
    x = torch.randn(2, 7, 8, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        free = {1: torch.export.Dim("seq", min=2, max=8)}
        program = torch.export.export(layer, (x,), dynamic_shapes=(free,)).module()
    for n in (2, 8):
        x = torch.randn(2, n, 8, dtype=torch.float64)
        assert torch.allclose(program(x), layer(x), rtol=0, atol=1e-12)
