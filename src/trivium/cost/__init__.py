"""Where a Transformer's compute goes: exact counts of shapes, crossovers, designs, seconds.

Counts, and seconds by a machine file, import no torch; calibrating a machine does.
"""

from trivium.cost.compare import Comparison, Entry, compare
from trivium.cost.component import Component
from trivium.cost.cost_model import CostModel, PartSeconds, Seconds
from trivium.cost.crossover import Crossing, Crossover, crossover
from trivium.cost.design import Eager, Fused, Hybrid, Linear, Window
from trivium.cost.law import Law
from trivium.cost.lengths import Lengths, read_lengths
from trivium.cost.machine import Machine
from trivium.cost.measure import Clock
from trivium.cost.operation import KINDS, Operation
from trivium.cost.report import Asked, CostReport, cost_report
from trivium.cost.shape import TransformerShape
from trivium.cost.table import CostTable, Row
from trivium.cost.torch_counter import Verified, verify
from trivium.cost.workload import Workload

__all__ = [
    "KINDS",
    "Asked",
    "Clock",
    "Comparison",
    "Component",
    "CostModel",
    "CostReport",
    "CostTable",
    "Crossing",
    "Crossover",
    "Eager",
    "Entry",
    "Fused",
    "Hybrid",
    "Law",
    "Lengths",
    "Linear",
    "Machine",
    "Operation",
    "PartSeconds",
    "Row",
    "Seconds",
    "TransformerShape",
    "Verified",
    "Window",
    "Workload",
    "compare",
    "cost_report",
    "crossover",
    "read_lengths",
    "verify",
]
