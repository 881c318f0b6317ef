"""Exact angles compile without graph breaks and export with a free length."""

import pytest
import torch
from torch import Tensor, nn

from trivium.kernel.spectral import Geometric, cos_sin


def _table(places: Tensor, theta: Tensor) -> Tensor:
    return torch.cat(cos_sin(places, theta), -1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_angles_compile_and_export_with_free_lengths() -> None:
    theta = Geometric().frequencies(4)

    class Code(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("theta", theta)

        def forward(self, places: Tensor) -> Tensor:
            return _table(places, self.theta)

    far = torch.arange(2**20 - 9, 2**20)
    done = torch.compile(_table, fullgraph=True, backend="aot_eager")(far, theta)
    assert torch.allclose(done, _table(far, theta), atol=1e-12)
    length = {"places": {0: torch.export.Dim("n", min=2, max=4096)}}
    exported = torch.export.export(Code(), (torch.arange(5),), dynamic_shapes=length)
    assert torch.equal(exported.module()(far), _table(far, theta))
