"""Where a Transformer's compute goes: exact counts of shapes, crossovers, designs compared.

Counts import no torch.
"""

from trivium.cost.component import Component
from trivium.cost.design import Eager, Fused, Hybrid, Linear, Window
from trivium.cost.shape import TransformerShape
from trivium.cost.table import CostTable, Row
from trivium.cost.workload import Workload

__all__ = [
    "Component",
    "CostTable",
    "Eager",
    "Fused",
    "Hybrid",
    "Linear",
    "Row",
    "TransformerShape",
    "Window",
    "Workload",
]
